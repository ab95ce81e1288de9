"""Event files, read by a reader of their own format: tags, curves, settings, and nothing that is half written."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tensorboardX.proto.api_pb2 import Status
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData

from galaxytl.trial import TrialResult
from sweep.progress.trackers.tensorboard_runs import FOLDER, NEW, TensorboardRuns
from tests.sweep.progress.trackers.rows import make_child, make_failed, make_parent, make_result


def events(file: Path) -> Iterator[Any]:
    """Yield those of a file: length and its checksum, the event and its checksum."""
    content = file.read_bytes()
    while content:
        (length,) = struct.unpack_from("<Q", content)
        yield Event.FromString(content[12 : 12 + length])
        content = content[16 + length :]


def values(folder: Path) -> dict[str, list[tuple[int, float, Any]]]:
    """Return step, time and summary of each tag."""
    (file,) = folder.iterdir()
    by_tag: dict[str, list[tuple[int, float, Any]]] = {}
    for event in events(file):
        for value in event.summary.value:
            by_tag.setdefault(value.tag, []).append((event.step, event.wall_time, value))
    return by_tag


@pytest.fixture
def runs(tmp_path: Path) -> TensorboardRuns:
    return TensorboardRuns("", make_parent(tmp_path))


def write(runs: TensorboardRuns, *results: TrialResult) -> None:
    for result in results:
        runs.write(make_child(result))


def test_trials_have_the_same_tags_each_in_a_folder(runs: TensorboardRuns, tmp_path: Path) -> None:
    results = [make_result(0), make_result(1)]
    write(runs, *results)
    folders = sorted((tmp_path / FOLDER).iterdir())
    assert [folder.name for folder in folders] == [
        f"VGG16-random-0-adam-0.0001-{results[0].trial_id[:8]}",
        f"VGG16-random-0-adam-0.0001-seed1-{results[1].trial_id[:8]}",
    ]
    first, second = map(values, folders)
    assert list(first) == list(second)
    assert {"loss", "val_accuracy", "test/accuracy"} < set(first)
    assert [(step, round(value.simple_value, 6)) for step, _, value in first["loss"]] == [(1, 1.0), (2, 0.5)]
    assert math.isnan(first["val_loss"][1][2].simple_value)
    assert first["loss"][1][1] - first["loss"][0][1] == 2.0  # seconds of an epoch


def test_settings_and_end_are_for_the_hparams_page(runs: TensorboardRuns, tmp_path: Path) -> None:
    write(runs, make_result(0), make_failed(1))
    complete, failed = (values(folder) for folder in sorted((tmp_path / FOLDER).iterdir()))

    def hparams(tags: Any, name: str) -> Any:
        ((_, _, value),) = tags[f"_hparams_/{name}"]
        return HParamsPluginData.FromString(value.metadata.plugin_data.content)

    settings = hparams(complete, "session_start_info").session_start_info.hparams
    assert settings["learning_rate"].number_value == 1e-4
    assert settings["backbone"].string_value == "VGG16"
    assert settings["stratified"].HasField("bool_value")
    ends = [hparams(tags, "session_end_info").session_end_info.status for tags in (complete, failed)]
    assert ends == [Status.Value("STATUS_SUCCESS"), Status.Value("STATUS_FAILURE")]
    ((_, _, text),) = failed["trial/text_summary"]
    assert b"out of memory" in text.tensor.string_val[0]
    assert b"SIMULATED" in text.tensor.string_val[0]


def test_what_is_there_is_known_and_replaced(runs: TensorboardRuns, tmp_path: Path) -> None:
    write(runs, make_failed(0), make_result(0), make_result(1))
    half = tmp_path / FOLDER / NEW
    half.mkdir()
    (half / "events.out.tfevents.1.0123456789abcdef.0123456789abcdef").touch()
    again = TensorboardRuns("", make_parent(tmp_path))
    assert again.rows() == {child.trial_id: child.row for child in map(make_child, (make_result(0), make_result(1)))}
    assert len(list((tmp_path / FOLDER).iterdir())) == 2
    assert again.place == f"tensorboard --logdir {tmp_path / FOLDER}"
