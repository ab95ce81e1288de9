"""What a report says of classes, calibration, ensembles and hard images, of planted networks whose ends are known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis.report.sections import Section
from analysis.report.trial_table import TrialTable
from analysis.scores import class_sections, ensembles, hard_images, reliability
from analysis.statistics.calibration import bins_of
from analysis.statistics.intervals import Share
from analysis.trials.load import Trials
from analysis.trials.repeats import read_networks
from galaxytl.results.temperature import nll
from galaxytl.trial import TrialResult
from tests.analysis.collapsing import one_class
from tests.analysis.fakes import CLASS_NAMES, make_result, make_spec, write_parquet
from tests.analysis.more_fakes import write_thumbnails
from tests.analysis.sure_networks import Planted, labels_of


def column(section: Section, heading: str) -> list[str]:
    assert section.listing is not None
    return [row[section.listing.headings.index(heading)] for row in section.listing.rows]


def scores_of(results: list[TrialResult]) -> tuple[Section, Section]:
    scores, _, recalls = class_sections.sections(read_networks(Trials(tuple(results))))
    return scores, recalls


def test_a_collapsed_network_has_one_class_in_ten_and_no_correlation() -> None:
    """Its accuracy, 0.148, is the share of the class that it names."""
    scores, recalls = scores_of([make_result(confusion=one_class(), accuracy=788 / 5321)])

    assert column(scores, "Balanced accuracy") == ["0.100 [0.098 to 0.102]"]
    assert column(scores, "MCC") == ["0.000 [-0.005 to 0.022]"]
    assert column(recalls, "Class") == list(CLASS_NAMES)
    found = column(recalls, "MobileNet, ImageNet ON")
    assert found[7] == f"1.000 [{Share(788, 788).interval}]"
    assert found[4] == f"0.000 [{Share(0, 100).interval}]"


def test_recalls_of_several_seeds_have_an_interval_over_seeds_that_knows_of_the_images() -> None:
    def of(right: int, seed: int) -> TrialResult:
        return make_result(make_spec(seed=seed), confusion=((right, 100 - right), (0, 50)), class_names=("a", "b"))

    _, recalls = scores_of([of(right, seed) for seed, right in enumerate((60, 70, 80))])
    _, equal = scores_of([of(70, seed) for seed in range(3)])

    low, high = (float(end) for end in column(recalls, "MobileNet, ImageNet ON")[0].split("[")[1][:-1].split(" to "))
    assert low < 0.7 - 4.30 * 0.1 / 3**0.5
    assert high > 0.7 + 4.30 * 0.1 / 3**0.5
    low, high = (float(end) for end in column(equal, "MobileNet, ImageNet ON")[0].split("[")[1][:-1].split(" to "))
    assert high - low == pytest.approx(2 * 1.96 * (0.7 * 0.3 / 100) ** 0.5, rel=0.05)


def test_a_class_without_images_is_said_to_have_none() -> None:
    _, recalls = scores_of([make_result(confusion=((5, 1), (0, 0)), class_names=("a", "b"))])

    assert column(recalls, "MobileNet, ImageNet ON")[1] == "no images"
    assert "Without images in a test part, and so without a recall there: b." in recalls.sentences


def test_rows_without_a_confusion_matrix_have_no_section_and_an_empty_cell() -> None:
    results = [make_result(confusion=()), make_result(make_spec(seed=1), confusion=((0, 0), (0, 0)), class_names=())]

    assert class_sections.sections(read_networks(Trials(tuple(results)))) == []
    table = TrialTable.of(results, {})
    places = [index for index, own in enumerate(table.columns) if own.heading in ("balanced accuracy", "MCC")]
    assert [row.entries[index].text for row in table.rows for index in places] == [""] * 4
    whole = TrialTable.of([make_result(confusion=((3, 1), (1, 3)), class_names=("a", "b"))], {})
    assert [whole.rows[0].entries[index].text for index in places] == ["0.750", "0.500"]


def test_the_temperature_is_of_the_validation_part_and_mends_the_test_part(tmp_path: Path) -> None:
    planted = Planted(tmp_path, 2000)
    planted.add(make_spec(), 0.5, sharpness=3.0)
    (section,) = reliability.sections(planted.networks)

    assert float(column(section, "Temperature")[0]) == pytest.approx(3.0, rel=0.25)
    assert float(column(section, "ECE")[0]) > 3 * float(column(section, "ECE after")[0])
    assert float(column(section, "NLL")[0]) > float(column(section, "NLL after")[0])
    assert float(column(section, "Sureness")[0]) > 0.05


def test_a_temperature_at_the_end_is_explained(tmp_path: Path) -> None:
    planted = Planted(tmp_path)
    for seed in range(2):
        planted.add(make_spec(seed=seed), 1.0 + seed, 0.01)  # the second has all right, and is not sure of it
    (section,) = reliability.sections(planted.networks)

    assert column(section, "Temperature")[0].endswith("(at the end)")
    assert any("is 0.05 or 20, beyond which none is tried" in text for text in section.sentences)


def test_the_temperature_does_not_hang_on_the_test_part(tmp_path: Path) -> None:
    """The same validation part beside another test part gives the same one."""
    planted = Planted(tmp_path)
    result = planted.add(make_spec(), 0.5, sharpness=3.0)
    networks = planted.networks
    test, validation = networks.probabilities[result.trial_id], networks.validation[result.trial_id]
    other = Planted(tmp_path, 200).add(make_spec(seed=5), 0.9)
    swapped = read_networks(Trials((other,), folders={other.trial_id: tmp_path})).probabilities[other.trial_id]

    found = [reliability.calibration_of(one, validation).temperature for one in (test, swapped)]
    assert found[0] == found[1]


def test_without_validation_probabilities_there_is_no_temperature_and_that_is_said(tmp_path: Path) -> None:
    planted = Planted(tmp_path)
    result = planted.add(make_spec(), 0.5, sharpness=3.0, with_validation=False)
    networks = planted.networks
    (section,) = reliability.sections(networks)
    own = networks.probabilities[result.trial_id]

    assert section.listing is not None
    assert "Temperature" not in section.listing.headings
    assert any(text.startswith("No temperature is fitted") for text in section.sentences)
    assert column(section, "ECE") == [f"{bins_of(own.values, own.labels).error:.3f}"]
    assert column(section, "NLL") == [f"{nll(own.values, own.labels):.3f}"]


def test_the_error_by_chance_stands_beside_the_error(tmp_path: Path) -> None:
    planted = Planted(tmp_path, 40)
    planted.add(make_spec(), 0.5, with_validation=False)
    (section,) = reliability.sections(planted.networks)
    expected, at_most = (float(text.strip("[]")) for text in column(section, "ECE by chance")[0].split())
    assert at_most > expected > 0.05


def test_an_ensemble_of_seeds_averages_probabilities_and_is_chosen_by_the_validation_part(tmp_path: Path) -> None:
    """The chosen one must not be the best on the test part, where that is another."""
    planted = Planted(tmp_path)
    good = [planted.add(make_spec("MobileNet", seed=seed), 0.5) for seed in range(3)]
    other = [planted.add(make_spec("ResNet50", seed=seed), 0.3) for seed in range(3)]
    for result in other:  # as if lucky on the test part: sure of every label
        sure = np.full((400, 10), 0.01, np.float32)
        sure[np.arange(400), labels_of(400)] = 0.91
        write_parquet(tmp_path, result, labels_of(400), sure, 0)
    lucky = [make_result(r.spec, accuracy=1.0, **_kept(r)) for r in other]
    planted.results = [*good, *lucky]
    networks = planted.networks
    found = ensembles.ensembles(networks)
    by_name = {own.name.split(",")[0]: own for own in found}

    assert [len(own.members) for own in found] == [3, 3, 6]
    expected = np.mean([networks.probabilities[r.trial_id].values for r in good], axis=0)
    assert np.allclose(by_name["MobileNet"].test.values, expected)
    assert by_name["MobileNet"].share.value > max(r.metrics["accuracy"] for r in good)
    assert by_name["ResNet50"].share.value == 1
    chosen = ensembles.chosen_of(found)
    assert chosen is not by_name["ResNet50"]
    single = ensembles.best_single(networks)
    assert single is not None
    assert single.spec.backbone == "MobileNet"
    (section,) = ensembles.sections(networks)
    assert any("the validation part chooses this one" in text for text in section.sentences)


def _kept(result: TrialResult) -> dict[str, Any]:
    names = ("history", "curves_on", "num_images", "confusion")
    return {name: getattr(result, name) for name in names}


def test_without_validation_scores_only_fixed_ensembles_are_shown_and_nothing_is_chosen(tmp_path: Path) -> None:
    planted = Planted(tmp_path)
    for backbone in ("MobileNet", "ResNet50"):
        for seed in range(2):
            planted.add(make_spec(backbone, seed=seed), 0.5, with_validation=False)
    networks = planted.networks
    (section,) = ensembles.sections(networks)

    assert ensembles.best_single(networks) is None
    assert ensembles.chosen_of(ensembles.ensembles(networks)) is None
    assert column(section, "Validation") == ["-"] * 3
    assert column(section, "Minus the best single") == ["-"] * 3
    assert any(text.startswith("No ensemble is chosen") for text in section.sentences)
    assert any(text.startswith("No best single network is named") for text in section.sentences)


def test_one_trial_without_validation_keeps_the_test_part_from_choosing(tmp_path: Path) -> None:
    """A mixed folder has no best single: the one that watched nothing could be it."""
    planted = Planted(tmp_path)
    planted.add(make_spec(seed=0), 0.5)
    planted.results.append(make_result(planted.results[0].spec.replace(seed=1), accuracy=0.99))
    assert ensembles.best_single(planted.networks) is None


def test_a_best_network_without_probabilities_is_still_the_best(tmp_path: Path) -> None:
    """It was chosen; that it cannot be compared with is another matter."""
    planted = Planted(tmp_path)
    for backbone, accuracy in (("MobileNet", 0.7), ("ResNet50", 0.4)):
        for seed in range(2):
            planted.add(make_spec(backbone, seed=seed), accuracy)
    best = ensembles.best_single(planted.networks)
    assert best is not None
    (tmp_path / "probabilities" / f"{best.trial_id}.parquet").unlink()
    (section,) = ensembles.sections(planted.networks)

    assert any(f"trial {best.trial_id}" in text and "were not read" in text for text in section.sentences)
    assert column(section, "Minus the best single") == ["-"]


def test_networks_of_other_test_images_make_no_ensemble(tmp_path: Path) -> None:
    first, second = Planted(tmp_path), Planted(tmp_path, 300)
    one, other = first.add(make_spec(seed=0), 0.5), second.add(make_spec(seed=1), 0.5)
    networks = read_networks(Trials((one, other), folders=dict.fromkeys((one.trial_id, other.trial_id), tmp_path)))

    assert len(networks.probabilities) == 2
    assert ensembles.ensembles(networks) == []
    assert ensembles.sections(networks) == []


def hard_world(folder: Path, thumbnails: bool = True) -> Planted:
    """Two networks of 100 images: both miss rows 0 to 4; each misses ten more of its own."""
    planted, labels = Planted(folder, 100), labels_of(100)
    for index, backbone in enumerate(("MobileNet", "ResNet50")):
        wrong = [*range(5), *range(10 + 10 * index, 20 + 10 * index)]
        probabilities = np.full((100, 10), 0.02, np.float32)
        named = labels.copy()
        named[wrong] = (labels[wrong] + 1 + index) % 10
        probabilities[np.arange(100), named] = 0.82
        confusion = np.zeros((10, 10), np.int64)
        np.add.at(confusion, (labels, named), 1)
        result = make_result(
            make_spec(backbone), accuracy=0.85, confusion=tuple(map(tuple, confusion.tolist())),
            num_images={"train": 200, "validation": 0, "test": 100},
        )  # fmt: skip
        write_parquet(folder, result, labels, probabilities, 0)
        planted.results.append(result)
    if thumbnails:
        write_thumbnails(folder, {row: int(labels[row]) for row in range(3)})
    return planted


def test_images_that_all_get_wrong_are_counted_beside_what_chance_gives(tmp_path: Path) -> None:
    hard = hard_images.hard_of(hard_world(tmp_path).networks)

    assert hard is not None
    assert [image.row for image in hard.images] == [0, 1, 2, 3, 4]
    # A class has 10 images; of the first five each network misses 2, of the others 1.
    assert hard.expected.sum() == pytest.approx(5 * 10 * 0.2 * 0.2 + 5 * 10 * 0.1 * 0.1)
    assert sorted(hard.pictures) == [0, 1, 2]
    (section,) = hard_images.sections(hard)
    assert column(section, "All wrong")[:6] == ["1"] * 5 + ["0"]
    assert section.sentences[0].startswith("5 of 100 test images are wrong in all 2 networks.")
    assert "2.5 would be expected" in section.sentences[0]
    assert "label of such an image may be wrong" in section.sentences[0]


def test_hard_images_are_named_as_their_catalogue_names_them(tmp_path: Path) -> None:
    planted = hard_world(tmp_path)
    hard = hard_images.hard_of(planted.networks)
    assert hard is not None
    assert not any("to look up" in text for text in hard_images.sections(hard)[0].sentences)
    path = tmp_path / "probabilities" / f"{planted.results[1].trial_id}.parquet"
    named = pq.read_table(path).append_column("id", pa.array([f"J{row}" for row in range(100)]))
    pq.write_table(named, path)
    hard_images.hard_of.cache_clear()
    (section,) = hard_images.sections(hard_images.hard_of(planted.networks))
    assert section.sentences[1] == "The hardest, to look up: J0; J1; J2; J3; J4."


def test_a_collapsed_network_has_no_say_and_one_network_makes_no_hard_images(tmp_path: Path) -> None:
    planted = hard_world(tmp_path)
    collapsed = make_result(make_spec("VGG16"), accuracy=0.1, confusion=((0,) * 9 + (10,),) * 10)
    write_parquet(tmp_path, collapsed, labels_of(100), np.eye(10, dtype=np.float32)[[9] * 100], 0)
    planted.results.append(collapsed)
    hard = hard_images.hard_of(planted.networks)
    assert hard is not None
    assert len(hard.trials) == 2
    planted.results = [planted.results[0], collapsed]
    assert hard_images.hard_of(planted.networks) is None
    assert hard_images.sections(None) == []


def test_hard_images_without_pictures_are_still_counted(tmp_path: Path) -> None:
    hard = hard_images.hard_of(hard_world(tmp_path, thumbnails=False).networks)
    assert hard is not None
    assert hard.why_no_pictures.endswith("holds no thumbnails.parquet")
    assert len(hard_images.sections(hard)) == 1


def test_the_class_that_most_networks_name_is_said_and_of_equally_many_the_likelier(tmp_path: Path) -> None:
    hard = hard_images.hard_of(hard_world(tmp_path).networks)
    assert hard is not None
    assert [(image.true, image.said, image.count) for image in hard.images[:2]] == [(0, 1, 1), (1, 2, 1)]


def test_no_result_hangs_on_the_order_of_rows(tmp_path: Path) -> None:
    planted = Planted(tmp_path)
    for backbone in ("MobileNet", "ResNet50"):
        for seed in range(2):
            planted.add(make_spec(backbone, seed=seed), 0.5, sharpness=2.0)

    def said() -> list[Section]:
        networks = planted.networks
        parts = (class_sections.sections, reliability.sections, ensembles.sections)
        return [
            *(section for part in parts for section in part(networks)),
            *hard_images.sections(hard_images.hard_of(networks)),
        ]

    first = said()
    planted.results.reverse()
    assert said() == first
