"""What a search chose, how sure that is, and what is said where it is not."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import pytest

from analysis.banner import Banner
from analysis.best import best_yaml
from analysis.gather import AnalysisError, Trials
from analysis.search import Search, common_reasons, count_by_status, examine, part
from analysis.search_report import search_csv
from analysis.search_sections import search_sections
from analysis.sections import as_markdown
from galaxytl.trial import FAILED, PRUNED, TrialResult, TrialSpec
from sweep.axes import expand
from sweep.grid_file import read_grid
from tests.analysis.fakes import make_compared, make_result, make_spec, make_tested, write_probabilities


def trials_in(folder: Path, *results: TrialResult) -> Trials:
    return Trials(results, folders={r.trial_id: folder for r in results})


def said(search: Search) -> str:
    return " ".join(as_markdown(search_sections(search, [])).replace("\\", "").split())


def stopped(status: str, message: str, seed: int) -> TrialResult:
    return replace(make_compared(seed=seed), status=status, message=message, metrics={})  # type: ignore[arg-type]


# Which is chosen


def test_the_best_is_chosen_by_validation_accuracy_then_loss() -> None:
    better, worse = make_compared(40, seed=1), make_compared(30, seed=2)
    equal = make_compared(40, seed=3)
    equal = replace(equal, metrics={**equal.metrics, "loss": 1.4})
    unfinished = stopped(PRUNED, "asha", seed=4)

    search = examine(Trials((worse, better, unfinished, equal)))

    assert [r.spec.seed for r in search.ranking] == [3, 1, 2]
    assert search.best is equal


def test_a_test_score_has_no_say_in_the_choice() -> None:
    best, other = make_compared(40, seed=1), make_compared(30, seed=2)

    search = examine(Trials((best, other, make_tested(best, right=1), make_tested(other, right=5000))))

    assert search.best is best
    assert search.test_row is not None
    assert search.test_row.metrics["accuracy"] == 1 / 5321


@pytest.mark.parametrize(
    ("field", "values"),
    [("split_seed", (0, 1)), ("validation_fraction", (0.1, 0.2)), ("dataset_fingerprint", ("aa" * 32, "bb" * 32))],
)
def test_trials_of_different_images_are_not_ranked(field: str, values: tuple[object, ...]) -> None:
    results = [make_compared(**{field: value}) for value in values]

    with pytest.raises(AnalysisError, match=rf"ranks trials .* on the same images; .*{field}: .*--where {field}="):
        examine(Trials(tuple(results)))


# The margin


def test_a_margin_is_paired_image_by_image(tmp_path: Path) -> None:
    best, other = make_compared(60, 100, seed=1), make_compared(50, 100, seed=2)
    write_probabilities(tmp_path, best, [True] * 60 + [False] * 40)
    write_probabilities(tmp_path, other, [True] * 45 + [False] * 15 + [True] * 5 + [False] * 35)

    margin = examine(trials_in(tmp_path, best, other)).margin

    assert margin is not None
    assert margin.pairs is not None
    assert (margin.pairs.first_only, margin.pairs.second_only) == (15, 5)
    assert margin.value == pytest.approx(0.1)
    assert margin.p_value == pytest.approx(0.0414, abs=5e-5)
    assert not margin.is_within_noise


def test_two_images_are_within_noise_and_that_is_said(tmp_path: Path) -> None:
    best, other = make_compared(40, 63, seed=1), make_compared(38, 63, seed=2)
    write_probabilities(tmp_path, best, [True] * 40 + [False] * 23)
    write_probabilities(tmp_path, other, [False] * 4 + [True] * 38 + [False] * 21)

    search = examine(trials_in(tmp_path, best, other))

    assert search.margin is not None
    assert search.margin.is_within_noise
    assert f"the runner-up, trial {other.trial_id}, cannot be told apart on 63 images" in said(search)


def test_without_predictions_the_margin_is_unpaired_and_says_why(tmp_path: Path) -> None:
    best, other = make_compared(60, 100, seed=1), make_compared(50, 100, seed=2)
    right = [True] * 50 + [False] * 50
    cases = {
        "are not there": lambda: None,
        "its row says 0.600": lambda: write_probabilities(tmp_path, best, right),
        "are of different images": lambda: write_probabilities(tmp_path, best, [True] * 60 + [False] * 40, first_row=7),
        "cannot be read": lambda: (tmp_path / "probabilities" / f"{best.trial_id}.parquet").write_text("no Parquet"),
    }
    for reason, prepare in cases.items():
        prepare()
        if reason != "are not there":
            write_probabilities(tmp_path, other, right)
        search = examine(trials_in(tmp_path, best, other))
        assert search.margin is not None
        assert search.margin.pairs is None
        assert reason in search.margin.why_unpaired
        assert search.margin.is_within_noise  # 60 and 50 of 100 other images could well be equally good
        assert "cannot be told apart on 100 images: the interval of the margin includes 0. It is not paired" in said(
            search
        )


def test_a_margin_far_above_the_noise_is_said_to_be() -> None:
    search = examine(Trials((make_compared(90, 100, seed=1), make_compared(10, 100, seed=2))))

    assert "can be told apart on 100 images" in said(search)


def test_equally_many_right_are_told_apart_by_the_loss_and_that_is_said() -> None:
    search = examine(Trials((make_compared(30, seed=1), make_compared(30, seed=2))))

    assert "on 60 images, of which they have equally many right (the lower validation loss decided)" in said(search)


def test_one_complete_trial_has_no_margin_and_none_has_no_choice() -> None:
    single = examine(Trials((make_compared(), stopped(FAILED, "no memory", seed=1))))
    none = examine(Trials((stopped(FAILED, "no memory", seed=1),)))

    assert single.margin is None
    assert "is not the highest of several" in said(single)
    assert (none.best, none.test_row, none.margin) == (None, None, None)
    assert "there is none to choose" in said(none)


# Honesty about the two parts


def test_the_validation_score_is_called_too_high_and_the_test_score_stands_with_its_interval() -> None:
    best = make_compared(40, 63, seed=1)
    text = said(examine(Trials((best, make_compared(30, 63, seed=2), make_tested(best, right=2500)))))

    assert "the highest of 2, and so too high on average" in text
    assert "| validation accuracy | 0.635 | 0.511 to 0.743 | 63 validation images |" in text
    assert "| test accuracy | 0.470 | 0.456 to 0.483 | 5,321 test images |" in text
    assert "1 trial of this search has been scored on the test part" in text


def test_a_test_part_that_was_used_more_than_once_is_said_to_be() -> None:
    best, other = make_compared(40, seed=1), make_compared(30, seed=2)
    search = examine(Trials((best, other, make_tested(best), make_tested(other))))

    assert search.num_tested == 2
    assert "2 trials of this search have been scored on the test part: it was used more than once" in said(search)


def test_a_missing_and_a_failed_test_score_are_told_apart() -> None:
    best = make_compared()
    failed = make_tested(best, status=FAILED, message="no memory", metrics={})

    assert "has no row on the test part" in said(examine(Trials((best,))))
    assert "row on the test part is FAILED: no memory" in said(examine(Trials((best, failed))))
    assert "test accuracy" not in said(examine(Trials((best, failed))))


# Whose row is it


def test_rows_of_a_search_and_of_a_grid_are_parted(tmp_path: Path) -> None:
    best, other, grid_row = make_compared(40, seed=1), make_compared(30, seed=2), make_result()
    best_again, other_again = make_tested(best), make_tested(other)
    search, elsewhere = tmp_path / "search", tmp_path / "grid"
    folders = {r.trial_id: search for r in (best, other)}

    def tested_in(folder: Path) -> tuple[list[TrialResult], list[TrialResult]]:
        own = folders | {r.trial_id: folder for r in (grid_row, best_again, other_again)}
        searched, others = part(Trials((grid_row, best, other, best_again, other_again), folders=own))
        return list(searched.results), list(others.results)

    assert tested_in(search) == ([best, other, best_again, other_again], [grid_row])
    assert tested_in(elsewhere) == ([best, other, best_again], [grid_row, other_again])


def test_without_a_search_every_row_is_a_grids() -> None:
    trials = Trials((make_result(), make_result(make_spec(validation_fraction=0.1))))

    searched, others = part(trials)

    assert searched.results == ()
    assert others == trials


# Counts


def test_reasons_that_differ_in_numbers_count_together() -> None:
    messages = [f"asha: 0.{n} after epoch 2 is below the best third of {n} trials (0.4)" for n in (12, 13, 14)]
    messages += ["equal to an earlier trial, 0123456789abcdef", "equal to an earlier trial, fedcba9876543210"]
    messages += ["no memory on gpu0\nat all", "", "stopped after 3"]

    assert common_reasons(messages) == (
        ("asha: ... after epoch ... is below the best third of ... trials (...)", 3),
        ("equal to an earlier trial, ...", 2),
        ("no memory on gpu0 at all", 1),
        ("stopped after 3", 1),
    )


def test_trials_are_counted_by_status() -> None:
    results = [stopped(FAILED, "NaN", 1), make_compared(), stopped(PRUNED, "median", 2), stopped(PRUNED, "asha", 3)]

    counts = count_by_status(results)

    assert [(c.status, c.number) for c in counts] == [("COMPLETE", 1), ("PRUNED", 2), ("FAILED", 1)]
    assert counts[2].reasons == (("NaN", 1),)


# Files


def small_search() -> Search:
    rates = (3.1622776601683795e-05, 1e-4, 1e-2)
    results = [make_compared(40 - i, learning_rate=rate) for i, rate in enumerate(rates)]
    pruned = replace(make_compared(learning_rate=0.1), status=PRUNED, message="asha, bad", metrics={})
    return examine(Trials((pruned, *results)))


def test_the_csv_has_a_row_a_trial_with_what_was_varied() -> None:
    search = small_search()

    rows = list(csv.DictReader(io.StringIO(search_csv(search, Banner.of_search(search.results)))))

    assert [row["rank"] for row in rows] == ["1", "2", "3", ""]
    assert [float(row["learning_rate"]) for row in rows] == [3.1622776601683795e-05, 1e-4, 1e-2, 0.1]
    assert (rows[3]["status"], rows[3]["reason"], rows[3]["epochs_done"]) == ("PRUNED", "asha, bad", "3")
    assert float(rows[0]["validation_accuracy"]) == pytest.approx(40 / 60)
    assert float(rows[3]["validation_accuracy"]) == pytest.approx(0.5)
    assert rows[0]["weights"] == "ImageNet"
    assert "optimizer" not in rows[0]


def test_the_grid_file_gives_exactly_the_chosen_trial(tmp_path: Path) -> None:
    search = small_search()
    assert search.best is not None
    path = tmp_path / "best.yaml"
    path.write_text(best_yaml(search, search.best, Banner.of_search(search.results)))
    spec = search.best.spec
    base = TrialSpec(
        dataset=spec.dataset, dataset_fingerprint=spec.dataset_fingerprint, weights_fingerprint=spec.weights_fingerprint
    )

    grid = read_grid(path)

    assert expand(grid, base).specs == (spec.replace(scored_on="test"),)
    assert "best by validation accuracy of 3 trials" in grid.purpose


def test_the_grid_file_asks_for_the_weights_that_the_search_asked_for() -> None:
    stand_in = make_compared(
        weights="random", weights_requested="imagenet", weights_fingerprint="", dataset="simulated"
    )
    search = examine(Trials((stand_in,)))

    text = best_yaml(search, stand_in, Banner.of_search(search.results))

    assert '  weights: "imagenet"\n' in text
    assert "# SIMULATED galaxies" in text
    assert "random weights stood in" in text
    assert "random (ImageNet weights not found)" in said(search)
