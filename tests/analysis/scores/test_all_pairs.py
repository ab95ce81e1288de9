"""All pairs of settings: who is told from whom, what has no place, and the diagram of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.colors import to_hex

from analysis.figures.critical_differences import draw_ranking, plan_rankings
from analysis.figures.plans import Material
from analysis.figures.style import COLOURS, style
from analysis.scores.all_pairs import MOST_SETTINGS, OPTIMIZERS, THEMES, indistinct, rank, ranking_of, section, sections
from analysis.statistics.intervals import holm
from analysis.trials.banner import Banner
from tests.analysis.fake_predictions import Fakes


@pytest.fixture
def fakes(tmp_path: Path) -> Fakes:
    return Fakes(tmp_path)


def add_seeds(fakes: Fakes, accuracies: tuple[float, ...], backbone: str = "VGG16", **fields: object) -> None:
    for seed, accuracy in enumerate(accuracies):
        fakes.add(backbone, "ON", accuracy, seed=seed, **fields)


def four_settings(fakes: Fakes) -> None:
    """0.8, twice about 0.6, and 0.4; the seeds of one of the middle ones scatter by 0.05."""
    add_seeds(fakes, (0.80, 0.81, 0.79), "MobileNet")
    add_seeds(fakes, (0.60, 0.61, 0.59), "ResNet50")
    add_seeds(fakes, (0.58, 0.63, 0.53), "VGG16")
    for seed in range(3):
        fakes.add("VGG16", "OFF", 0.4, seed=seed)


def test_pairs_are_corrected_together_and_neighbours_join(fakes: Fakes) -> None:
    four_settings(fakes)
    fakes.add("ResNet50", "OFF", 0.99)  # one seed: however good, it has no place

    ranking = rank(fakes.results, fakes.trials.folders)

    names = [place.name.partition(",")[0] for place in ranking.places]
    assert names == ["MobileNet", "ResNet50", "VGG16", "VGG16"]
    assert len(ranking.pairs) == 6
    found = list(ranking.pairs.values())
    assert [one.adjusted for one in found] == pytest.approx(holm([one.p_value for one in found]))
    assert ranking.groups == ((0,), (1, 2), (3,))
    assert ranking.skipped == ("1 setting has fewer than 3 seeds",)


def test_the_order_of_rows_is_no_matter(fakes: Fakes) -> None:
    four_settings(fakes)
    folders = fakes.trials.folders
    one, other = rank(fakes.results, folders), rank(fakes.results[::-1], folders)
    assert [place.name for place in one.places] == [place.name for place in other.places]
    assert one.pairs == other.pairs


@pytest.mark.parametrize(
    ("apart", "runs"),
    [
        ([], ((0, 1, 2, 3),)),
        ([(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)], ((0,), (1,), (2,), (3,))),
        ([(0, 2), (0, 3), (1, 3)], ((0, 1), (1, 2), (2, 3))),
        ([(1, 2)], ((0, 1), (2, 3))),  # 0 and 3 scatter widely, and are told from nobody
    ],
)
def test_runs_hold_no_two_that_are_told_apart(apart: list[tuple[int, int]], runs: tuple[tuple[int, ...], ...]) -> None:
    assert indistinct(4, apart) == runs


def test_letters_say_who_is_not_told_apart(fakes: Fakes) -> None:
    four_settings(fakes)
    (found,) = sections(fakes.results, fakes.trials.folders)
    assert found.heading == "All pairs: networks and starts"
    assert [row[-1] for row in found.listing.rows] == ["a", "b", "b", "c"]
    assert found.listing.rows[0][:3] == ("MobileNet, ImageNet, frozen", "3", "0.800")
    assert found.sentences[0] == "5 of 6 pairs are told apart."


def test_one_seed_a_setting_ranks_nothing(fakes: Fakes) -> None:
    fakes.add_table({"MobileNet": (0.8, 0.7), "VGG16": (0.5, 0.1)})
    assert sections(fakes.results, fakes.trials.folders) == []
    plans = list(plan_rankings("{theme}", "{subject}", Material(fakes.results)))
    assert [plan.draw for plan in plans] == [None, None]
    assert plans[0].why_not == "no two networks and starts have 3 seeds or more, all else being equal"


def add_optimizers(fakes: Fakes, number: int) -> None:
    for index in range(number):
        rate = 10 ** -(1 + index / 8)
        add_seeds(fakes, tuple(0.3 + 0.012 * index + 0.02 * (seed - 1) for seed in range(3)), learning_rate=rate)


def test_optimizer_settings_of_one_network_are_ranked_and_the_best_have_room(fakes: Fakes) -> None:
    add_optimizers(fakes, MOST_SETTINGS + 2)
    add_seeds(fakes, (0.9, 0.9, 0.9), "MobileNet")  # another network is another comparison
    theme = next(theme for theme in THEMES if theme.varied == OPTIMIZERS)
    ranking, left_out = ranking_of(theme, fakes.results, fakes.trials.folders)
    assert len(ranking.places) == MOST_SETTINGS
    assert ranking.places[0].name == "Adam 1.3e-5"
    assert ranking.skipped == ("2 settings of lower accuracy are not in it",)
    assert "3 trials of other settings (backbone)" in left_out
    found = sections(fakes.results, fakes.trials.folders)
    assert [one.heading for one in found][1:] == ["All pairs: optimizer settings of VGG16, ImageNet, frozen"]
    assert section(ranking, "").listing.rows[0][-1].startswith("a")


def test_the_diagram_has_a_row_a_setting_and_a_bar_a_group(fakes: Fakes) -> None:
    four_settings(fakes)
    ranking = rank(fakes.results, fakes.trials.folders)
    with style():
        figure = draw_ranking(ranking, Banner.of_search(fakes.results))
    axes, beside = figure.axes
    marks = [line for line in axes.lines if str(line.get_gid()).startswith("place")]
    assert [float(line.get_xdata()[0]) for line in marks] == pytest.approx([0.8, 0.6, 0.58, 0.4])
    assert to_hex(marks[0].get_color()) == COLOURS["MobileNet"].lower()
    assert [str(one.get_gid()) for one in beside.collections] == ["group (1, 2)"]
