"""Write a trial's network into a file that plain Keras, TensorFlow, LiteRT or ONNX reads, and its model card beside it.

    python -m sweep.export results/lr --to galaxy.keras                   # the best by validation accuracy
    python -m sweep.export results/paper --to galaxy.onnx --trial 05805c  # or .tflite, or a folder: a SavedModel
    python -m sweep.export results/paper --to galaxy.keras --where backbone=MobileNet --where unfrozen_blocks=all

The model takes uint8 images of any size and gives probabilities: resizing, preprocessing and softmax are inside. It is
run on raw images of the dataset, and compared with what the trial said of them. A trial whose weights are not in the
results folder any more is trained again from its spec. Exit status: 0 written, 2 bad input.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from galaxytl.data import DataError, open_dataset
from galaxytl.learning.callbacks import Watcher
from galaxytl.learning.job import Group, Workplace
from galaxytl.networks import device, exported
from galaxytl.networks.exported import Description, ModelError
from galaxytl.networks.families import is_features
from galaxytl.networks.weights import WeightsError, starting_weights
from galaxytl.results.models import WeightsGoneError, model_name, read_model
from galaxytl.results.predictions import PredictionsError, read_probabilities, read_validation
from galaxytl.results.rows import FILE_NAME, read_results, rows_files
from galaxytl.results.storage import Storage, StorageError
from galaxytl.results.stored_rows import fetch_results
from galaxytl.results.sweep_file import SweepFile, read_sweep_file
from galaxytl.results.temperature import fit_temperature
from galaxytl.system.command import Parser, UsageError, path, path_or_uri, run_command
from galaxytl.system.files import write_atomically
from galaxytl.system.inside import OutsideError, inside
from galaxytl.system.locations import is_remote
from galaxytl.training import train
from galaxytl.trial import COMPLETE, DAMAGE, SpecError, TrialResult, TrialSpec, parse_field
from galaxytl.trial.reading import AS_FOUND, add_reading, reading_of
from sweep import prepare
from sweep.export import check
from sweep.export.card import model_card
from sweep.export.choice import UnchosenError, Wish, choose, listed
from sweep.progress.terminal import trial_label

Say = Callable[[str], None]
KNOWN = (SpecError, DataError, StorageError, ModelError, WeightsError, OutsideError, OSError)


@dataclass(frozen=True)
class Trained:
    """A trial whose weights are at hand."""

    result: TrialResult
    weights: dict[str, NDArray[Any]]
    folder: Path
    """That has its probabilities."""
    note: str


def main(argv: Sequence[str] | None = None) -> int:
    return run_command(lambda: export(_parse(argv), functools.partial(print, flush=True)), known=KNOWN)


def export(given: argparse.Namespace, say: Say) -> int:
    prepare.settle(say)
    device.quiet_framework()
    exported.check_writable(given.to)
    with _folder(given.results) as folder, tempfile.TemporaryDirectory() as scratch:
        rows = read_results(folder)
        for problem in rows.problems:
            say(f"note: {problem}")
        result, why = _chosen(list(rows.by_id().values()), Wish(given.trial or "", _settings(given.where)), say)
        say(f"Trial     {result.trial_id}: {trial_label(result.spec)}; {why}")
        if is_features(result.spec.backbone):
            raise UsageError(
                f"trial {result.trial_id} is a head on given features: a model of images needs the program that "
                "computed them; python -m sweep.export writes trials of networks"
            )
        work = _workplace(given, folder, Path(scratch))
        _fetch_weights(result.spec, given.results, folder)
        trained = _trained(result, folder, work, say)
        notes = [f"Chosen as {why}.", trained.note]
        say("Model     being put together")
        device.configure(None)  # Keras with its own settings, not those of a user's keras.json
        weights_path = functools.partial(starting_weights, result.spec, work.weights_dir)
        try:
            model = exported.assemble(result.spec, trained.weights, weights_path)
        except ValueError as error:
            raise UsageError(f"the weights of trial {result.trial_id} are not those of its spec: {error}") from error
        description = _description(trained, say)
        exported.save(model, description, given.to, lambda file: notes.append(_checked(trained, work, file)))
        say(f"Checked   {notes[-1]}")
        card = given.to / "README.md" if given.to.is_dir() else given.to.with_name(f"{given.to.name}.md")
        write_atomically(card, model_card(trained.result, description, given.to, notes).encode())
    say(f"Written   {given.to}; its model card: {card}")
    if given.to.suffix == ".keras":
        say(f"Classify  python -m galaxytl.classify {shlex.quote(str(given.to))} images/ --to classes.csv")
    return 0


def _chosen(results: list[TrialResult], wish: Wish, say: Say) -> tuple[TrialResult, str]:
    try:
        return choose(results, wish)
    except UnchosenError as error:
        for line in listed(error.results):
            say(line)
        raise


@contextlib.contextmanager
def _folder(results: str) -> Iterator[Path]:
    """Yield the results folder, or a copy of what lies at a URI. Raises UsageError where there are no results."""
    with tempfile.TemporaryDirectory() as copy:
        folder = Path(results.removeprefix("file://"))
        if is_remote(results):
            folder = Path(copy)
            fetch_results(Storage(results), folder)
        if not rows_files(folder):
            raise UsageError(
                f"results must be a folder or a URI where a sweep has run; there is no {FILE_NAME} in {results}"
            )
        yield folder


def _fetch_weights(spec: TrialSpec, results: str, folder: Path) -> None:
    """Fetch a trial's weights from where its results are kept, if they are not in the folder; none where they are not
    there either, or it does not answer: then the trial can be trained again."""
    noted = read_sweep_file(folder)
    place = results if is_remote(results) else noted.storage if noted else ""
    if place and not (folder / model_name(spec)).exists():
        with contextlib.suppress(DataError, StorageError, OSError):
            Storage(place).get_file(model_name(spec), folder / model_name(spec))


def _workplace(given: argparse.Namespace, folder: Path, scratch: Path) -> Workplace:
    """Return where the trial's data and weights are: as the sweep had it, but for what is given."""
    noted, reading = read_sweep_file(folder) or SweepFile(""), reading_of(given)
    weights_dir = given.weights_dir or (Path(noted.weights_dir) if noted.weights_dir else None)
    data = prepare.absolute(given.data) if given.data else noted.data
    return Workplace(
        data, scratch, weights_dir, reading=noted.reading if reading == AS_FOUND else reading, most_models=None
    )


def _trained(result: TrialResult, folder: Path, work: Workplace, say: Say) -> Trained:
    """Return the trial with its weights: those that were kept, or of another training. Raises UsageError."""
    try:
        weights = read_model(inside(folder, model_name(result.spec)), result.spec)
        return Trained(result, weights, folder, "The weights are those that the sweep kept.")
    except WeightsGoneError as error:
        say(f"Weights   trained again from the trial's spec, for {error}")
    if not work.data:
        raise UsageError("a trial that is trained again needs its dataset: add --data URI")
    work = replace(work, damage=result.environment.get(DAMAGE, ""))
    stored = (0,) if result.spec.trains_head_only and result.spec.stores_activations else ()
    (again,) = train(Group((result.spec,), stored), work, _Said(say))
    if again.status != COMPLETE:
        raise UsageError(f"the trial could not be trained again: {again.message}")
    accuracies = f"{again.metrics['accuracy']:.3f}, the sweep's row says {result.metrics['accuracy']:.3f}"
    say(f"Trained   accuracy on the {result.spec.scored_on} part {accuracies}")
    weights = read_model(work.out / model_name(result.spec), result.spec)
    return Trained(again, weights, work.out, f"Trained again for this export: accuracy {accuracies}.")


class _Said(Watcher):
    """Says what is done for a trial that is trained again, where it is something else than before."""

    def __init__(self, say: Say) -> None:
        self._say, self._last = say, ""

    def phase(self, trial_ids: Sequence[str], text: str) -> None:
        if (what := text.partition(",")[0].partition("/")[0]) != self._last:
            self._last = what
            self._say(f"          {text}")


def _description(trained: Trained, say: Say) -> Description:
    result, temperature = trained.result, None
    try:
        read = read_validation if result.spec.scored_on == "test" else read_probabilities
        on_validation = read(trained.folder, result)
        temperature = fit_temperature(on_validation.values, on_validation.targets).value
    except PredictionsError as error:
        say(f"note: no temperature is fitted: {error}")
    facts = (result.metrics, result.num_images, temperature, result.environment)
    return Description(result.spec, result.class_names, *facts)


def _checked(trained: Trained, work: Workplace, file: Path) -> str:
    """Return how the file's probabilities compare with the trial's. Raises UsageError where it is another network's."""
    try:
        scored = read_probabilities(trained.folder, trained.result)
        dataset = open_dataset(work.data, reading=work.reading) if work.data else None
    except (PredictionsError, DataError) as error:
        return f"not compared with what the trial said: {error}"
    if dataset is None:
        return "not compared with what the trial said: the dataset is not known (--data)"
    if dataset.fingerprint != trained.result.spec.dataset_fingerprint:
        return f"not compared with what the trial said: {work.data} has other content than the sweep saw"
    found = check.compare(dataset, scored, exported.loaded(file))
    if not found.difference <= check.LARGEST[trained.result.spec.precision != "float32"]:
        raise UsageError(f"a model must say what its trial said; on {found}. Nothing was written")
    return str(found)


def _settings(given: Sequence[str]) -> dict[str, Any]:
    settings = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"--where takes FIELD=VALUE, like backbone=MobileNet; got '{text}'")
        if name in settings:
            raise UsageError(f"--where takes a field once; got {name} twice")
        settings[name] = parse_field(name, value)
    return settings


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(
        prog="python -m sweep.export", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", type=path_or_uri, help="results folder of a sweep or a search, or its URI")
    parser.add_argument(
        "--to", type=path, required=True, metavar="FILE", help="NAME.keras, .onnx, .tflite, or a folder: a SavedModel"
    )
    parser.add_argument("--trial", metavar="ID", help="of the trial, or its beginning (default: the best)")
    parser.add_argument(
        "--where", action="append", default=[], metavar="FIELD=VALUE", help="only trials of this setting; repeatable"
    )
    parser.add_argument("--data", type=path_or_uri, metavar="URI", help="the dataset (default: where the sweep had it)")
    parser.add_argument(
        "--weights-dir", type=path, metavar="FOLDER", help="of ImageNet weights files (default: as the sweep had it)"
    )
    add_reading(parser.add_argument_group("how the dataset is read, where the sweep was told"))
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
