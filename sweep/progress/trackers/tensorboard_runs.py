"""TensorBoard: a folder of event files a trial, all with the same tags, so that trials overlay; and HParams.

    python -m sweep.run --grid lr --tracker tensorboard
    tensorboard --logdir results/lr/tensorboard

tensorboardX, which Ray Tune brings, writes the files. A file's name ends with the trial_id and the digest
of the row that it was made of. It appears whole or not at all.
"""

from __future__ import annotations

import contextlib
import shlex
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from sweep.progress.trackers.runs import ChildRun, ParentRun

FOLDER: Final = "tensorboard"
NEW: Final = ".new"
"""Folder in which a file is being written; TensorBoard sees nothing in it before it is complete."""
STATES: Final = {"COMPLETE": "STATUS_SUCCESS", "FAILED": "STATUS_FAILURE", "PRUNED": "STATUS_UNKNOWN"}


class TensorboardRuns:
    """A `Tracker` without a server."""

    def __init__(self, _target: str, sweep: ParentRun) -> None:
        self._folder = sweep.folder / FOLDER
        self._folder.mkdir(exist_ok=True)
        shutil.rmtree(self._folder / NEW, ignore_errors=True)
        self.place = f"tensorboard --logdir {shlex.quote(str(self._folder))}"

    def _files(self, trial_id: str = "*") -> Iterator[Path]:
        return self._folder.glob(f"*/events.out.tfevents.*.{trial_id}.*")

    def rows(self) -> dict[str, str]:
        names = (file.name.split(".") for file in self._files())
        return {trial_id: row for *_, trial_id, row in names}

    def write(self, child: ChildRun) -> None:
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.record_writer import RecordWriter

        for file in list(self._files(child.trial_id)):
            shutil.rmtree(file.parent)
        folder = self._folder / NEW
        folder.mkdir(exist_ok=True)
        path = folder / f"events.out.tfevents.{round(child.began)}.{child.trial_id}.{child.row}"
        writer = RecordWriter(str(path))
        try:
            writer.write(Event(wall_time=child.began, file_version="brain.Event:2").SerializeToString())
            for time, step, summary in summaries(child):
                writer.write(Event(wall_time=time, step=step, summary=summary).SerializeToString())
        finally:
            writer.close()
        folder.rename(self._folder / short_name(child))

    def close(self, counts: Mapping[str, int]) -> None:
        with contextlib.suppress(OSError):
            self._folder.rmdir()  # without trials


def short_name(child: ChildRun) -> str:
    """Return the name of its folder, like "VGG16-imagenet-0-adam-0.001-1a2b3c4d": TensorBoard's column is narrow."""
    words = [child.params[name] for name in ("backbone", "weights", "unfrozen_blocks", "optimizer", "learning_rate")]
    seed = [f"seed{child.params['seed']}"] if child.params["seed"] else []
    return "-".join([*map(str, words), *seed, child.trial_id[:8]])


def summaries(child: ChildRun) -> Iterator[tuple[float, int, Any]]:
    """Yield time, step and summary of what TensorBoard shows of a trial: settings, curves, scores, texts, its end. Of
    all trials' settings and tags it makes the table of HParams itself."""
    from tensorboardX.proto.api_pb2 import Status
    from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData, SessionEndInfo, SessionStartInfo
    from tensorboardX.proto.summary_pb2 import Summary
    from tensorboardX.summary import text

    start = SessionStartInfo(group_name=child.trial_id, start_time_secs=child.began)
    for name, value in child.params.items():
        kind = "bool" if isinstance(value, bool) else "string" if isinstance(value, str) else "number"
        setattr(start.hparams[name], f"{kind}_value", value)
    yield child.began, 0, _of_plugin("session_start_info", HParamsPluginData(session_start_info=start))
    last = 0
    for point in child.history:
        last = point.epoch
        for name, value in point.values.items():
            yield point.time, last, Summary(value=[Summary.Value(tag=name, simple_value=value)])
    for name, value in child.scores.items():
        yield child.ended, last, Summary(value=[Summary.Value(tag=name, simple_value=value)])
    labels = "\n".join(f"* **{name}**: {words}" for name, words in child.labels.items())
    yield child.ended, last, text("trial", labels)
    end = SessionEndInfo(status=Status.Value(STATES[child.status]), end_time_secs=child.ended)
    yield child.ended, last, _of_plugin("session_end_info", HParamsPluginData(session_end_info=end))


def _of_plugin(name: str, data: Any) -> Any:
    """Return the summary that the HParams plugin reads."""
    from tensorboardX.proto.summary_pb2 import Summary, SummaryMetadata

    plugin = SummaryMetadata.PluginData(plugin_name="hparams", content=data.SerializeToString())
    return Summary(value=[Summary.Value(tag=f"_hparams_/{name}", metadata=SummaryMetadata(plugin_data=plugin))])
