from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweep.progress.layout import MOST_NAME_LINES, Columns, Row, columns_for, fitting_name, num_lines, table_lines

SHORT = "VGG16, ImageNet, frozen, seed 1"
LONG = "EfficientNetV2B0, random *, 12 blocks, optimizer rmsprop, learning_rate 0.000314, preprocessing divide_by_255"


def shown(rows: list[Row], width: int) -> list[str]:
    return [line.plain for line in table_lines(rows, width)]


def test_a_row_stands_below_its_headings() -> None:
    heading, rule, row = shown([Row(SHORT, "epoch 3/20", "cyan", "0:12", "1.234", "0.5")], 80)
    assert heading.split() == ["trial", "state", "time", "loss", "accuracy"]
    assert row.startswith(SHORT)
    assert row.index("epoch") == heading.index("state")
    assert row.endswith("0.5")
    assert len(row) == len(heading) == len(rule)


@pytest.mark.parametrize("width", [80, 140])
def test_a_name_that_would_take_six_lines_has_lines_of_its_own(width: int) -> None:
    rows = [Row(SHORT, "waiting", "dim"), Row(LONG, "epoch 10/20", "cyan", "1:00", "1.0", "0.612")]
    lines = shown(rows, width)
    assert max(map(len, lines)) <= width
    words = " ".join(lines).split()
    assert [word for word in LONG.split() if word not in words] == []  # no letter of it is left out
    assert all(word in " ".join(lines[:3]) for word in ("trial", "state", "time", "loss", "accuracy"))


def test_of_a_name_that_two_lines_cannot_hold_the_last_settings_are_counted() -> None:
    name = ", ".join(f"a_long_field_{number} value" for number in range(12))
    assert fitting_name(name, "0f3a", 140) == name
    assert re.fullmatch(r"a_long_field_0 value, .*, and \d+ more settings \(0f3a\)", fitting_name(name, "0f3a", 80))
    assert fitting_name(SHORT, "0f3a", 80) == SHORT


names = st.lists(st.text("abc_0", min_size=1, max_size=25), min_size=1, max_size=14).map(", ".join)
states = st.sampled_from(["waiting", "COMPLETE", "epoch 100/100", "waiting until a GPU has its memory back"])


@given(st.lists(st.tuples(names, states), min_size=1, max_size=5), st.integers(60, 200))
def test_no_line_is_wider_than_the_terminal_and_no_name_has_more_than_two(
    trials: list[tuple[str, str]], width: int
) -> None:
    rows = [Row(fitting_name(name, "1234567890abcdef", width), state, "") for name, state in trials]
    columns = columns_for(rows, width)
    assert all(len(line) <= width for line in shown(rows, width))
    for row in rows:
        beside = 0 if columns.name else num_lines(Row("", row.state, ""), columns, width) - 1
        below = num_lines(Row("", "", ""), columns, width) - 1
        assert num_lines(Row(row.name, "", ""), columns, width) - below <= MOST_NAME_LINES
        assert num_lines(row, columns, width) >= beside
    assert columns == Columns(columns.name, 16 if width < 100 else 32)
