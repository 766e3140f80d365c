"""The watchdog (M9): what should have gone out and did not is said, once, and at a decent hour."""

from __future__ import annotations

import json
from datetime import timedelta
from itertools import count

import pytest
from sqlalchemy import select

from engagement import alerts, outbox, watchdog
from loyalty import alarms, shop
from models.journeys import Intent, IntentState, Journey
from models.members import MemberState
from models.outbox import Call, Message, MessageClass
from models.results import Alarm
from tests import factories
from tests.handlers.chat import words_of
from tests.moments import BANGKOK

DAY = timedelta(days=1)
numbers = count(1)


def look(life) -> set[str]:
    life.session.flush()
    watchdog.note(life.session, watchdog.look(life.session, life.now), life.now)
    return {one.key for one in alarms.open_ones(life.session)}


def journey(life, key="lifecycle.thank_you") -> Journey:
    return life.session.scalars(select(Journey).where(Journey.key == key)).one()


def owe(life, member, at, deadline=None, state=IntentState.WAITING, key="lifecycle.thank_you"):
    deadline = deadline or at
    row = Intent(
        member_id=member.id, journey_id=journey(life, key).id, version=1, step="thank",
        occasion=f"purchase:{next(numbers)}", klass=MessageClass.PROMOTIONAL, created_at=at,
        window_from=at, deadline=deadline, not_after=deadline + DAY, state=state,
    )  # fmt: skip
    life.session.add(row)
    return row


def test_M9_due_and_unsent_past_its_deadline_alarms_until_it_is_gone(life, somchai):
    intent = owe(life, somchai, life.now)
    life.later(minutes=29)
    assert look(life) == set()
    life.later(minutes=2)
    assert look(life) == {"journeys.overdue:lifecycle.thank_you"}
    intent.state = IntentState.SKIPPED
    assert look(life) == set()


def test_M9_failing_again_and_again_until_it_is_too_late_alarms(life, somchai):
    intent = owe(life, somchai, life.now - 3 * DAY)
    intent.deadline = life.now + timedelta(minutes=40)  # put off once more
    assert look(life) == {"journeys.overdue:lifecycle.thank_you"}


@pytest.fixture
def usual(life, somchai):
    """A fortnight with four thanks a day, until a day ago; the shop is open."""
    for day in range(1, 15):
        for _ in range(4):
            owe(life, somchai, life.now - day * DAY - timedelta(hours=1), state=IntentState.TURNED)
    factories.make_policy(life.session)
    return somchai


def test_M9_a_journey_with_usual_days_suddenly_at_zero_alarms(life, usual, malee):
    assert look(life) == set()  # no bill at all: the shop is closed
    life.buy(malee)
    life.session.execute(Intent.__table__.delete().where(Intent.member_id == malee.id))
    assert look(life) == {"journeys.silent:lifecycle.thank_you"}
    [alarm] = alarms.open_ones(life.session)
    assert alarm.facts["usual"] == 4
    owe(life, malee, life.now, life.now + DAY)
    assert look(life) == set()


@pytest.mark.parametrize("gap", [3, 14])
def test_M9_a_journey_without_usual_days_may_be_silent(life, usual, malee, gap):
    at = life.now - gap * DAY
    life.buy(malee)
    quiet = Intent.created_at.between(at - DAY, at)
    life.session.execute(Intent.__table__.delete().where(quiet | (Intent.member_id == malee.id)))
    assert look(life) == set()


def test_Z8_Z9_a_paused_sender_and_a_used_up_quota_alarm(life):
    outbox.pause_sending(life.session, "token", life.now)
    assert look(life) == {"sending.paused:token"}
    outbox.resume_sending(life.session)
    outbox.channel(life.session).quota_exhausted_at = life.now
    assert look(life) == {"sending.quota:month"}
    outbox.channel(life.session).quota_exhausted_at = None
    assert look(life) == set()


def test_M9_a_stuck_queue_and_frozen_points_alarm(life, somchai):
    outbox.queue(
        life.session, key="k", member=somchai, klass=MessageClass.SERVICE, kind="x",
        messages=[{"type": "text", "text": "x"}], now=life.now,
    )  # fmt: skip
    somchai.totals.frozen_at = life.now
    assert look(life) == {"ledger.frozen:members"}
    life.later(hours=1)
    assert look(life) == {"ledger.frozen:members", "sending.stuck:calls"}


def test_M9_a_quiet_look_has_nothing_to_write(life, somchai):
    assert not watchdog.is_news(life.session, watchdog.look(life.session, life.now))
    owe(life, somchai, life.now - DAY)
    life.session.flush()
    found = watchdog.look(life.session, life.now)
    assert watchdog.is_news(life.session, found)
    watchdog.note(life.session, found, life.now)
    assert not watchdog.is_news(life.session, found)
    assert watchdog.is_news(life.session, [])


# Telling the owner


@pytest.fixture
def owner(life):
    """Prem, who hears of alarms."""
    prem = factories.make_member(life.session, "เปรม", vault=life.vault)
    shop.set(life.session, alerts.OWNERS, [prem.id], life.now)
    return prem


def grave(life, key="sending.paused:token") -> None:
    facts = {"why": "token"}
    alarms.raise_alarm(life.session, key, key.partition(":")[0], facts, life.now)


def told(life) -> list[Message]:
    return life.messages("alarms.raised") + life.messages("alarms.digest")


def test_M9_a_grave_alarm_is_pushed_at_once_and_once(life, owner):
    life.at(2026, 11, 23, 2, 0)  # in the quiet hours
    grave(life)
    for _ in range(3):
        alerts.tell_grave(life.session, life.runtime, life.now)
    [message] = told(life)
    assert (message.klass, message.due_at) == ("transactional", life.now)
    body = json.loads(life.session.get_one(Call, message.call_id).body)
    assert "การส่งข้อความหยุดอยู่" in words_of(body["messages"])


def test_M9_what_comes_and_goes_does_not_ring_each_time(life, owner):
    for _ in range(4):
        grave(life)
        alerts.tell_grave(life.session, life.runtime, life.now)
        alarms.end_alarm(life.session, "sending.paused:token", life.now)
        life.later(minutes=10)
    assert len(told(life)) == 1
    life.later(hours=6)
    grave(life)
    alerts.tell_grave(life.session, life.runtime, life.now)
    assert len(told(life)) == 2


def test_M9_the_rest_waits_for_one_digest_outside_the_quiet_hours(life, owner):
    for number in range(10):
        facts = {"cashier_id": number, "count": 2}
        alarms.raise_alarm(life.session, f"suspects.cashier:{number}", "suspects.cashier", facts,
                           life.now)  # fmt: skip
    assert alerts.tell_grave(life.session, life.runtime, life.now) == 0
    life.at(2026, 11, 23, 8, 30)
    assert alerts.tell_rest(life.session, life.runtime, life.now, "2026-11-23") == 10
    assert alerts.tell_rest(life.session, life.runtime, life.now, "2026-11-23") == 0
    [message] = told(life)
    assert message.due_at.astimezone(BANGKOK).hour == 9
    words = life.words("alarms.digest")
    assert "มี 10 เรื่องที่ควรดู" in words
    assert "และอีก 2 เรื่อง" in words


def test_M9_nobody_is_told_where_nobody_asked_and_later_only_what_is_still_open(life):
    grave(life)
    assert alerts.tell_grave(life.session, life.runtime, life.now) == 0
    assert life.session.scalar(select(Alarm.told_at)) is None


def test_M9_a_grave_alarm_waits_for_an_owner_who_can_be_reached(life, owner):
    owner.is_following = False
    grave(life)
    assert alerts.tell_grave(life.session, life.runtime, life.now) == 0
    assert life.session.scalar(select(Alarm.told_at)) is None
    owner.is_following = True
    assert alerts.tell_grave(life.session, life.runtime, life.now) == 1
    assert [one.member_id for one in told(life)] == [owner.id]


def test_M9_what_the_monthly_stop_keeps_back_is_in_the_next_digest(life, owner):
    alarms.raise_alarm(
        life.session, "suspects.members:all", "suspects.members", {"count": 1}, life.now
    )
    shop.set(life.session, "messages.monthly_stop", 0, life.now)
    assert alerts.tell_rest(life.session, life.runtime, life.now, "2026-11-22") == 0
    assert life.session.scalar(select(Alarm.told_at)) is None
    shop.set(life.session, "messages.monthly_stop", 100, life.now)
    assert alerts.tell_rest(life.session, life.runtime, life.now, "2026-11-23") == 1
    assert [one.member_id for one in told(life)] == [owner.id]


@pytest.mark.parametrize("change", ["blocked", "erased", "merged"])
def test_M9_an_owner_who_is_gone_breaks_nothing(life, owner, somchai, change):
    if change == "blocked":
        owner.is_following = False
    elif change == "erased":
        owner.state, owner.line_user_id = MemberState.ERASED, None
    else:
        owner.state, owner.merged_into_id = MemberState.MERGED, somchai.id
    life.session.flush()
    grave(life)
    alerts.tell_grave(life.session, life.runtime, life.now)
    assert [one.member_id for one in told(life)] == ([somchai.id] if change == "merged" else [])


@pytest.mark.parametrize("locale", ["th", "en"])
@pytest.mark.parametrize(
    "kind, facts",
    [
        ("journeys.overdue", {"journey_id": 1, "count": 3, "since": "x"}),
        ("journeys.silent", {"journey_id": 1, "usual": 3}),
        ("sending.stuck", {"count": 3, "since": "x"}),
        ("sending.paused", {"why": "nobody knows"}),
        ("sending.quota", {"limit": 300}),
        ("ledger.frozen", {"count": 1}),
        ("ledger.difference", {"count": 1}),
        ("audit.broken", {"row": 7}),
        ("jobs.missed", {"job": "points.expire", "due": "2026-11-22T00:05:00+07:00"}),
        ("suspects.cashier", {"cashier_id": 99, "count": 1}),
        ("suspects.members", {"count": 1}),
    ],
)
def test_M9_every_alarm_has_its_words(life, kind, facts, locale):
    alarm = Alarm(key=f"{kind}:x", kind=kind, facts=facts, raised_at=life.now)
    for words in alerts.words(life.session, alarm, locale, BANGKOK):
        assert words
        assert "{" not in words
        assert "alarms." not in words
