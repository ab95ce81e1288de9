"""Columns of a table become classes, votes and what is known of the images, or are refused."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from galaxytl.data import DataError
from galaxytl.data.files.columns import (
    class_names_of,
    classes_of,
    column_for,
    known_columns,
    known_names,
    labels_of,
    votes_of,
)
from galaxytl.data.galaxy10 import CLASS_NAMES

AB = ("a", "b")


@pytest.mark.parametrize(
    ("values", "names", "labels", "known"),
    [
        ([2, 0, 1], (), [2, 0, 1], ()),
        ([2, 0, 1], ("x", "y", "z"), [2, 0, 1], ("x", "y", "z")),
        ([1, 2, 1], (), [0, 1, 0], ("1", "2")),  # counted from 1
        ([1, 2, 1], AB, [0, 1, 0], AB),
        ([0, 1, 0], ("x", "y", "z"), [0, 1, 0], ("x", "y", "z")),  # a class without images
        ([10, 2, 7], (), [2, 0, 1], ("2", "7", "10")),  # with gaps
        ([0.0, 1.0, 0.0], (), [0, 1, 0], ()),
        ([Decimal("1.00"), Decimal("0.00")], (), [1, 0], ()),
        ([True, False], (), [1, 0], ("false", "true")),
        (["0", "1", "1.0"], (), [0, 1, 1], ()),  # a CSV has texts alone
        (["spiral ", "elliptical", "spiral"], (), [1, 0, 1], ("elliptical", "spiral")),
        (["b", "a"], ("b", "a"), [0, 1], ("b", "a")),
        (["007", "008"], (), [0, 1], ("007", "008")),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_labels(values: Any, names: tuple[str, ...], labels: list[int], known: tuple[str, ...], packed: bool) -> None:
    values, half = pa.array(values), len(values) // 2
    column = pa.chunked_array([values[:half], values[half:]])
    found = labels_of(column.dictionary_encode() if packed else column, names, "g.csv")
    assert (found.labels.tolist(), found.known) == (labels, known)


def test_values_of_a_dictionary_without_rows_are_no_classes() -> None:
    column = pa.chunked_array([pa.DictionaryArray.from_arrays([0, 2, 0], ["a", "unused", "b"])])
    assert labels_of(column, (), "").names == AB


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["a", None, "b", " ", "nan"], "3 of 5 rows have none, the first is row 1 "),
        ([0.5, 1.0], r"whole numbers or texts; got 0\.5\. Where these are shares of votes"),
        ([0, -1, 1], r"from 0; got -1 in row 1 .*stands for no label"),
        ([1, 1], "at least two classes"),
        (["Spiral", "spiral"], "differ by more than capitals"),
        (list(range(2000)), "at most 1,000 classes; it has 2,000 different values"),
        ([[1], [2]], "must hold numbers or texts; got type list"),
        ([], "it has none"),
    ],
)
def test_bad_labels(values: list[Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        labels_of(pa.chunked_array([pa.array(values)]), (), "g.csv, column label")


def test_galaxy10s_layout_keeps_its_numbers() -> None:
    column = pa.chunked_array([[0, 9, 3]])
    assert labels_of(column, (), "", assumed=True).names == CLASS_NAMES
    assert labels_of(column, (), "").names == ("0", "3", "9")


def test_votes_become_shares_in_each_row() -> None:
    table = pa.table({"t_smooth_frac": [3, 0, 1], "t_disk_frac": [1.0, 2.0, 1.0], "t_star_frac": ["0", "0", "0"]})
    found = classes_of(table, table.column_names, (), "g.csv")
    assert found.votes is not None
    assert found.votes.tolist() == [[0.75, 0.25, 0], [0, 1, 0], [0.5, 0.5, 0]]
    assert (found.labels.tolist(), found.names) == ([0, 1, 0], ("smooth", "disk", "star"))
    numbered = votes_of(
        pa.table({"class_0": [1, 0], "class_1": [0, 1], "class_2": [0, 0]}), ["class_0", "class_1", "class_2"], ""
    )
    assert numbered.names == ("class_0", "class_1", "class_2")  # none leads in the last


def test_votes_for_galaxy10s_classes_have_its_numbers() -> None:
    table = {"Merging": [1, 1], "Disturbed": [0, 3], **{name: [0, 0] for name in CLASS_NAMES[2:]}}
    found = votes_of(pa.table(table), list(table), "")
    assert (found.labels.tolist(), found.known) == ([1, 0], CLASS_NAMES)
    assert found.votes is not None
    assert found.votes[:, :3].tolist() == [[0, 1, 0], [0.75, 0.25, 0]]
    some = votes_of(pa.table(table), ["Merging", "Disturbed"], "")  # are no Galaxy10
    assert some.names == ("Merging", "Disturbed")


@pytest.mark.parametrize("bad", [[-0.5, 1], [None, 1], [0, 0], [float("inf"), 1]])
def test_bad_votes(bad: list[Any]) -> None:
    table = pa.table({"a": [1.0, bad[0], bad[0]], "b": [2.0, bad[1], bad[1]]})
    with pytest.raises(DataError, match="2 of 3 rows have others, the first is row 1 "):
        votes_of(table, AB, "g.csv")


def test_votes_must_be_numbers() -> None:
    with pytest.raises(DataError, match=r"column b must hold numbers: .*many"):
        votes_of(pa.table({"a": [1, 0], "b": ["many", "1"]}), AB, "g.csv")


@pytest.mark.parametrize(
    ("columns", "names"),
    [
        (["bar_yes", "bar_no"], ("yes", "no")),
        (["smooth_f", "spiral_f"], ("smooth", "spiral")),
        (["x", "x_y"], ("x", "x_y")),
        (["p_0", "p_1"], ("p_0", "p_1")),
        (["a", "b"], AB),
    ],
)
def test_names_of_votes(columns: list[str], names: tuple[str, ...]) -> None:
    assert class_names_of(columns) == names


def test_what_is_known_of_images() -> None:
    table = pa.table(
        {
            "id_str": [1237648720693755918, 2],
            "RA": ["10.5", ""],
            "DEC": [1, None],
            "Split": ["Train", "val"],
            "field": ["A", None],
            "night": [3, 4],
            "objid2": [1237648720693755918, 2],
        }
    )
    known = known_names(table.column_names, ("field", "night", "objid2"), "g.csv")
    found = known_columns(table, known, "g.csv")
    assert found["id"].tolist() == found["objid2"].tolist() == ["1237648720693755918", "2"]
    np.testing.assert_equal([found["ra"], found["dec"]], [[10.5, np.nan], [1, np.nan]])
    assert np.isnan(found["redshift"]).all()
    assert found["split"].tolist() == ["train", "validation"]
    assert (found["field"].tolist(), found["night"].tolist()) == (["A", ""], [3.0, 4.0])
    folds = pa.table({"split": [1, 2]})
    assert "split" not in known_columns(folds, known_names(folds.column_names, (), ""), "")


def test_bad_columns() -> None:
    with pytest.raises(DataError, match=r"column ra must hold numbers: .*12:30:00"):
        known_columns(pa.table({"ra": ["12:30:00"]}), {"ra": "ra"}, "g.csv")
    with pytest.raises(DataError, match=r"no column 'nigth'. Did you mean 'night'\? Its columns are ra, night"):
        known_names(["ra", "night"], ("nigth",), "g.csv")


@pytest.mark.parametrize(
    ("asked", "columns", "found"),
    [
        ("", ["id", "Label"], "Label"),
        ("", ["class", "label"], "label"),  # the first that is likely
        ("", ["class_name", "target"], "it may be any of class_name, target. Name it with --label-column"),
        ("", ["a", "b"], "none was recognised. Name it with --label-column; it has a, b"),
        ("kind", ["Kind", "label"], "Kind"),
        ("kind", ["label"], "has no column 'kind'"),
    ],
)
def test_which_column_is_meant(asked: str, columns: list[str], found: str) -> None:
    if found in columns:
        assert column_for("label", "catalogue", asked, columns, dict.fromkeys(columns, ""), "g.csv") == found
    else:
        with pytest.raises(DataError, match=found):
            column_for("label", "catalogue", asked, columns, dict.fromkeys(columns, ""), "g.csv")
