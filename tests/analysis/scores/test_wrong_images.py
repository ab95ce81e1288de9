"""The images that a network has wrong, and the files of classes: against planted probabilities."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from analysis.scores import class_files, wrong_images
from analysis.scores.class_sections import f1_scores, leading_setting, precisions
from analysis.trials.banner import Banner
from tests.analysis.fakes import CLASS_NAMES, make_result, make_spec
from tests.analysis.more_fakes import write_thumbnails
from tests.analysis.sure_networks import Planted


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_wrong_images_are_listed_with_their_place_and_picture(tmp_path: Path) -> None:
    planted = Planted(tmp_path, 40)
    result = planted.add(make_spec(), 0.4)
    path = tmp_path / "probabilities" / f"{result.trial_id}.parquet"
    table = pq.read_table(path)
    columns = {"id": pa.array([f"=J{row}" for row in range(40)]), "ra": pa.array(np.arange(40.0))}
    for name, column in {**columns, "dec": pa.array([None] * 40, pa.float64())}.items():
        table = table.append_column(name, column)
    pq.write_table(table, path)
    write_thumbnails(tmp_path, {row: row % 10 for row in range(0, 40, 2)})  # of every other image

    found = wrong_images.wrong_of(planted.networks)
    (section,) = wrong_images.sections(found)
    text = wrong_images.csv_of(found, Banner.of_search(planted.results))

    probabilities = np.stack([table.column(f"p{i}").to_numpy() for i in range(10)], axis=1)
    wrong = {row for row in range(40) if probabilities[row].argmax() != row % 10}
    listed = rows_of(text)
    assert text.startswith(wrong_images.MARK)
    assert {int(row["row"]) for row in listed} == wrong
    assert [float(row["probability_of_named"]) for row in listed] == sorted(
        (float(row["probability_of_named"]) for row in listed), reverse=True
    )
    first = listed[0]
    assert first["id"] == f"'=J{first['row']}"  # no spreadsheet makes a formula of it
    assert (float(first["ra"]), first["dec"]) == (float(first["row"]), "")
    assert first["true_class"] == CLASS_NAMES[int(first["row"]) % 10]
    assert first["named_class"] == CLASS_NAMES[int(probabilities[int(first["row"])].argmax())]

    assert section.listing is not None
    shown = [int(row[0]) for row in section.listing.rows]
    assert set(shown) == {row for row in wrong if row % 2 == 0}
    assert all(picture.startswith(b"\x89PNG") for picture in section.listing.pictures)
    assert f"{len(wrong)} of 40 test images are wrong in MobileNet, ImageNet ON" in section.sentences[0]


def test_without_pictures_and_places_the_list_says_so_and_one_that_is_all_right_has_none(tmp_path: Path) -> None:
    planted = Planted(tmp_path, 40)
    planted.add(make_spec(), 0.3)
    (section,) = wrong_images.sections(wrong_images.wrong_of(planted.networks))

    assert "there are no pictures" in section.sentences[0]
    assert section.listing is not None
    assert section.listing.headings == ("Row", "True class", "Named", "Its probability", "The true one's")
    assert len(section.listing.rows) == min(wrong_images.NUM_SHOWN, len(section.listing.rows))
    right = Planted(tmp_path / "right", 40)
    (tmp_path / "right").mkdir()
    right.add(make_spec(), 2.5)
    assert wrong_images.sections(wrong_images.wrong_of(right.networks)) == []
    assert wrong_images.sections([]) == []


def test_the_network_that_is_looked_at_is_not_chosen_by_the_test_part(tmp_path: Path) -> None:
    planted = Planted(tmp_path, 100)
    watched = planted.add(make_spec("VGG16"), 0.9)
    planted.add(make_spec("MobileNet"), 0.5)
    leading = leading_setting(planted.networks)
    assert leading is not None
    assert leading.results[0] == watched

    planted.add(make_spec("ResNet50", validation_fraction=0.2), 0.99, with_validation=False)  # then it is the first
    leading = leading_setting(planted.networks)
    assert leading is not None
    assert leading.name.startswith("MobileNet")


def test_matrices_and_scores_of_classes_are_files(tmp_path: Path) -> None:
    confusion = ((8, 2, 0), (1, 0, 0), (0, 0, 0))
    names = ("a", "=b", "c")
    results = [make_result(make_spec(seed=seed), confusion=confusion, class_names=names) for seed in (0, 3)]
    planted = Planted(tmp_path, results=results)
    banner = Banner.of_search(results)

    found = class_files.files(planted.networks, banner)

    stems = [f"confusion/mobilenet-imagenet-on-seed-{seed}.csv" for seed in (0, 3)]
    assert list(found) == [*stems, "class_scores.csv"]
    matrix = rows_of(found[stems[0]])
    assert found[stems[0]].startswith(class_files.MARK)
    assert [[row[name] for name in ("a", "'=b", "c")] for row in matrix] == [
        ["8", "2", "0"],
        ["1", "0", "0"],
        ["0"] * 3,
    ]
    assert {(row["trial"], row["run_on"]) for row in matrix} == {(results[0].trial_id, banner.run_on)}
    scores = rows_of(found["class_scores.csv"])
    assert found["class_scores.csv"].startswith(class_files.SCORES_MARK)
    assert [row["images"] for row in scores] == ["10", "1", "0"] * 2
    assert [row["recall"] for row in scores[:3]] == ["0.8", "0.0", ""]
    assert [row["f1"] for row in scores[:3]] == [str(2 * 8 / 19), "0.0", ""]
    assert class_files.files(Planted(tmp_path, results=[make_result(confusion=())]).networks, banner) == {}


def test_precision_and_f1_are_scikit_learns() -> None:
    from sklearn.metrics import f1_score, precision_score

    rng = np.random.default_rng(0)
    true, named = rng.integers(0, 4, 200), rng.integers(0, 3, 200)  # the fourth is never named
    counts = np.zeros((4, 4), int)
    np.add.at(counts, (true, named), 1)
    expected = precision_score(true, named, average=None, zero_division=math.nan)
    found = [math.nan if share is None else share.value for share in precisions(counts.tolist())]
    np.testing.assert_allclose(found, expected)
    np.testing.assert_allclose(np.array(f1_scores(counts.tolist()), float), f1_score(true, named, average=None))
