"""A user's YAML file, read strictly: equal keys in one mapping are refused, and errors name the line.

    content = read_yaml(Path("my_grid.yaml"), "a grid file")

YAML's own reader keeps the last of equal keys and says nothing. The only file of the project that imports yaml.
"""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml


class YamlFileError(ValueError):
    """Not a YAML file that can be read; the message names the kind of file, and the line."""


def read_yaml(path: Path, kind: str) -> Any:
    """What the file holds. kind: what it should be, for messages. Raises YamlFileError, and OSError as `open` does."""
    try:
        return yaml.load(path.read_text(encoding="utf-8-sig"), Loader=_Loader)
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

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise YamlFileError(f"a key is given once; got '{key.value}' again in line {key.start_mark.line + 1}")
            if isinstance(key, yaml.ScalarNode):
                seen.add(key.value)
        return dict(super().construct_mapping(node, deep=deep))
