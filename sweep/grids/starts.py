"""What trials start from, where it is none of the networks that a grid names: settings that stand over the grid's.

settings = on_features(FEATURES, {"learning_rate": [1e-3]}, fields_of(grids))
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any

from galaxytl.networks.families import FEATURES, is_features
from galaxytl.system.command import UsageError
from galaxytl.trial import SPEC_FIELDS
from galaxytl.trial.rules import ON_FEATURES
from sweep.grids.axes import Grid


def fields_of(grids: Iterable[Grid]) -> frozenset[str]:
    """Return all fields that any axis of the grids sets."""
    return frozenset(field for grid in grids for axes in grid.parts for axis in axes for field in axis.fields)


def named_features(text: str) -> tuple[str, str]:
    """Return what --features says, [NAME=]FILE, as the backbone's name and the path. Raises UsageError."""
    name, equals, path = text.partition("=")
    if not equals:
        return FEATURES, text
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}", name) or not path:
        raise UsageError(
            f"--features takes FILE or NAME=FILE, a name of at most 40 letters, digits, '_', '.', '-'; got '{text}'"
        )
    return f"{FEATURES}:{name}", path


def check_one_file(backbone: str, grids: Iterable[Grid]) -> None:
    """Raise UsageError where the grids name other given features than this one: its file would pass for theirs too."""
    axes = [axis for grid in grids for part in grid.parts for axis in part]
    named = {str(setting["backbone"]) for axis in axes for setting in axis.settings if "backbone" in setting}
    if other := sorted(name for name in named - {backbone} if is_features(name)):
        rule = f"--features is one file, here of {backbone}, and the grid must name no other features"
        example = f"--features {other[0].partition(':')[2] or 'NAME'}=FILE"
        raise UsageError(f"{rule}; got {', '.join(other)}. Leave backbone out, and run it once a file: {example}")


def on_features(
    backbone: str, settings: Mapping[str, Sequence[Any]], on_axes: Container[str]
) -> dict[str, Sequence[Any]]:
    """Return the settings (field -> values) with those that trials on given features have: a grid's networks, starts
    and depths, and all that is done to images, give way. `on_axes`: fields that the grid sets, None in a search.

    Raises UsageError where the settings themselves ask for something else."""
    if "backbone" in settings:
        raise UsageError("--features stands for the network: give it or --set backbone, not both")
    for name, value in ON_FEATURES.items():
        if other := [given for given in settings.get(name, ()) if given != value]:
            raise UsageError(
                f"--features leaves {name} nothing to do: no image enters the network, and it has no blocks; "
                f"got --set {name}={str(other[0]).lower()}"
            )
    changed = {name for name, value in ON_FEATURES.items() if name in on_axes or SPEC_FIELDS[name].default != value}
    return {
        **settings,
        "backbone": [backbone],
        **{name: [ON_FEATURES[name]] for name in ON_FEATURES if name in changed},
    }
