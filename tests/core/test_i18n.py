"""Words and formats in both languages."""

from __future__ import annotations

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest

from core import i18n


def test_facts_are_put_in_as_they_are():
    assert i18n.fill("{name} {0.__class__} {x}", {"name": "{x}", "x": 1_000}) == (
        "{x} {0.__class__} 1,000"
    )


def test_an_unknown_name_stays_visible():
    assert i18n.fill("{who}", {}) == "{who}"


@pytest.mark.parametrize("count, words", [(1, "1 row"), (2, "2 rows"), (0, "0 rows")])
def test_english_counts(count, words):
    assert i18n.t("en", "console.total", count=count) == words


def test_an_unknown_language_is_thai():
    assert i18n.t("ja", "errors.not_found") == i18n.t("th", "errors.not_found")


@pytest.mark.parametrize(
    "satang, shown",
    [(0, "0"), (125_000, "1,250"), (125_050, "1,250.50"), (1, "0.01"), (-2_000, "-20")],
)
def test_money(satang, shown):
    assert i18n.money("th", satang) == shown


def test_days_show_the_buddhist_era_in_thai():
    assert i18n.day("th", date(2026, 11, 22)) == "22 พ.ย. 2569"
    assert i18n.day("en", date(2026, 11, 22)) == "22 Nov 2026"


def test_moments_are_on_the_shops_wall_clock():
    midnight = datetime(2026, 11, 22, 17, 0, tzinfo=UTC)
    assert i18n.moment("en", midnight, ZoneInfo("Asia/Bangkok")) == "23 Nov 2026 00:00"
