"""The rule simulator: the past under other rules, by hand-made histories; nothing real changes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from itertools import count
from typing import Any

import pytest
from sqlalchemy import Engine, MetaData, select

from core.errors import Refused
from engagement import definitions, what_if, what_if_rules
from engagement.what_if_rules import JourneyRule, Rules
from loyalty import points, purchases, shop
from models.journeys import Arm, Enrolment, Intent, IntentState, Journey
from models.members import Level
from models.outbox import Message, MessageClass, MessageState
from models.results import WhatIf, WhatIfState
from models.tiers import Tier
from tests import factories
from tests.moments import BANGKOK, NOW
from worker import what_if as worker

DAY = timedelta(days=1)
numbers = count(1)


def buy(session, member, satang: int, days_ago: float, **more: Any):
    return purchases.record_purchase(
        session, member_id=member.id, branch=factories.make_branch(session), amount_satang=satang,
        operation_id=f"device:1:{next(numbers)}", now=NOW - days_ago * DAY, tz=BANGKOK, **more,
    ).purchase  # fmt: skip


def tier(session, key: str, threshold: int, percent: int = 100) -> Tier:
    step = Tier(
        key=key, name_th=key, name_en=key, threshold=threshold, earn_percent=percent, created_at=NOW
    )
    session.add(step)
    session.flush()
    return step


@pytest.fixture
def somchai(session):
    return factories.somchai(session)


@pytest.fixture
def history(session, somchai):
    """Somchai: 90 baht, 90 baht and 900 baht within the last 40 days; a shop with two tiers."""
    tier(session, "silver", 50_000)
    tier(session, "gold", 200_000, percent=200)
    for satang, days_ago in ((9_000, 40), (9_000, 30), (90_000, 3)):
        buy(session, somchai, satang, days_ago)
    session.flush()
    return somchai


def tried(session, days: int = 90, **changes: Any) -> dict[str, Any]:
    """The result of trying today's rules with these changes."""
    was = what_if_rules.today(session, NOW, BANGKOK)
    would = replace(was, **changes)
    what_if_rules.check(session, would, days, NOW, BANGKOK)
    rules = {"days": days, "was": was.as_data(), "would": would.as_data()}
    replay = what_if.Replay(session, rules, NOW, BANGKOK)
    while replay.batch(session):
        pass
    return replay.result()


# The same rules make no difference


@pytest.mark.parametrize("days", [4, 20, 90, 365])
def test_unchanged_rules_make_no_difference(session, history, days):
    points.adjust(
        session, history.id, 40, reason="ขอโทษ", staff_id=None, source_id="1", now=NOW - DAY,
        tz=BANGKOK,
    )  # fmt: skip
    result = tried(session, days)
    assert result["was"] == result["would"]
    assert result["was"]["issued"] > 0
    assert all(before == after for before, after, _ in result["tier_moves"])
    assert all(before == after for before, after, _ in result["level_moves"])


def test_todays_rules_give_what_was_truly_earned(session, history):
    """25 baht a point with carry: 180 baht give 7 and 5 baht over, then 905 baht give 36."""
    result = tried(session)
    balance = points.balance_of(session, history.id, NOW)
    assert result["was"]["issued"] == 7 + 36 == balance.balance
    assert result["was"]["owed"][-1] == 43
    assert result["was"]["owed_satang"][-1] == 43 * 25
    assert (result["members"], result["bills"]) == (1, 3)


# By hand


def test_a_doubled_rate(session, history):
    """12.50 baht a point: 90 / 12.5 = 7 and 2.50 over; 92.50 → 7 and 5 over; 905 → 72."""
    result = tried(session, satang_per_point=1_250)
    assert result["would"]["issued"] == 7 + 7 + 72
    assert result["would"]["owed"][-1] == 86


def test_without_carry(session, history):
    """90 → 3, 90 → 3, 900 → 36."""
    assert tried(session, has_carry=False)["would"]["issued"] == 42


def test_one_more_multiplier_on_its_days_and_hours(session, history):
    """The bill of 3 days ago alone is doubled: 36 more."""
    local = (NOW - 3 * DAY).astimezone(BANGKOK)
    others = {(NOW - days * DAY).astimezone(BANGKOK).weekday() for days in (40, 30)}
    assert local.weekday() not in others
    hours = ((local.hour, local.hour + 1),)
    result = tried(session, percent=200, weekdays=(local.weekday(),), hours=hours)
    assert result["would"]["issued"] == 43 + 36
    elsewhen = ((local.hour + 1, local.hour + 2),)
    result = tried(session, percent=200, weekdays=(local.weekday(),), hours=elsewhen)
    assert result["would"]["issued"] == 43


def test_another_tier_threshold_moves_and_multiplies(session, history):
    """Gold from 100 baht on: reached by the second bill, so the third earns twice its 36."""
    result = tried(session, tiers={"silver": 5_000, "gold": 10_000})
    assert result["tier_moves"] == [["silver", "gold", 1]]
    assert result["would"]["issued"] == 43 + 36
    result = tried(session, tiers={"silver": 500_000, "gold": 900_000})
    assert result["tier_moves"] == [["silver", "none", 1]]


def test_a_shorter_life_of_points_lets_them_expire(session, somchai):
    """Earned 100 days ago, good to the end of the month after the next: gone in the span."""
    buy(session, somchai, 25_000, 100)
    buy(session, somchai, 50_000, 2)
    result = tried(session, 120, expiry_kind="end_of_month", expiry_months=1)
    assert (result["was"]["expired"], result["would"]["expired"]) == (0, 10)
    assert (result["was"]["owed"][-1], result["would"]["owed"][-1]) == (30, 20)


def test_points_from_before_stay_and_what_was_used_is_used_again(session, somchai):
    """10 points from before the span, 20 within; 25 were used. Half the rate: 5 are not there."""
    buy(session, somchai, 25_000, 50)
    buy(session, somchai, 50_000, 20)
    points.burn(
        session, somchai.id, 25, source="redemption", source_id="1", now=NOW - 10 * DAY, facts={}
    )
    same = tried(session, 30)
    assert (same["was"]["issued"], same["was"]["owed"][-1], same["was"]["short"]) == (20, 5, 0)
    half = tried(session, 30, satang_per_point=5_000)["would"]
    assert (half["issued"], half["owed"][-1], half["short"]) == (10, 0, 5)


def test_returns_take_their_share(session, somchai):
    bill = buy(session, somchai, 50_000, 5)
    bill.returned_satang = 25_000
    session.flush()
    assert tried(session)["was"]["issued"] == 10


def test_thresholds_move_people_between_levels(session, history):
    """Three days of silence are at risk once the limit is two; so is what LINE was told then."""
    definitions.ensure(session, NOW)
    result = tried(
        session,
        levels={"at_risk_days": 2, "at_risk_floor": 2, "inactive_days": 30, "inactive_floor": 9},
    )
    assert result["level_moves"] == [[Level.REGULAR.value, Level.AT_RISK.value, 1]]


# Messages


@pytest.fixture
def thanked(session, somchai) -> str:
    """Thanked 30, 20 and 5 days ago: two pushes, one ride."""
    definitions.ensure(session, NOW)
    journey = session.scalars(select(Journey).where(Journey.key == "lifecycle.thank_you")).one()
    for days, channel in ((30, "push"), (20, "reply"), (5, "push")):
        at = NOW - days * DAY
        enrolment = Enrolment(
            member_id=somchai.id, journey_id=journey.id, version=1, occasion=f"purchase:{days}",
            step="thank", started_at=at,
        )  # fmt: skip
        session.add(enrolment)
        session.flush()
        intent = Intent(
            member_id=somchai.id, journey_id=journey.id, version=1, enrolment_id=enrolment.id,
            occasion=f"purchase:{days}", step="thank", klass=MessageClass.PROMOTIONAL, created_at=at,
            window_from=at, deadline=at, not_after=at + DAY, arm=Arm.TREATED,
            state=IntentState.TURNED,
        )  # fmt: skip
        session.add(intent)
        session.flush()
        session.add(
            Message(
                key=f"journey:{intent.id}", member_id=somchai.id, intent_id=intent.id,
                klass=MessageClass.PROMOTIONAL, kind="lifecycle.thank_you", channel=channel,
                state=MessageState.SENT, created_at=at, due_at=at,
            )
        )  # fmt: skip
    session.flush()
    return journey.key


def test_messages_and_what_they_cost(session, thanked):
    """A plan without any included message, 10 satang each: two pushes cost 20 satang."""
    shop.set(session, "messages.plan_included", 0, NOW)
    shop.set(session, "messages.extra_satang", 10, NOW)
    was = tried(session)["was"]
    assert was["messages"] == {thanked: 3}
    assert (was["paid"], was["free"], was["cost_satang"]) == (2, 1, 20)


@pytest.mark.parametrize(
    "rule, messages",
    [
        (JourneyRule(False, 7), 0), (JourneyRule(True, 7), 3), (JourneyRule(True, 12), 2),
        (JourneyRule(True, 40), 1), (JourneyRule(True, 1), 3),
    ],
)  # fmt: skip
def test_journeys_switched_off_or_with_a_longer_pause(session, thanked, rule, messages):
    """12 days: the third comes 25 days after the first, the second 10. None for nobody."""
    journeys = {**what_if_rules.today(session, NOW, BANGKOK).journeys, thanked: rule}
    result = tried(session, journeys=journeys)
    assert result["would"]["messages"].get(thanked, 0) == messages
    assert result["was"]["messages"] == {thanked: 3}


# Refused


NO_RULES: tuple[tuple[int, dict[str, Any]], ...] = (
    (0, {}), (366, {}), (90, {"satang_per_point": 0}), (90, {"expiry_months": 0}),
    (90, {"percent": 99}), (90, {"percent": 1_001}), (90, {"weekdays": (7,)}),
    (90, {"hours": ((5, 5),)}), (90, {"hours": ((24, 3),)}), (90, {"expiry_kind": "soon"}),
    (90, {"tiers": {"silver": 10}}), (90, {"tiers": {"silver": 10, "gold": 10}}),
    (90, {"tiers": {"silver": 20, "gold": 10}}), (90, {"tiers": {"silver": 0, "gold": 10}}),
    (90, {"levels": {"at_risk_days": 90}}), (90, {"levels": {"tickets_days": 3}}),
    (90, {"levels": {"regular_days": 1}}), (90, {"journeys": {"no.such": JourneyRule(True)}}),
    (90, {"journeys": {"members.welcome": JourneyRule(True, 3)}}),
    (90, {"journeys": {"lifecycle.thank_you": JourneyRule(True, 0)}}),
)  # fmt: skip


def test_what_could_not_be_a_rule_is_refused(session, history):
    definitions.ensure(session, NOW)
    today = what_if_rules.today(session, NOW, BANGKOK)
    for days, changes in NO_RULES:
        try:
            what_if.ask(
                session, replace(today, **changes), days, made_by="staff:1", now=NOW, tz=BANGKOK
            )
        except Refused:
            assert session.scalar(select(WhatIf.id)) is None, (days, changes)
        else:
            pytest.fail(f"taken for rules: {days} days, {changes}")


def test_rules_come_back_from_the_row_as_they_went(session, history):
    definitions.ensure(session, NOW)
    given = replace(
        what_if_rules.today(session, NOW, BANGKOK), weekdays=(1, 2), hours=((22, 2),), percent=150
    )
    row = what_if.ask(session, given, 30, made_by="staff:1", now=NOW, tz=BANGKOK)
    session.expire(row)
    assert Rules.of(row.rules["would"]) == given


# The worker


def digests(engine: Engine) -> dict[str, str]:
    """Every table but ours, by its rows."""
    tables = MetaData()
    tables.reflect(engine)
    with engine.connect() as connection:
        return {
            name: hashlib.sha256(
                repr(sorted(map(repr, connection.execute(select(table))))).encode()
            ).hexdigest()
            for name, table in tables.tables.items()
            if name != "what_ifs"
        }


@pytest.fixture
def asked(runtime) -> Callable[..., int]:
    def ask(**changes: Any) -> int:
        with runtime.database.write() as session:
            given = replace(what_if_rules.today(session, NOW, BANGKOK), **changes)
            row = what_if.ask(session, given, 90, made_by="staff:1", now=NOW, tz=BANGKOK)
            return row.id

    return ask


def test_a_run_writes_its_row_and_nothing_else(runtime, asked):
    with runtime.database.write() as session:
        definitions.ensure(session, NOW)
        member = factories.somchai(session)
        tier(session, "silver", 5_000, percent=150)
        for days_ago in (80, 40, 2):
            buy(session, member, 30_000, days_ago)
    number = asked(satang_per_point=1_000, has_carry=False)
    before = digests(runtime.database.engine)
    assert worker.step(runtime) == 1
    assert digests(runtime.database.engine) == before
    with runtime.database.read() as session:
        row = session.get_one(WhatIf, number)
        assert row.state == WhatIfState.DONE
        assert row.result["was"]["issued"] < row.result["would"]["issued"]
    assert worker.step(runtime) == 0


def test_runs_go_one_by_one_and_a_crashed_one_is_taken_over(runtime, asked):
    first, second = asked(), asked()
    real = runtime.clock.real_now()
    with runtime.database.write() as session:
        held = what_if.claim(session, real)
    assert held.id == first
    with runtime.database.write() as session:
        assert what_if.claim(session, real + timedelta(minutes=1)) is None
    later = real + what_if.LEASE + timedelta(seconds=1)
    with runtime.database.write() as session:
        taken = what_if.claim(session, later)
    assert taken.id == first
    with runtime.database.write() as session:
        assert not what_if.is_mine(session, held, later)
        what_if.finish(session, held, {"from": "the one that was thought dead"}, later)
    with runtime.database.write() as session:
        assert session.get_one(WhatIf, first).state == WhatIfState.RUNNING
        what_if.finish(session, taken, {"members": 0}, later)
    with runtime.database.write() as session:
        assert session.get_one(WhatIf, first).result == {"members": 0}
        assert what_if.claim(session, later).id == second


def test_one_that_is_left_three_times_fails(runtime, asked):
    number, real = asked(), runtime.clock.real_now()
    for turn in range(4):
        with runtime.database.write() as session:
            row = what_if.claim(session, real + turn * (what_if.LEASE + DAY))
            assert (row is None) == (turn == 3)
    with runtime.database.read() as session:
        assert session.get_one(WhatIf, number).state == WhatIfState.FAILED


def test_too_many_bills_are_said_and_an_error_is_no_end(runtime, asked, monkeypatch):
    with runtime.database.write() as session:
        buy(session, factories.somchai(session), 30_000, 2)
    monkeypatch.setattr(what_if, "MOST_PURCHASES", 0)
    many = asked()
    worker.step(runtime)
    monkeypatch.undo()
    monkeypatch.setattr(what_if, "replay", lambda past, world: 1 // 0)
    broken = asked()
    worker.step(runtime)
    with runtime.database.read() as session:
        reasons = [session.get_one(WhatIf, one).result["reason"] for one in (many, broken)]
    assert reasons == ["too_many", "broken"]
