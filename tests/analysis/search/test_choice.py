"""What a search chose, how sure that is, and what is said where it is not."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import pytest

from analysis.report.rerun import best_yaml
from analysis.report.sections import as_markdown
from analysis.run.write import search_csv
from analysis.search.choice import Search, examine, part
from analysis.search.sections import search_sections
from analysis.statistics.intervals import Pairs
from analysis.trials.banner import Banner
from analysis.trials.endings import common_reasons, count_by_status
from analysis.trials.load import AnalysisError, Trials
from galaxytl.trial import FAILED, PRUNED, TrialResult, TrialSpec
from sweep.grids.axes import expand
from sweep.grids.yaml_grid import read_grid
from tests.analysis.fakes import make_compared, make_result, make_spec, make_tested, write_probabilities


def trials_in(folder: Path, *results: TrialResult) -> Trials:
    return Trials(results, folders={r.trial_id: folder for r in results})


def said(search: Search) -> str:
    return " ".join(as_markdown(search_sections(search, [])).replace("\\", "").split())


def stopped(status: str, message: str, seed: int) -> TrialResult:
    return replace(make_compared(seed=seed), status=status, message=message, metrics={})


def test_the_best_is_chosen_by_validation_accuracy_then_loss_and_a_test_score_has_no_say() -> None:
    best, equal, worse = make_compared(40, seed=1), make_compared(40, seed=3), make_compared(30, seed=2)
    best = replace(best, metrics={**best.metrics, "loss": 1.4})
    tested = [make_tested(best, right=1), make_tested(equal, right=4000), make_tested(worse, right=5000)]

    search = examine(Trials((worse, equal, best, stopped(PRUNED, "asha", seed=4), *tested)))

    assert search.ranking == (best, equal, worse)
    assert search.best is best
    assert search.test_row is tested[0]


@pytest.mark.parametrize(
    ("field", "values"),
    [("split_seed", (0, 1)), ("validation_fraction", (0.1, 0.2)), ("dataset_fingerprint", ("aa" * 32, "bb" * 32))],
)
def test_trials_of_different_images_are_not_ranked(field: str, values: tuple[object, ...]) -> None:
    results = [make_compared(**{field: value}) for value in values]
    with pytest.raises(AnalysisError, match=rf"ranks trials .* on the same images; .*{field}: .*--where {field}="):
        examine(Trials(tuple(results)))


def test_a_margin_is_paired_image_by_image(tmp_path: Path) -> None:
    best, other = make_compared(60, 100, seed=1), make_compared(50, 100, seed=2)
    write_probabilities(tmp_path, best, [True] * 60 + [False] * 40)
    write_probabilities(tmp_path, other, [True] * 45 + [False] * 15 + [True] * 5 + [False] * 35)

    margin = examine(trials_in(tmp_path, best, other)).margin

    assert margin.pairs == Pairs(45, 15, 5, 35)
    assert margin.value == pytest.approx(0.1)
    assert margin.p_value == pytest.approx(0.0414, abs=5e-5)
    assert not margin.is_within_noise


def test_two_images_are_within_noise_and_that_is_said(tmp_path: Path) -> None:
    best, other = make_compared(40, 63, seed=1), make_compared(38, 63, seed=2)
    write_probabilities(tmp_path, best, [True] * 40 + [False] * 23)
    write_probabilities(tmp_path, other, [False] * 4 + [True] * 38 + [False] * 21)

    search = examine(trials_in(tmp_path, best, other))

    assert search.margin.is_within_noise
    assert (
        f"the runner-up, trial {other.trial_id} (MobileNet, weights ImageNet, seed 2), cannot be told apart on 63"
        in said(search)
    )


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
        search = examine(trials_in(tmp_path, best, other))
        write_probabilities(tmp_path, other, right)

        assert search.margin.pairs is None
        assert reason in search.margin.why_unpaired
        assert search.margin.is_within_noise  # 60 and 50 of 100 other images could well be equally good
        no_test = "cannot be told apart on 100 images: the interval of the margin includes 0. It is not paired"
        assert no_test in said(search)


def test_a_margin_far_above_the_noise_and_one_of_no_image_are_said() -> None:
    far = examine(Trials((make_compared(90, 100, seed=1), make_compared(10, 100, seed=2))))
    none = examine(Trials((make_compared(30, seed=1), make_compared(30, seed=2))))
    assert "can be told apart on 100 images" in said(far)
    assert "on 60 images, of which they have equally many right (the lower validation loss decided)" in said(none)


def test_one_complete_trial_has_no_margin_and_none_has_no_choice() -> None:
    single = examine(Trials((make_compared(), stopped(FAILED, "no memory", seed=1))))
    none = examine(Trials((stopped(FAILED, "no memory", seed=1),)))

    assert single.margin is None
    assert "is not the highest of several" in said(single)
    assert (none.best, none.test_row, none.margin) == (None, None, None)
    assert "there is none to choose" in said(none)


def test_the_validation_score_is_called_too_high_and_the_test_score_stands_with_its_interval() -> None:
    best, other = make_compared(40, 63, seed=1), make_compared(30, 63, seed=2)
    text = said(examine(Trials((best, other, make_tested(best, right=2500)))))

    assert "the highest of 2, and so too high on average" in text
    assert "| validation accuracy | 0.635 | 0.511 to 0.743 | 63 validation images |" in text
    assert "| test accuracy | 0.470 | 0.456 to 0.483 | 5,321 test images |" in text
    assert "1 trial of this search has been scored on the test part" in text


def test_a_test_part_that_was_used_twice_and_a_missing_and_a_failed_test_score_are_said() -> None:
    best, other = make_compared(40, seed=1), make_compared(30, seed=2)
    failed = make_tested(best, status=FAILED, message="no memory", metrics={})
    twice = examine(Trials((best, other, make_tested(best), make_tested(other))))

    assert twice.num_tested == 2
    assert "2 trials of this search have been scored on the test part: it was used more than once" in said(twice)
    assert "has no row on the test part" in said(examine(Trials((best,))))
    text = said(examine(Trials((best, failed))))
    assert "row on the test part is FAILED: no memory" in text
    assert "test accuracy" not in text


def test_rows_of_a_search_and_of_a_grid_are_parted(tmp_path: Path) -> None:
    best, other, grid_row = make_compared(40, seed=1), make_compared(30, seed=2), make_result()
    best_again, other_again = make_tested(best), make_tested(other)
    search, elsewhere = tmp_path / "search", tmp_path / "grid"

    def tested_in(folder: Path) -> list[tuple[TrialResult, ...]]:
        folders = {r.trial_id: search for r in (best, other)}
        folders |= {r.trial_id: folder for r in (grid_row, best_again, other_again)}
        return [own.results for own in part(Trials((grid_row, best, other, best_again, other_again), folders=folders))]

    assert tested_in(search) == [(best, other, best_again, other_again), (grid_row,)]
    assert tested_in(elsewhere) == [(best, other, best_again), (grid_row, other_again)]
    rows = (grid_row, make_result(make_spec(validation_fraction=0.1)))
    assert [own.results for own in part(Trials(rows))] == [(), rows]  # without a search all are a grid's


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
    counts = [(c.status, c.number, len(c.reasons)) for c in count_by_status(results)]
    assert counts == [("COMPLETE", 1, 0), ("PRUNED", 2, 2), ("FAILED", 1, 1)]


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
    path = tmp_path / "best.yaml"
    path.write_text(best_yaml(search.best, len(search.ranking), Banner.of_search(search.results)))
    known = ("dataset", "dataset_fingerprint", "weights_fingerprint")
    base = TrialSpec(**{name: getattr(search.best.spec, name) for name in known})

    grid = read_grid(path)

    assert expand(grid, base).specs == (search.best.spec.replace(scored_on="test"),)
    assert "best by validation accuracy of 3 trials" in grid.purpose


def test_the_grid_file_asks_for_the_weights_that_the_search_asked_for() -> None:
    stand_in = make_compared(weights="random", weights_fingerprint="", dataset="simulated")
    search = examine(Trials((stand_in,)))

    text = best_yaml(stand_in, 1, Banner.of_search(search.results))

    for part_of_it in ('  weights: "imagenet"\n', "# SIMULATED galaxies", "random weights stood in"):
        assert part_of_it in text
    assert "random (ImageNet weights not found)" in said(search)
