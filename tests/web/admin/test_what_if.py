"""Trying other rules in the console: asked, worked out, read in both languages, kept apart."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from core.i18n import t, texts
from engagement import definitions, what_if_rules
from loyalty import purchases
from models.results import WhatIf
from models.tiers import Tier
from tests.moments import BANGKOK, NOW
from worker import what_if as worker


@pytest.fixture
def bought(runtime, shop, somchai):
    """Somchai has bought for 900 baht; there is one tier, and the shipped journeys."""
    with runtime.database.write() as session:
        definitions.ensure(session, NOW)
        session.add(
            Tier(key="gold", name_th="ทอง", name_en="Gold", threshold=500_000, created_at=NOW)
        )
        session.flush()
        purchases.record_purchase(
            session, member_id=somchai.id, branch=shop.branch, amount_satang=90_000,
            operation_id="device:1:1", now=NOW - timedelta(days=2), tz=BANGKOK,
        )  # fmt: skip
    return somchai


@pytest.fixture
def form(runtime, bought) -> dict[str, Any]:
    """The form as it comes, filled with today's rules."""
    with runtime.database.read() as session:
        today = what_if_rules.today(session, NOW, BANGKOK)
    return {
        "days": 90, "rate": "25", "has_carry": "1", "expiry_kind": today.expiry_kind,
        "expiry_months": today.expiry_months, "percent": 100, "hours": "", "tier_gold": "5000",
        **{name: f"{value:g}" for name, value in today.levels.items()},
        **{f"on_{key}": "1" for key, rule in today.journeys.items() if rule.is_on},
        **{f"days_{key}": rule.days for key, rule in today.journeys.items() if rule.days},
    }  # fmt: skip


@pytest.mark.parametrize("language", ["th", "en"])
def test_rules_are_tried_and_the_result_is_read(sign_in, runtime, form, language):
    browser = sign_in("marketer", locale=language)
    page = browser.get("/admin/what-if")
    assert page.status_code == 200
    assert 'value="25"' in page.text
    assert 'value="5000"' in page.text
    changes = {
        "rate": "12.50",
        "tier_gold": "500",
        "percent": "200",
        "hours": "0-23",
        "weekdays": 0,
    }
    answer = browser.send("/admin/what-if", **(form | changes))
    where = answer.headers["Location"]
    assert t(language, "what_if.waiting") in browser.get(where).text
    assert worker.step(runtime) == 1
    result = browser.get(where).text
    pages = page.text + result + browser.get(f"/admin/what-if?like={where.rsplit('/', 1)[1]}").text
    assert set(re.findall(r">\s*([a-z_]+\.[a-z_]+)\s*<", pages)) & set(texts(language)) == set()
    assert "style=" not in pages
    assert 'data-live="' not in result
    assert "5,000 → 500" in result
    assert "25 → 12.50" in result
    moves = result.split('data-testid="tier-moves"')[1].split("</table>")[0]
    assert "ทอง" in moves or "Gold" in moves
    figures = result.split('data-testid="figures"')[1].split("</table>")[0]
    assert ">36<" in figures.replace("<b>", "").replace("</b>", "")


ODD = (
    {"days": "0"}, {"days": "366"}, {"rate": "0"}, {"rate": "x"}, {"percent": "99"},
    {"hours": "25-26"}, {"weekdays": "9"}, {"tier_gold": ""}, {"at_risk_days": "90"},
    {"regular_days": "1"}, {"expiry_kind": "soon"}, {"days_lifecycle.thank_you": "0"},
    {"days_lifecycle.thank_you": "9999"}, {"expiry_months": "121"},
)  # fmt: skip


def test_odd_rules_are_refused_and_the_form_stays(owner, runtime, form):
    for change in ODD:
        answer = owner.send("/admin/what-if", **(form | change))
        assert answer.status_code in (400, 422), change
        assert 'role="alert"' in answer.text, change
        with runtime.database.read() as session:
            assert session.scalar(select(WhatIf.id)) is None, change


def test_who_may_look_and_who_may_try(sign_in, form):
    auditor = sign_in("auditor")
    page = auditor.get("/admin/what-if")
    assert page.status_code == 200
    assert 'data-testid="try"' not in page.text
    assert auditor.send("/admin/what-if", **form).status_code == 403
    assert auditor.get("/admin/what-if/999").status_code == 404
