"""A user's own grid, read from a YAML file and checked as strictly as the command line.

    name: bright-galaxies            # of the results folder; without it the file's name
    purpose: does depth pay?         # optional
    fixed:      {image_size: 64, num_epochs: 30}
    scientific:
      backbone: [VGG16, MobileNet]
      optimizer: [adam, {optimizer: sgd, momentum: 0.9}]       # fields of one mapping change together
    nuisance:   {learning_rate: [1e-3, 1e-4], seed: [0, 1]}

Fields are those of TrialSpec. A profile sizes the trials where the file does not. A tenth of the train part is held out
for validation unless the file sets `validation_fraction`: whoever compares trials must not do so on the test part.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, get_args

from galaxytl.system.foreign_text import did_you_mean, visible
from galaxytl.trial import SPEC_FIELDS, SpecError, check_field_name
from sweep.grids.axes import Axis, Grid, Role, fixed, parse_value
from sweep.grids.yaml_file import YamlFileError, read_yaml

ROLES: Final[tuple[Role, ...]] = get_args(Role)
KEYS: Final = ("name", "purpose", *ROLES)
VALIDATION_FRACTION: Final = 0.1
SUFFIXES: Final = (".yaml", ".yml")


def is_grid_file(text: str) -> bool:
    return Path(text).suffix.lower() in SUFFIXES


def read_grid(path: Path) -> Grid:
    """Return the grid of a YAML file. Raises SpecError, which names the file."""
    try:
        return _grid(_load(path), path.stem)
    except SpecError as error:
        raise SpecError(f"{path}: {error}") from None


def _load(path: Path) -> Any:
    try:
        return read_yaml(path, "a grid file", as_text=True)
    except OSError as error:
        raise SpecError(f"--grid must be a grid's name or a YAML file that can be read; {error.strerror}") from error
    except YamlFileError as error:
        raise SpecError(str(error)) from error


def _grid(content: Any, stem: str) -> Grid:
    if not isinstance(content, Mapping):
        raise SpecError(f"a grid file must be a mapping with the keys {', '.join(KEYS)}; got {_kind(content)}")
    for key in content:
        _check_key(str(key))
    axes = [axis for role in ROLES if role in content for axis in _axes(role, content[role])]
    if not axes:
        raise SpecError(f"a grid file must set a field under {', '.join(ROLES)}; got none")
    if not any("validation_fraction" in axis.fields for axis in axes):
        axes += fixed(validation_fraction=VALIDATION_FRACTION)
    name = content.get("name", stem)
    if not isinstance(name, str) or not re.fullmatch(r"\w[\w.-]*", name, re.ASCII):
        raise SpecError(f"name (else the file's) must be letters, digits, '-', '_' and '.'; got {_kind(name)}")
    purpose = content.get("purpose", "")
    if not isinstance(purpose, str):
        raise SpecError(f"purpose must be text; got {_kind(purpose)}")
    return Grid(name, visible(" ".join(purpose.split())), (tuple(axes),))


def _check_key(key: str) -> None:
    if key in SPEC_FIELDS:
        raise SpecError(f"a field stands under {', '.join(ROLES)}; got '{key}' beside them")
    if key not in KEYS:
        raise SpecError(f"a grid file has the keys {', '.join(KEYS)}; got '{key}'.{did_you_mean(key, KEYS)}")


def _axes(role: Role, section: Any) -> Iterator[Axis]:
    if not isinstance(section, Mapping):
        raise SpecError(f"{role} must map fields to values; got {_kind(section)}. Leave it out where it has none")
    for name, values in section.items():
        yield _axis(role, visible(str(name)), values)


def _axis(role: Role, name: str, values: Any) -> Axis:
    if role == "fixed" and isinstance(values, list):
        raise SpecError(
            f"a fixed field has one value; got {_kind(values)} for {name}: move it to scientific or nuisance"
        )
    if role != "fixed" and not isinstance(values, list):
        example = f"{name}: [..., ...]"
        raise SpecError(f"{role} takes a list, as in {example}; got {_kind(values)} for {name}: one value is fixed")
    settings = [values] if role == "fixed" else values
    if not settings or not all(isinstance(setting, Mapping) for setting in settings):
        check_field_name(name)
    return Axis(name, tuple(_value(name, setting) for setting in settings), role)


def _value(name: str, value: Any) -> Any:
    """Return a field's value, or a mapping of fields that change together."""
    if not isinstance(value, Mapping):
        return read_value(name, value)
    return {str(field): read_value(str(field), own) for field, own in value.items()}


def read_value(name: str, value: Any) -> Any:
    """Return the value of a field from its text in the file, by the rules of the command line. Raises SpecError."""
    if not isinstance(value, str):
        check_field_name(name)
        raise SpecError(f"{name} must be a number, a word, true or false; got {_kind(value)}")
    return parse_value(name, value)


def _kind(value: Any) -> str:
    """Return what a value is, for people."""
    if value is None:
        return "nothing"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    return "a mapping" if isinstance(value, Mapping) else f"'{str(value)[:60]}'"
