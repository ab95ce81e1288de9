"""A user's YAML file, read strictly: equal keys in one mapping are refused, and errors name the line.

    content = read_yaml(Path("cluster.yaml"), "a cluster file")
    content = read_yaml(Path("my_grid.yaml"), "a grid file", as_text=True)

YAML's own reader keeps the last of equal keys and says nothing, and takes 020 for 16, 1:30 for 90 and no for false:
`as_text` leaves what a value means to the reader of the file. The only file of the project that imports yaml.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml


class YamlFileError(ValueError):
    """Not a YAML file that can be read; the message names the kind of file, and the line."""


def read_yaml(path: Path, kind: str, as_text: bool = False) -> Any:
    """Return what the file holds. Raises YamlFileError, and OSError as `open` does.

    kind: what it should be, for messages. as_text: every value is the text that stands in the file, None where nothing
    stands, and what is merged (<<) sets no key that is set already.
    """
    try:
        return yaml.load(path.read_text(encoding="utf-8-sig"), Loader=_TextLoader if as_text else _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise YamlFileError(f"{kind} must be YAML; got{where}: {error.problem or error.context}") from error
    except YamlFileError:
        raise
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise YamlFileError(f"{kind} must be YAML in UTF-8; got: {' '.join(str(error).split())}") from error


class _Loader(yaml.SafeLoader):
    """SafeLoader, but for equal keys."""

    def compose_mapping_node(self, anchor: Any) -> Any:
        node = super().compose_mapping_node(anchor)
        _check_keys(node)
        return node


class _TextLoader(_Loader):
    def flatten_mapping(self, node: Any) -> None:
        super().flatten_mapping(node)
        _check_keys(node)


def _text_or_nothing(loader: _TextLoader, node: Any) -> str | None:
    text = str(loader.construct_scalar(node))
    return text if text or node.style else None


for kind in ("null", "bool", "int", "float", "timestamp"):
    _TextLoader.add_constructor(f"tag:yaml.org,2002:{kind}", _text_or_nothing)


def _check_keys(node: Any) -> None:
    seen: set[str] = set()
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode) and key.value in seen:
            raise YamlFileError(f"a key is given once; got '{key.value}' again in line {key.start_mark.line + 1}")
        if isinstance(key, yaml.ScalarNode):
            seen.add(key.value)
