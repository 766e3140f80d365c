"""Charts say so while there is nothing to draw, and count few things in whole ones."""

from __future__ import annotations

import re
from datetime import date

import pytest

from web.admin import charts

DAY = date(2026, 11, 22)


@pytest.fixture
def asked(app):
    with app.test_request_context("/admin"):
        yield


def axis(svg: str) -> set[str]:
    """The figures beside the lines of a chart."""
    beside = svg.partition('class="axis y')[2].partition('class="axis x')[0]
    return set(re.findall(r">([\d.]+)</text>", beside))


def test_nothing_yet_is_said_in_words(asked):
    empty = [
        charts.bars("x", [(DAY, 0), (DAY, 0)]),
        charts.named_bars("x", [("a", 0)]),
        charts.stacked(["a"], [("b", [0]), ("c", [0])]),
        charts.moves([DAY], [("a", [0])]),
        charts.bars("x", []),
    ]
    for one in empty:
        assert "ยังไม่มีข้อมูล" in one
        assert "<svg" not in one


@pytest.mark.parametrize("top", [1, 2, 5])
def test_few_are_counted_in_whole_ones(asked, top):
    drawn = charts.bars("x", [(DAY, 0), (DAY, top)])
    assert axis(drawn) == {str(number) for number in range(top + 1)}


def test_many_have_an_axis_of_their_own(asked):
    drawn = charts.bars("x", [(DAY, 1_000)])
    assert "<svg" in drawn
    assert len(axis(drawn)) < 10


def test_a_shop_without_a_bill_sees_no_empty_axes(owner, shop, somchai):
    page = owner.get("/admin").text
    assert page.count("chart-empty") == 2
