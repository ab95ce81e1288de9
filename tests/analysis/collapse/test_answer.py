"""What the first screen says of collapses with a known cause, and of folders that ask something else."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from analysis.collapse.answer import Beside, collapse_answer, is_answered, settling, unanswered
from analysis.collapse.interactions import examine_interactions
from analysis.collapse.rivals import examine_rivals
from analysis.collapse.sections import collapse_sections, look_beside
from analysis.collapse.verdict import study_collapse
from analysis.report.answer import Answer, Command
from analysis.run.contents import of_search, of_table
from analysis.search.choice import examine as examine_search
from analysis.trials.load import Trials
from analysis.trials.table1_cells import fill_cells
from galaxytl.trial import TrialResult
from tests.analysis.collapsing import Cause, always, by_preprocessing, by_rate, collapsing, factorial, failed, never
from tests.analysis.fakes import make_compared, make_spec
from tests.analysis.folders import paper_grid

FROM_RANDOM = {"weights": "random", "weights_requested": "random", "weights_fingerprint": ""}
ONLY = "the collapse comes from the optimizer's settings"


def answer_of(results: list[TrialResult]) -> Answer:
    study = study_collapse(results)
    beside = Beside(examine_rivals(results, study.arms), examine_interactions(results, study.arms))
    return collapse_answer(study, beside, results)


def sentence(results: list[TrialResult], arm: str = "ON") -> str:
    """The one that has the verdict."""
    return next(text for text in answer_of(results).answer if text.startswith(f"VGG16 {arm}: "))


def complete(cause: Any, **changes: Any) -> list[TrialResult]:
    """Every rival that must be tried, each of which keeps the collapse, unless `changes` say otherwise: factor ->
    cause."""
    given = {"num_epochs": always, "start": always, "network": always, **changes}
    return [
        *factorial(cause, arms=["ON"]),
        *_paper("ON", given["num_epochs"], num_epochs=60),
        *_paper("ON", given["start"], **FROM_RANDOM),
        *_paper("ON", given["network"], "MobileNet"),
    ]


def _paper(
    arm: str,
    cause: Any,
    backbone: str = "VGG16",
    *,
    seeds: int = 6,
    rates: Sequence[float] = (1e-3,),
    **fields: Any,
) -> list[TrialResult]:
    own = {"validation_fraction": 0.1, **fields}
    specs = [make_spec(backbone, arm, **{**own, "seed": s, "learning_rate": r}) for r in rates for s in range(seeds)]
    return [collapsing(spec, cause) for spec in specs]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the collapse goes with by chance takes longest, and no test here reads it to a digit."""
    monkeypatch.setattr("analysis.collapse.rivals.PERMUTATIONS", 20)


def shown(results: list[TrialResult]) -> str:
    """All of the first screen."""
    return " ".join(sentence for _, sentences in answer_of(results).rows for sentence in sentences)


def is_papers(result: TrialResult) -> bool:
    return result.spec.optimizer == "adam" and result.spec.learning_rate == 1e-3


ON_ONLY = factorial(by_rate, arms=["ON"])
NO_MEMORY = "out of memory: OOM"
RATES = (1e-3, *(10 ** (-4 - i / 20) for i in range(40)))
LUCKY = make_spec("VGG16", "ON", validation_fraction=0.1, seed=0, learning_rate=RATES[17])
BACKGROUNDS = [*factorial(by_rate, arms=["ON"], num_epochs=5), *factorial(always, arms=["ON"], num_epochs=50)]
STAND_INS = factorial(by_rate, dataset="simulated", weights="random", weights_fingerprint="")


def papers(change: Callable[[TrialResult], TrialResult], results: Sequence[TrialResult] = ON_ONLY) -> list[TrialResult]:
    """The trials, with those of the paper's setting changed."""
    return [change(r) if is_papers(r) else r for r in results]


def lost(result: TrialResult) -> TrialResult:
    return failed(result, NO_MEMORY)


@pytest.mark.parametrize(
    ("results", "words", "absent"),
    [
        # only where all rivals were tried and keep the collapse it comes from the optimizer
        (complete(by_rate), [f"VGG16 ON: EXPLAINED: {ONLY}: nothing else that could be the cause removes it."], []),
        (
            complete(by_rate, num_epochs=lambda s: s.seed < 3),
            [
                "; other causes are not ruled out. ",
                "not ruled out: training for 60 epochs in place of 20 (3 of 6 collapse)",
            ],
            [ONLY],
        ),
        (
            ON_ONLY,
            [
                "; other causes are not ruled out. ",
                "not tried: training for more epochs, another start and another network",
                "Does VGG16's collapse come from its optimizer settings? 48 trials of VGG16 on galaxy10_decals",
                "6 seeds a setting, at 20 epochs, batches of 32",
            ],
            ["SIMULATED", "taken to be", ONLY],
        ),
        # a curve is not needed for a choice by collapse rate
        ([replace(r, history=()) for r in ON_ONLY], ["VGG16 ON: EXPLAINED"], []),
        (
            [replace(r, curves_on="test") for r in factorial(by_rate, arms=["ON"], validation_fraction=0.0)],
            ["VGG16 ON: EXPLAINED"],
            [],
        ),
        # an optimizer that cures only with another preprocessing, or no longer does
        (
            factorial(lambda s: by_rate(s) or by_preprocessing(s), arms=["ON"]),
            [
                "VGG16 ON: NOT_EXPLAINED: other optimizer settings collapse as well; adam 0.0001 and the",
                "the backbone's own preprocessing remove it only together (0 of 6 collapse)",
            ],
            [],
        ),
        (
            factorial(lambda s: by_rate(s) or not by_preprocessing(s), arms=["ON"]),
            ["adam 0.0001 no longer does with the backbone's own preprocessing (6 of 6 collapse)"],
            [],
        ),
        (
            complete(always, num_epochs=always),
            [
                "VGG16 ON: NOT_EXPLAINED: other optimizer settings collapse as well.",
                "ruled out: training for 60 epochs in place of 20 (6 of 6 collapse)",
            ],
            [],
        ),
        # a lucky escape among forty settings is no explanation
        (
            _paper("ON", lambda s: s.replace(seed=0) != LUCKY or s.seed != 0, rates=RATES),
            [],
            ["EXPLAINED: other optimizer settings remove", "only together"],
        ),
        # numbers that show nothing are not shown
        (
            papers(lambda r: failed(r, "diverged: NaN"), factorial(never, arms=["ON"])),
            ["none with adam 0.001, whose loss became NaN in 6 of 6 seeds"],
            ["paired by"],
        ),
        (
            papers(lambda r: replace(r, environment={**r.environment, "galaxytl": "9.9"})),
            ["galaxytl (9.9 against 0.1.0)", "Accuracy 0.148"],
            ["Reduction", "; difference"],
        ),
        (
            BACKGROUNDS,
            [
                "EXPLAINED with num_epochs=5; NOT_EXPLAINED with num_epochs=50.",
                "a report of one background at a time, as by --where num_epochs=5",
            ],
            ["Accuracy"],
        ),
        (
            [
                replace(r, metrics={**r.metrics, "accuracy": 0.1 + 0.2 * (r.spec.seed % 2)})
                for r in factorial(by_rate, seeds=2, arms=["ON"])
            ],
            ["(0.000 to 1.000) with adam 0.001"],
            [],
        ),
        # trials that all ran out of memory are not there, and have no rate
        (
            papers(lost),
            [
                "VGG16 ON: NOT_TESTABLE: of 6 trials with the paper's setting, adam 0.001, none came to its end:"
                f" {NO_MEMORY}."
            ],
            ["NaN", "0 to 6 seeds", "at such rates"],
        ),
        (
            [r if is_papers(r) else lost(r) for r in ON_ONLY],
            [f"of 18 trials with another optimizer setting none came to its end: {NO_MEMORY}."],
            ["NaN", "0 to 6 seeds", "at such rates"],
        ),
        # what was tested, on which data, and what is not recorded of it
        (
            STAND_INS,
            [
                "These are SIMULATED galaxies: nothing here speaks of Galaxy10",
                "Random weights stand in for ImageNet's in 48 of 96 trials",
            ],
            [],
        ),
        (
            [r for n in (0, 1) for r in factorial(by_rate, arms=["ON"], split_seed=n)],
            ["at each of 2 backgrounds (split_seed=0, split_seed=1); the numbers are of 20 epochs"],
            [],
        ),
        (
            [r for n in range(5) for r in factorial(by_rate, arms=["ON"], split_seed=n)],
            ["0 of 3 with the alternative, adam 0.0001; EXPLAINED with each of the 5 backgrounds."],
            [],
        ),
        (
            [*ON_ONLY, *factorial(by_rate, arms=["OFF"], num_epochs=10)],
            ["6 seeds a setting, ON at 20 epochs, batches", "; OFF at 10 epochs, batches"],
            [],
        ),
        (
            [replace(r, environment={}) for r in ON_ONLY],
            ["No trial records versions and device: they are taken to be the same."],
            [],
        ),
        (
            papers(lambda r: replace(r, environment={})),
            ["6 of 9 trials do not record versions and device: they are taken to be the same."],
            [],
        ),
    ],
)
def test_the_first_screen_says(results: list[TrialResult], words: list[str], absent: list[str]) -> None:
    text = shown(results)
    for one in words:
        assert one in text
    for one in absent:
        assert one not in text


@pytest.mark.parametrize(
    ("results", "words"),
    [
        (
            complete(lambda s: by_rate(s) and by_preprocessing(s)),
            ", and so does the backbone's own preprocessing (0 of 6 collapse)",
        ),
        (complete(by_rate, num_epochs=never), ", and so does training for 60 epochs in place of 20 (0 of 6 collapse)"),
        (complete(by_rate, start=never), ", and so does a start from random weights (0 of 6 collapse)"),
        (complete(by_rate, network=never), ", and so does the network MobileNet (0 of 6 collapse)"),
        (
            [*complete(by_rate), *_paper("ON", never, augmentation=True)],
            ", and so does augmentation true (0 of 6 collapse)",
        ),
        (
            complete(lambda s: by_rate(s) and by_preprocessing(s), network=never),
            ", and so do the network MobileNet (0 of 6 collapse) and the backbone's own preprocessing (0 of 6",
        ),
        (
            [*complete(by_rate), *_paper("ON", never, seeds=2, augmentation=True)],
            ", and perhaps augmentation true (could not be tested: 2 seeds); other causes are not ruled out",
        ),
        (
            [
                *complete(by_rate),
                *(replace(r, environment={"galaxytl": "9.9"}) for r in _paper("ON", never, augmentation=True)),
            ],
            ", and perhaps augmentation true (could not be tested: its trials differ in galaxytl (0",
        ),
    ],
)
def test_the_sentence_of_explained_names_whatever_else_may_remove_the_collapse(
    results: list[TrialResult], words: str
) -> None:
    said = sentence(results)

    assert said.startswith("VGG16 ON: EXPLAINED: other optimizer settings remove the collapse")
    assert words in said.split(". ")[0]
    assert ONLY not in said


WARM = {"warmup_epochs": 2.0}
CLIPPED = {"global_clipnorm": 1.0}
CURED = (WARM, CLIPPED, {"schedule": "cosine"}, {"batch_size": 4})


def cures(*causes: Cause) -> list[TrialResult]:
    """A trial a seed of the paper's setting with each of CURED."""
    return [r for cause, changes in zip(causes, CURED, strict=True) for r in _paper("ON", cause, **changes)]


def test_cures_of_the_optimizers_are_no_rivals_of_its_settings_and_stand_beside_the_answer() -> None:
    results = [*complete(by_rate), *cures(never, always, always, never)]
    said, beside, *_ = answer_of(results).answer

    assert said.startswith(f"VGG16 ON: EXPLAINED: {ONLY}: nothing else that could be the cause removes it. 6 of 6")
    assert beside == (
        "The optimizer otherwise as in the paper's setting: batch size 4, 0 of 6 collapse (removes it); gradients "
        "clipped to a norm of 1, 6 of 6 collapse (does not remove it); a cosine schedule, 6 of 6 collapse (does not "
        "remove it); a warm-up of 2 epochs, 0 of 6 collapse (removes it)."
    )
    real = [*results, *_paper("ON", never, augmentation=True)]
    assert ", and so does augmentation true (0 of 6 collapse)" in sentence(real)  # a rival is one beside them too


def test_a_cure_may_explain_what_no_learning_rate_does() -> None:
    """The batch size is held fixed in the test; a warm-up is one of the settings that it chooses from."""
    by_batch = sentence([*complete(always), *cures(always, always, always, never)])
    assert by_batch.startswith(
        "VGG16 ON: NOT_EXPLAINED: other optimizer settings collapse as well; batch size 4 (0 of 6 collapse) removes it,"
        " a setting of the optimizer too."
    )
    by_warmup = sentence([*complete(always), *cures(never, always, always, always)])
    assert by_warmup.startswith(f"VGG16 ON: EXPLAINED: {ONLY}")
    assert "0 of 3 with the alternative, adam 0.001, warm-up of 2 epochs" in by_warmup


def test_cures_that_work_together_only_are_said() -> None:
    both = _paper("ON", never, **WARM, **CLIPPED)
    said = sentence([*complete(always), *cures(always, always, always, always), *both])
    together = "a warm-up of 2 epochs and gradients clipped to a norm of 1 remove it only together (0 of 6 collapse)"
    assert said.startswith(f"VGG16 ON: EXPLAINED: {ONLY}: nothing else that could be the cause removes it; {together}")


def test_a_verdict_that_hangs_on_the_halves_of_the_seeds_says_so() -> None:
    results = factorial(lambda spec: by_rate(spec) or spec.seed in {0, 5}, arms=["ON"])
    study = study_collapse(results)
    answer = collapse_answer(study, look_beside(results, study), results)

    assert any(text.startswith("The verdict hangs on choices of the test: it is ") for text in answer.answer)

    blocked = [replace(r, environment={"device": "other"}) if is_papers(r) else r for r in results]
    study = study_collapse(blocked)
    answer = collapse_answer(study, look_beside(blocked, study), blocked)
    assert "which may be the cause: device" in answer.answer[0]
    assert not any("hangs on" in text for text in answer.answer)


def test_accuracies_difference_and_posterior_stand_beside_the_rate() -> None:
    text = " ".join(answer_of(factorial(by_rate, arms=["ON"])).answer)

    assert re.search(r"Reduction of the collapse rate: 0\.\d\d to 0\.99 at 95% \(posterior, Jeffreys prior\)", text)
    assert re.search(r"above 1/2 with probability 0\.9\d", text)
    assert re.search(r"Accuracy 0\.148 \(0\.\d+ to 0\.\d+\) with adam 0\.001, 0\.590 \(.*\) with adam 0\.0001", text)
    assert re.search(r"\+0\.442 \(0\.4\d+ to 0\.4\d+\), paired by the 3 seeds tested", text)


def test_what_would_settle_it_can_be_typed(tmp_path: Path) -> None:
    folder, grid = tmp_path / "results", tmp_path / "again.yaml"

    def line(results: list[TrialResult]) -> str:
        study = study_collapse(results)
        trials = Trials(tuple(results), folders={r.trial_id: folder for r in results})
        (command,) = settling(study, Beside(examine_rivals(results, study.arms)), trials, {folder: grid})
        return command.line

    few = factorial(by_rate, seeds=2, arms=["ON"])
    needed = study_collapse(few).arms[0].seeds_needed
    assert line(few) == f"python -m sweep.run --grid {grid} --seeds {(needed or 0) - 1} --out {folder} --data DATA"
    assert line(factorial(by_rate, arms=["ON"])) == (
        f"python -m sweep.run --grid {grid} --set num_epochs=60 --out {folder} --data DATA"
    )
    alone = study_collapse(paper_grid())
    assert not is_answered(alone)
    asked = "Does VGG16's collapse come from its optimizer settings?"
    command = "python -m sweep.run --grid vgg-collapse --seeds 6 --data DATA"
    assert unanswered(alone, Trials(tuple(paper_grid()))) == Command(asked, command)


def test_a_folder_of_the_paper_or_of_a_search_is_asked_which_is_best() -> None:
    grid = fill_cells(Trials(tuple(paper_grid())))
    answer = of_table(grid)
    assert answer.answer[0].startswith("MobileNet, ImageNet ON, accuracy 0.823 (95% interval")
    assert "speaks of these trained networks, not of their settings" in answer.answer[1]
    assert answer.also[0].startswith("The next best is MobileNet, ImageNet OFF, accuracy 0.686")
    assert answer.settle == ("At least 3 seeds a row.",)

    alike = [replace(r, metrics={**r.metrics, "accuracy": 0.5}) for r in paper_grid()]
    tied = of_table(fill_cells(Trials(tuple(alike))))
    assert tied.answer[0].startswith("VGG16, ImageNet ON, accuracy 0.500")
    assert tied.also[0].startswith("The next best is ResNet50, ImageNet ON, accuracy 0.500")

    search = examine_search(Trials((make_compared(40, seed=1), make_compared(39, seed=2))))
    answer = of_search(search)
    assert answer.asked[0].startswith("Which of 2 trials is best on the validation part")
    assert "cannot be told apart from the runner-up" in answer.also[0]
    assert answer.settle


def test_columns_of_the_seeds_of_the_choice_show_those_alone() -> None:
    """The alternative collapses on the seeds of the test, and its validation accuracy is another one there."""

    def scored(result: TrialResult) -> TrialResult:
        value = 0.5 if result.spec.seed < 3 else 0.1
        return replace(result, history=({"epoch": 1.0, "val_accuracy": value},))

    results = [scored(r) for r in factorial(lambda s: by_rate(s) or s.seed > 2, arms=["ON"])]
    study = study_collapse(results)
    (listing,) = (
        section.listing
        for section in collapse_sections(study, Beside(), results)
        if section.heading == "VGG16 ON: every optimizer setting"
    )
    assert listing is not None
    rows = {row[0]: row for row in listing.rows}

    assert rows["adam 0.0001"][1] == "3 of 6 collapse"
    assert rows["adam 0.0001"][3:] == ("0, 1, 2", "0 of 3 collapse", "0.500")
    assert rows["adam 0.001"][3:] == ("", "", "")


def test_where_nothing_collapses_nothing_falls_and_nothing_else_is_asked() -> None:
    answer = answer_of(factorial(never))

    assert sentence(factorial(never)).startswith(
        "VGG16 ON: NOT_REPRODUCED: the paper's setting does not collapse here."
    )
    assert "Reduction" not in " ".join(answer.answer)
    assert answer.also == answer.settle == ()
    results = factorial(never, arms=["ON"])  # and nothing in OFF
    assert "tried" not in " ".join(next(collapse_sections(study_collapse(results), Beside(), results)).sentences)


def test_seeds_that_vary_with_the_seed_are_to_be_fixed(tmp_path: Path) -> None:
    results = [collapsing(r.spec.replace(shuffle_seed=r.spec.seed), by_rate) for r in factorial(by_rate, arms=["ON"])]
    study = study_collapse(results)
    trials = Trials(tuple(results), folders={r.trial_id: tmp_path for r in results})
    (command,) = settling(study, Beside(), trials, {tmp_path: tmp_path / "again.yaml"})

    assert "all seeds at one value of shuffle_seed" in shown(results)
    assert "--set shuffle_seed=0 --out" in command.line
