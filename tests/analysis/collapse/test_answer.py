"""What the first screen says of collapses with a known cause, and of folders that ask something else."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from analysis.collapse.answer import Beside, collapse_answer, settling, verdict_lines
from analysis.collapse.interactions import examine_interactions
from analysis.collapse.rivals import examine_rivals
from analysis.collapse.sections import collapse_sections, look_beside
from analysis.collapse.verdict import study_collapse
from analysis.report.answer import Answer
from analysis.run.contents import of_search, of_table
from analysis.search.choice import examine as examine_search
from analysis.trials.load import Trials
from analysis.trials.table1_cells import fill_cells
from galaxytl.trial import TrialResult
from tests.analysis.collapsing import always, by_preprocessing, by_rate, collapsing, factorial, failed, never
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


def _paper(arm: str, cause: Any, backbone: str = "VGG16", seeds: int = 6, **fields: Any) -> list[TrialResult]:
    specs = (make_spec(backbone, arm, **{"validation_fraction": 0.1, "seed": seed, **fields}) for seed in range(seeds))
    return [collapsing(spec, cause) for spec in specs]


def test_only_where_all_rivals_were_tried_and_keep_the_collapse_it_comes_from_the_optimizer() -> None:
    said = sentence(complete(by_rate))

    assert said.startswith(f"VGG16 ON: EXPLAINED: {ONLY}: nothing else that could be the cause removes it.")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the collapse goes with by chance takes longest, and no test here reads it to a digit."""
    monkeypatch.setattr("analysis.collapse.rivals.PERMUTATIONS", 20)


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
            [*complete(by_rate), *_paper("ON", never, batch_size=256)],
            ", and so does batch size 256 (0 of 6 collapse)",
        ),
        (
            complete(lambda s: by_rate(s) and by_preprocessing(s), network=never),
            ", and so do the network MobileNet (0 of 6 collapse) and the backbone's own preprocessing (0 of 6",
        ),
        (
            [*complete(by_rate), *_paper("ON", never, seeds=2, batch_size=256)],
            ", and perhaps batch size 256 (could not be tested: 2 seeds); other causes are not ruled out",
        ),
        (
            [
                *complete(by_rate),
                *(replace(r, environment={"galaxytl": "9.9"}) for r in _paper("ON", never, batch_size=256)),
            ],
            ", and perhaps batch size 256 (could not be tested: its trials differ in galaxytl (0",
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


@pytest.mark.parametrize(
    ("results", "words"),
    [
        (
            complete(by_rate, num_epochs=lambda s: s.seed < 3),
            "not ruled out: training for 60 epochs in place of 20 (3 of 6 collapse)",
        ),
        (factorial(by_rate, arms=["ON"]), "not tried: training for more epochs, another start and another network"),
    ],
)
def test_what_is_open_is_said_to_be(results: list[TrialResult], words: str) -> None:
    assert "; other causes are not ruled out. " in sentence(results)
    assert words in " ".join(answer_of(results).also)


def test_an_optimizer_that_cures_only_with_another_preprocessing_is_in_the_sentence() -> None:
    said = sentence(factorial(lambda s: by_rate(s) or by_preprocessing(s), arms=["ON"]))

    assert said.startswith("VGG16 ON: NOT_EXPLAINED: other optimizer settings collapse as well; adam 0.0001 and the")
    assert "the backbone's own preprocessing remove it only together (0 of 6 collapse)" in said
    undone = sentence(factorial(lambda s: by_rate(s) or not by_preprocessing(s), arms=["ON"]))
    assert "adam 0.0001 no longer does with the backbone's own preprocessing (6 of 6 collapse)" in undone


def test_where_nothing_cures_nothing_is_said_to() -> None:
    answer = answer_of(complete(always, num_epochs=always))
    said = next(text for text in answer.answer if text.startswith("VGG16 ON"))

    assert said.startswith("VGG16 ON: NOT_EXPLAINED: other optimizer settings collapse as well.")
    assert any("ruled out: training for 60 epochs in place of 20 (6 of 6 collapse)" in text for text in answer.also)


def test_a_paper_setting_that_only_diverges_has_no_accuracy_to_compare() -> None:
    results = [failed(r, "diverged: NaN") if is_papers(r) else r for r in factorial(never, arms=["ON"])]
    text = " ".join(answer_of(results).answer)

    assert "none with adam 0.001, whose loss became NaN in 6 of 6 seeds" in text
    assert "paired by" not in text


def test_a_lucky_escape_among_forty_settings_is_no_explanation() -> None:
    specs = [
        make_spec("VGG16", "ON", validation_fraction=0.1, seed=seed, learning_rate=rate)
        for rate in (1e-3, *(10 ** (-4 - i / 20) for i in range(40)))
        for seed in range(6)
    ]
    lucky = specs[6 * 17]
    said = sentence([collapsing(spec, lambda s: s is not lucky) for spec in specs])

    assert "EXPLAINED: other optimizer settings remove" not in said
    assert "only together" not in said


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


def test_what_was_tested_and_on_which_data_is_in_the_question() -> None:
    (asked,) = answer_of(factorial(by_rate, arms=["ON"])).asked

    assert asked.startswith(
        "Does VGG16's collapse come from its optimizer settings? 48 trials of VGG16 on galaxy10_decals"
    )
    assert "6 seeds a setting, at 20 epochs, batches of 32" in asked
    assert not any("SIMULATED" in text for text in answer_of(factorial(by_rate)).answer)
    simulated = factorial(by_rate, dataset="simulated", weights="random", weights_fingerprint="")
    first, second = answer_of(simulated).answer[:2]
    assert first.startswith("These are SIMULATED galaxies: nothing here speaks of Galaxy10")
    assert second.startswith("Random weights stand in for ImageNet's in 48 of 96 trials")


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
    assert line(paper_grid()) == "python -m sweep.run --grid vgg-collapse --seeds 6 --data DATA"


def test_without_rivals_a_summary_is_a_line_an_arm() -> None:
    lines = verdict_lines(study_collapse(factorial(by_rate)), Beside())
    assert [line.split(": ")[:2] for line in lines] == [["VGG16 ON", "EXPLAINED"], ["VGG16 OFF", "EXPLAINED"]]


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


def test_no_accuracy_is_said_to_be_below_0() -> None:
    """Two seeds that scatter widely."""
    results = [
        replace(r, metrics={**r.metrics, "accuracy": 0.1 + 0.2 * (r.spec.seed % 2)})
        for r in factorial(by_rate, seeds=2, arms=["ON"])
    ]
    text = " ".join(answer_of(results).answer)

    assert re.search(r"Accuracy 0\.200 \(0\.000 to 1\.000\) with adam 0\.001", text)


def shown(results: list[TrialResult]) -> str:
    """All of the first screen."""
    return " ".join(sentence for _, sentences in answer_of(results).rows for sentence in sentences)


def is_papers(result: TrialResult) -> bool:
    return result.spec.optimizer == "adam" and result.spec.learning_rate == 1e-3


@pytest.mark.parametrize("of_papers", [True, False])
def test_trials_that_all_ran_out_of_memory_are_not_there_and_have_no_rate(of_papers: bool) -> None:
    lost = [
        failed(r, "out of memory: OOM") if is_papers(r) is of_papers else r for r in factorial(by_rate, arms=["ON"])
    ]
    text = shown(lost)

    whose = (
        "6 trials with the paper's setting, adam 0.001," if of_papers else "18 trials with another optimizer setting"
    )
    assert f"VGG16 ON: NOT_TESTABLE: of {whose} none came to its end: out of memory: OOM." in text
    assert "NaN" not in text
    assert "0 to 6 seeds" not in text
    assert "at such rates" not in text


def test_a_choice_by_collapse_rate_needs_no_curve() -> None:
    for results in (
        [replace(r, history=()) for r in factorial(by_rate, arms=["ON"])],
        [replace(r, curves_on="test") for r in factorial(by_rate, arms=["ON"], validation_fraction=0.0)],
    ):
        assert sentence(results).startswith("VGG16 ON: EXPLAINED")


def test_where_nothing_collapses_nothing_falls_and_nothing_else_is_asked() -> None:
    answer = answer_of(factorial(never))

    assert sentence(factorial(never)).startswith(
        "VGG16 ON: NOT_REPRODUCED: the paper's setting does not collapse here."
    )
    assert "Reduction" not in " ".join(answer.answer)
    assert answer.also == answer.settle == ()
    results = factorial(never, arms=["ON"])  # and nothing in OFF
    assert "tried" not in " ".join(next(collapse_sections(study_collapse(results), Beside(), results)).sentences)


def test_all_splits_that_were_tested_are_named() -> None:
    (asked,) = answer_of([r for n in (0, 1) for r in factorial(by_rate, arms=["ON"], split_seed=n)]).asked
    assert "at each of 2 backgrounds (split_seed=0, split_seed=1); the numbers are of 20 epochs" in asked

    many = sentence([r for n in range(5) for r in factorial(by_rate, arms=["ON"], split_seed=n)])
    assert many.endswith("0 of 3 with the alternative, adam 0.0001; EXPLAINED with each of the 5 backgrounds.")


def test_what_is_not_recorded_is_said_beside_the_verdict() -> None:
    results = factorial(by_rate, arms=["ON"])
    said = "versions and device: they are taken to be the same."

    assert f"No trial records {said}" in sentence([replace(r, environment={}) for r in results])
    some = sentence([replace(r, environment={}) if is_papers(r) else r for r in results])
    assert f"6 of 9 trials do not record {said}" in some
    assert "taken to be" not in sentence(results)


def test_seeds_that_vary_with_the_seed_are_to_be_fixed(tmp_path: Path) -> None:
    results = [collapsing(r.spec.replace(shuffle_seed=r.spec.seed), by_rate) for r in factorial(by_rate, arms=["ON"])]
    study = study_collapse(results)
    trials = Trials(tuple(results), folders={r.trial_id: tmp_path for r in results})
    (command,) = settling(study, Beside(), trials, {tmp_path: tmp_path / "again.yaml"})

    assert "all seeds at one value of shuffle_seed" in shown(results)
    assert "--set shuffle_seed=0 --out" in command.line


def test_backgrounds_that_disagree_are_to_be_chosen_from() -> None:
    text = shown([*factorial(by_rate, arms=["ON"], num_epochs=5), *factorial(always, arms=["ON"], num_epochs=50)])

    assert "EXPLAINED with num_epochs=5; NOT_EXPLAINED with num_epochs=50." in text
    assert "a report of one background at a time, as by --where num_epochs=5" in text
    assert text.count("NOT_EXPLAINED with") == 1


def test_numbers_that_show_nothing_are_not_shown() -> None:
    """Of trials that differ in more than the optimizer, and of one of several backgrounds that disagree."""
    other = {"device": "NVIDIA H200", "galaxytl": "9.9", "keras": "3.15.1"}
    confounded = [replace(r, environment=other) if is_papers(r) else r for r in factorial(by_rate, arms=["ON"])]
    text = " ".join(answer_of(confounded).answer)
    assert "galaxytl (9.9 against 0.1.0)" in text
    assert "Accuracy 0.148" in text
    assert "Reduction" not in text
    assert "difference" not in text.partition("Accuracy")[2]

    mixed = [*factorial(by_rate, arms=["ON"], num_epochs=5), *factorial(always, arms=["ON"], num_epochs=50)]
    assert "Accuracy" not in " ".join(answer_of(mixed).answer)


def test_arms_of_different_backgrounds_are_told_apart() -> None:
    (asked,) = answer_of([*factorial(by_rate, arms=["ON"]), *factorial(by_rate, arms=["OFF"], num_epochs=10)]).asked

    assert "6 seeds a setting, ON at 20 epochs, batches" in asked
    assert "; OFF at 10 epochs, batches" in asked
