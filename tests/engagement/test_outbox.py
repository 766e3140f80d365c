"""The outbox's rules: what is owed, grouped, parked, withdrawn and decided."""

from __future__ import annotations

import json
import threading
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from bot import theme
from core.db import Database
from core.errors import NotFound, Refused
from engagement import outbox
from engagement.outbox import AlreadyDecided, Draft
from handlers import inbox
from loyalty import consents, shop
from models.journeys import Intent, IntentState, Journey
from models.members import Consent, Member, Purpose
from models.outbox import Call, CallKind, CallState, Message, MessageClass, MessageState
from tests.factories import anan, friend, make_member, malee, somchai
from tests.moments import NOW
from tests.postgres import is_waiting
from tests.processes import wait_until

SERVICE, PROMOTIONAL = MessageClass.SERVICE, MessageClass.PROMOTIONAL
TRANSACTIONAL = MessageClass.TRANSACTIONAL


def words(text: str = "สวัสดี ☕") -> list[dict[str, Any]]:
    return [{"type": "text", "text": text}]


def owe(session: Session, member: Member, key: str = "test:1", **more: Any) -> Message | None:
    values = {"klass": SERVICE, "kind": "tests.greeting", "messages": words(), "now": NOW}
    return outbox.queue(session, key=key, member=member, **(values | more))


def crowd(session: Session, count: int) -> list[Member]:
    return [make_member(session, f"คน {number}") for number in range(count)]


def calls(session: Session) -> list[Call]:
    session.expire_all()
    return list(session.scalars(select(Call).order_by(Call.id)))


def states(session: Session) -> list[MessageState]:
    session.expire_all()
    return list(session.scalars(select(Message.state).order_by(Message.id)))


def only_call(session: Session) -> Call:
    (call,) = calls(session)
    return call


# Queueing


def test_a_push_is_born_with_its_call_and_its_frozen_body(session: Session):
    member = somchai(session)
    message = owe(session, member)
    call = only_call(session)
    assert message is not None
    assert (message.state, message.channel, message.call_id) == ("calling", "push", call.id)
    assert (call.kind, call.state, call.recipient_count) == ("push", "waiting", 1)
    assert json.loads(call.body) == {"to": member.line_user_id, "messages": words()}
    assert len(call.retry_key) == 36
    assert call.first_try_at is None


def test_the_same_key_is_queued_once_whatever_became_of_it(session: Session):
    member = somchai(session)
    assert owe(session, member) is not None
    assert owe(session, member, messages=words("ไม่เหมือนเดิม")) is None
    only_call(session)


def test_the_same_key_in_two_transactions_at_once_makes_one_call(database: Database):
    with database.write() as session:
        member_id = somchai(session).id
    start = threading.Barrier(8)

    def queue() -> None:
        start.wait()
        with database.write() as session:
            owe(session, session.get_one(Member, member_id))

    threads = [threading.Thread(target=queue) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.read() as session:
        assert session.scalar(select(func.count()).select_from(Call)) == 1
        assert session.scalar(select(func.count()).select_from(Message)) == 1


def test_somebody_without_a_line_id_is_skipped_with_a_reason(session: Session):
    message = owe(session, make_member(session, "walk-in", line_user_id=None))
    assert message is not None
    assert (message.state, message.reason) == ("skipped", "delivery.unreachable")
    assert calls(session) == []


def test_lone_surrogates_do_not_stop_a_message(session: Session):
    owe(session, somchai(session), messages=words("a\ud800b"))
    assert json.loads(only_call(session).body)["messages"][0]["text"] == "a?b"


@pytest.mark.parametrize("count", [0, 6])
def test_line_takes_one_to_five_bubbles(session: Session, count: int):
    with pytest.raises(AssertionError):
        owe(session, somchai(session), messages=words() * count)


def test_many_drafts_are_queued_once_each(session: Session):
    members = crowd(session, 3)
    owe(session, members[0], key="many:0")
    drafts = [
        Draft(f"many:{place}", one.id, one.line_user_id, SERVICE, "tests.greeting", words())
        for place, one in enumerate(members)
    ]
    assert outbox.queue_many(session, drafts, NOW) == 2
    assert outbox.queue_many(session, drafts, NOW) == 0
    assert len(calls(session)) == 3
    assert len({call.retry_key for call in calls(session)}) == 3


def test_many_drafts_more_than_one_statement_holds(session: Session):
    member = somchai(session)
    drafts = [
        Draft(f"many:{place}", member.id, member.line_user_id, SERVICE, "tests.greeting", words())
        for place in range(1203)
    ]
    assert outbox.queue_many(session, drafts, NOW) == 1203
    assert len(calls(session)) == 1203


def test_senders_are_woken_once_the_transaction_is_committed(database: Database):
    said: list[str] = []

    class Wake:
        def calls(self) -> None:
            said.append("calls")

    database.session_info["wake"] = Wake()
    with database.write() as session:
        member = somchai(session)
        owe(session, member, key="one")
        owe(session, member, key="two")
        assert said == []
    assert said == ["calls"]


# Multicasts


def group(session: Session, members: list[Member], **more: Any) -> None:
    for place, member in enumerate(members):
        owe(session, member, key=f"{more.get('kind', 'g')}:{place}", is_groupable=True, **more)


def test_groupable_messages_wait_and_then_share_a_call(session: Session):
    members = crowd(session, 3)
    group(session, members)
    assert states(session) == ["waiting"] * 3
    assert outbox.form_multicasts(session, NOW, 100) == 3
    call = only_call(session)
    assert (call.kind, call.recipient_count) == (CallKind.MULTICAST, 3)
    body = json.loads(call.body)
    assert body == {"to": [one.line_user_id for one in members], "messages": words()}
    assert states(session) == ["calling"] * 3
    assert session.scalars(select(Message.content)).all() == [None] * 3


def test_other_words_classes_and_end_times_go_apart(session: Session):
    members = crowd(session, 2)
    group(session, members, kind="a")
    group(session, members, kind="b", messages=words("อีกเรื่อง"))
    group(session, members, kind="c", klass=PROMOTIONAL)
    group(session, members, kind="d", not_after=NOW + timedelta(hours=1))
    outbox.form_multicasts(session, NOW, 100)
    assert [call.recipient_count for call in calls(session)] == [2, 2, 2, 2]


def test_nobody_is_twice_in_one_multicast(session: Session):
    members = crowd(session, 2)
    group(session, members, kind="a")
    group(session, members, kind="b")
    assert outbox.form_multicasts(session, NOW, 100) == 2
    assert outbox.form_multicasts(session, NOW, 100) == 2
    assert [len(set(json.loads(call.body)["to"])) for call in calls(session)] == [2, 2]


def test_those_who_left_and_what_is_late_are_skipped(session: Session):
    group(session, [anan(session)], kind="a")
    group(session, [somchai(session)], kind="b", not_after=NOW)
    group(session, [malee(session, unreachable_at=NOW)], kind="c")
    assert outbox.form_multicasts(session, NOW, 100) == 3
    assert calls(session) == []
    reasons = session.scalars(select(Message.reason).order_by(Message.id)).all()
    assert reasons == ["delivery.unreachable", "delivery.too_late", "delivery.unreachable"]


def test_what_is_due_later_is_not_grouped_yet(session: Session):
    group(session, crowd(session, 2), due_at=NOW + timedelta(hours=1))
    assert outbox.form_multicasts(session, NOW, 100) == 0
    assert outbox.form_multicasts(session, NOW + timedelta(hours=1), 100) == 2


def test_a_tail_waits_for_more_but_not_for_ever(session: Session):
    members = crowd(session, 5)
    group(session, members)
    assert outbox.form_multicasts(session, NOW, 3) == 3  # a full look, nothing fuller: sent
    assert outbox.form_multicasts(session, NOW, 3) == 2
    assert [call.recipient_count for call in calls(session)] == [3, 2]


def test_splitting_a_refused_multicast_ends_at_the_bad_one(session: Session):
    members = crowd(session, 4)
    group(session, members)
    outbox.form_multicasts(session, NOW, 100)
    call = only_call(session)
    call.state = CallState.SENDING
    session.flush()
    assert outbox.split_call(session, call.id, NOW, {"message": "no"}) == 2
    old, *halves = calls(session)
    assert (old.state, old.answer) == (CallState.REFUSED, {"message": "no"})
    assert [half.recipient_count for half in halves] == [2, 2]
    users = [user for half in halves for user in json.loads(half.body)["to"]]
    assert users == [one.line_user_id for one in members]
    assert states(session) == ["calling"] * 4
    assert outbox.split_call(session, call.id, NOW) == 0  # once


@pytest.mark.parametrize("left", [1, 3])
def test_who_left_under_way_is_not_owed_a_split_multicast(session: Session, left: int):
    members = crowd(session, 3)
    group(session, members)
    outbox.form_multicasts(session, NOW, 100)
    call = only_call(session)
    call.state = CallState.SENDING
    for gone in members[:left]:
        gone.line_user_id = None
    session.flush()
    outbox.split_call(session, call.id, NOW)
    assert states(session) == ["skipped"] * left + ["calling"] * (3 - left)
    assert outbox.counts(session).waiting == 3 - left


# Taking back


def test_an_unsent_push_can_be_withdrawn(session: Session):
    message = owe(session, somchai(session))
    assert message is not None
    assert outbox.withdraw(session, message, "delivery.no_consent", NOW) is True
    assert (message.state, message.reason) == ("skipped", "delivery.no_consent")
    assert only_call(session).state == CallState.DROPPED


@pytest.mark.parametrize("state", [CallState.SENDING, CallState.DONE, CallState.UNCERTAIN])
def test_what_is_on_its_way_cannot(session: Session, state: CallState):
    message = owe(session, somchai(session))
    assert message is not None
    only_call(session).state = state
    assert outbox.withdraw(session, message, "delivery.no_consent", NOW) is False
    assert only_call(session).state == state


def test_withdrawing_one_of_a_multicast_leaves_the_others_theirs(session: Session):
    members = crowd(session, 3)
    group(session, members)
    outbox.form_multicasts(session, NOW, 100)
    messages = session.scalars(select(Message).order_by(Message.id)).all()
    assert outbox.withdraw(session, messages[1], "delivery.no_consent", NOW)
    assert states(session) == ["waiting", "skipped", "waiting"]
    assert outbox.form_multicasts(session, NOW, 100) == 2
    first, second = calls(session)
    assert (first.state, second.state) == (CallState.DROPPED, CallState.WAITING)
    assert json.loads(second.body) == {
        "to": [members[0].line_user_id, members[2].line_user_id],
        "messages": words(),
    }


def test_a_multicast_that_may_have_arrived_is_never_grouped_anew(session: Session):
    members = crowd(session, 3)
    group(session, members)
    outbox.form_multicasts(session, NOW, 100)
    tried = only_call(session)
    tried.first_try_at = NOW  # it left, and no answer came
    session.flush()
    assert outbox.withdraw_member(session, members[1].id, "delivery.no_consent", NOW) == 0
    assert states(session) == ["calling"] * 3
    assert outbox.form_multicasts(session, NOW, 100) == 0
    assert only_call(session).state == CallState.WAITING


def test_withdrawing_while_it_is_grouped_leaves_nothing_to_send(database: Database):
    """Consent ends while another process puts the message into a multicast."""
    if database.is_sqlite:
        pytest.skip("SQLite has one writer: grouping is over before or begins after")
    with database.write() as session:
        members = crowd(session, 3)
        group(session, members)
        mine = members[1].id
    withdrawn: list[int] = []

    def end_consent() -> None:
        with database.write() as session:
            withdrawn.append(outbox.withdraw_member(session, mine, "delivery.no_consent", NOW))

    other = threading.Thread(target=end_consent)
    with database.write() as session:
        assert outbox.form_multicasts(session, NOW, 100) == 3
        session.flush()
        other.start()
        wait_until(lambda: is_waiting(database), 10)
    other.join()
    assert withdrawn == [1]
    with database.write() as session:
        assert states(session) == ["waiting", "skipped", "waiting"]
        assert only_call(session).state == CallState.DROPPED


def test_consent_ends_promotions_only(session: Session):
    member = somchai(session)
    owe(session, member, key="p", klass=PROMOTIONAL)
    owe(session, member, key="g", klass=PROMOTIONAL, is_groupable=True)
    owe(session, member, key="t", klass=TRANSACTIONAL)
    assert (
        outbox.withdraw_member(session, member.id, "delivery.no_consent", NOW, [PROMOTIONAL]) == 2
    )
    assert states(session) == ["skipped", "skipped", "calling"]
    assert outbox.withdraw_member(session, member.id, "delivery.gone", NOW) == 1


# Quota


def park_all(session: Session) -> None:
    outbox.park_due(session, NOW, reason=outbox.NO_QUOTA, limit=100, keeps_transactional=False)


def test_parks_what_is_due_and_keeps_the_rest(session: Session):
    member = somchai(session)
    owe(session, member, key="now")
    owe(session, member, key="later", due_at=NOW + timedelta(days=1))
    owe(session, member, key="group", is_groupable=True)
    park_all(session)
    assert states(session) == ["parked", "calling", "parked"]
    assert [call.state for call in calls(session)] == ["parked", "waiting"]
    assert outbox.resume_parked(session, NOW) == 2
    assert states(session) == ["calling", "calling", "waiting"]


def test_m4_what_is_due_and_moves_no_value_can_be_put_off(session: Session):
    member, tomorrow = somchai(session), NOW + timedelta(days=1)
    for key, more in {
        "push": {}, "group": {"is_groupable": True}, "value": {"klass": TRANSACTIONAL},
        "later": {"due_at": NOW + timedelta(days=2)},
    }.items():  # fmt: skip
        owe(session, member, key=key, **more)
    outbox.put_off(session, NOW, tomorrow)
    assert [call.next_try_at for call in calls(session)] == [tomorrow, NOW, NOW + timedelta(days=2)]
    group = session.scalars(select(Message).where(Message.key == "group")).one()
    assert group.due_at == tomorrow


def test_the_reserve_lets_transactional_ones_through(session: Session):
    member = somchai(session)
    owe(session, member, key="p", klass=PROMOTIONAL)
    owe(session, member, key="t", klass=TRANSACTIONAL)
    outbox.park_due(session, NOW, reason=outbox.QUOTA_RESERVE, limit=100, keeps_transactional=True)
    assert states(session) == ["parked", "calling"]


def test_resumes_as_many_as_the_quota_allows_oldest_first(session: Session):
    outbox.channel(session).quota_limit = 100  # ten are kept for transactional ones
    for place, member in enumerate(crowd(session, 5)):
        owe(session, member, key=f"p:{place}", klass=PROMOTIONAL)
    park_all(session)
    session.flush()
    assert outbox.resume_parked(session, NOW, quota_left=13) == 3
    assert states(session) == ["calling"] * 3 + ["parked"] * 2
    assert outbox.resume_parked(session, NOW, quota_left=5) == 0


@pytest.mark.parametrize("limit, reserve", [(None, 0), (100, 10), (99, 10), (5, 1), (0, 0)])
def test_keeps_a_tenth_of_the_month(session: Session, limit: int | None, reserve: int):
    assert outbox.reserve_of(session, limit) == reserve


# Decisions


def uncertain(session: Session, **more: Any) -> Call:
    owe(session, somchai(session), **more)
    call = only_call(session)
    call.state = CallState.UNCERTAIN
    session.scalars(select(Message)).one().state = MessageState.UNCERTAIN
    session.flush()
    return call


def test_a_person_says_it_arrived(session: Session):
    call = uncertain(session)
    assert outbox.uncertain_calls(session) == [call]
    outbox.mark_sent(session, call.id, NOW)
    assert (only_call(session).state, states(session)) == ("done", ["sent"])
    assert outbox.uncertain_calls(session) == []


def test_a_person_lets_it_go(session: Session):
    call = uncertain(session)
    outbox.drop(session, call.id, NOW)
    assert (only_call(session).state, states(session)) == ("dropped", ["skipped"])


def test_a_person_has_it_sent_again_under_a_new_key(session: Session):
    call = uncertain(session)
    new_id = outbox.send_again(session, call.id, NOW)
    old, new = calls(session)
    assert (old.state, new.state, new.id) == ("refused", "waiting", new_id)
    assert new.retry_key != old.retry_key
    assert new.body == old.body
    assert states(session) == ["calling"]


def test_a_person_sends_nothing_again_to_who_took_their_consent_back(session: Session):
    members = crowd(session, 3)
    group(session, members, klass=PROMOTIONAL)
    outbox.form_multicasts(session, NOW, 100)
    call = only_call(session)
    call.state = CallState.UNCERTAIN
    session.execute(update(Message).values(state=MessageState.UNCERTAIN))
    consents.withdraw(session, members[0].id, Purpose.MARKETING, NOW)
    outbox.send_again(session, call.id, NOW)
    _, new = calls(session)
    assert json.loads(new.body)["to"] == [one.line_user_id for one in members[1:]]
    assert states(session) == ["skipped", "calling", "calling"]


def test_a_person_sends_nothing_again_to_nobody(session: Session):
    call = uncertain(session, klass=PROMOTIONAL)
    session.execute(update(Consent).values(withdrawn_at=NOW))
    with pytest.raises(Refused, match=r"delivery\.no_consent"):
        outbox.send_again(session, call.id, NOW)


@pytest.mark.parametrize("decide", [outbox.mark_sent, outbox.drop, outbox.send_again])
def test_a_decision_is_made_once(session: Session, decide: Any):
    call = uncertain(session)
    decide(session, call.id, NOW)
    with pytest.raises(AlreadyDecided):
        outbox.mark_sent(session, call.id, NOW)


def test_an_unknown_call_is_not_found(session: Session):
    with pytest.raises(NotFound):
        outbox.drop(session, 4711, NOW)


# Replies


def ride(session: Session, member: Member) -> tuple[Message, Intent]:
    journey = Journey(key="lifecycle.thank_you", klass=PROMOTIONAL)
    session.add(journey)
    session.flush()
    intent = Intent(
        member_id=member.id, journey_id=journey.id, version=1, occasion="purchase:1", step="thanks",
        klass=PROMOTIONAL, created_at=NOW, window_from=NOW, deadline=NOW, not_after=NOW,
        state=IntentState.TURNED, decided_at=NOW,
    )  # fmt: skip
    session.add(intent)
    session.flush()
    message = outbox.queue_ride(
        session, key=f"intent:{intent.id}", member=member, klass=PROMOTIONAL,
        kind="lifecycle.thank_you", messages=words(), now=NOW, intent_id=intent.id,
    )  # fmt: skip
    assert message is not None
    return message, intent


def test_a_refused_reply_gives_the_intent_its_chance_back(session: Session):
    member = friend(session)
    message, intent = ride(session, member)
    call_id = outbox.open_reply(session, now=NOW, real_now=NOW, ride_ids=[message.id])
    outbox.reply_refused(session, call_id, NOW)
    session.expire_all()
    assert (message.state, message.reason) == ("skipped", "delivery.reply_refused")
    assert (intent.state, intent.decided_at) == ("waiting", None)
    assert owe(session, member, key=f"intent:{intent.id}", intent_id=intent.id) is not None


def test_an_unknown_reply_closes_what_rode_it(session: Session):
    message, intent = ride(session, friend(session))
    call_id = outbox.open_reply(session, now=NOW, real_now=NOW, ride_ids=[message.id])
    outbox.reply_unknown(session, [call_id], NOW)
    session.expire_all()
    assert (message.state, intent.state) == ("sent_unknown", "turned")


@pytest.mark.parametrize("later, closed", [(timedelta(minutes=1), 0), (timedelta(minutes=3), 1)])
def test_a_reply_is_stale_after_two_minutes(session: Session, later: timedelta, closed: int):
    outbox.open_reply(session, now=NOW, real_now=NOW)
    assert outbox.close_stale_replies(session, NOW + later, NOW + later, 10) == closed


# Figures


def test_counts_account_for_everything(session: Session):
    member = somchai(session)
    for place, state in enumerate(MessageState):
        message = owe(session, member, key=f"campaign:7:{place}", kind="campaigns.seven")
        assert message is not None
        message.state = state
    owe(session, member, key="campaign:70:1", kind="other")
    session.flush()
    counts = outbox.counts(session, key_prefix="campaign:7:")
    assert counts == outbox.Counts(waiting=2, sent=2, parked=1, failed=1, skipped=1, uncertain=1)
    assert counts.total == len(MessageState)
    assert outbox.counts(session, kind="other").total == 1
    assert outbox.counts(session).total == len(MessageState) + 1


def test_the_backlog_tells_how_old_it_is(session: Session):
    member = somchai(session)
    owe(session, member, key="old", due_at=NOW - timedelta(minutes=5))
    owe(session, member, key="new", due_at=NOW)
    owe(session, member, key="later", due_at=NOW + timedelta(hours=1))
    backlog = outbox.backlog(session, NOW)
    assert (backlog.due_calls, backlog.oldest_seconds, backlog.paused_for) == (2, 300.0, None)
    outbox.pause_sending(session, "token", NOW)
    assert outbox.backlog(session, NOW).paused_for == "token"
    outbox.resume_sending(session)
    assert outbox.backlog(session, NOW).paused_for is None


def test_an_empty_outbox_has_no_age(session: Session):
    moment: datetime = NOW
    assert outbox.backlog(session, moment).oldest_seconds == 0.0


# LINE's own figures


def units(session: Session) -> list[str | None]:
    found = [json.loads(call.body).get("customAggregationUnits", [None]) for call in calls(session)]
    return [unit for [unit] in found]


def test_M8_a_push_carries_the_name_line_counts_it_under(session: Session):
    member = somchai(session)
    owe(session, member, "k-1", source="journey:3:thank")
    owe(session, member, "k-2")
    shop.set(session, "messages.line_units", False, NOW)
    owe(session, member, "k-3", source="journey:3:thank")
    assert units(session) == ["journey_3_thank", None, None]


def test_M8_equal_words_of_two_campaigns_never_share_a_call(session: Session):
    for place, member in enumerate(crowd(session, 6)):
        source = f"campaign:{place % 2 + 1}:a"
        owe(session, member, f"k-{place}", is_groupable=True, source=source)
    outbox.form_multicasts(session, NOW, 100)
    assert units(session) == ["campaign_1_a", "campaign_2_a"]
    first = calls(session)[0]
    first.state = CallState.SENDING
    session.flush()
    outbox.split_call(session, first.id, NOW)
    assert units(session)[2:] == ["campaign_1_a", "campaign_1_a"]


def test_what_travels_wears_the_shops_colour(session: Session):
    member = somchai(session)
    card = theme.flex("การ์ด", theme.bubble(theme.column(theme.text("สวัสดี", color=theme.LEAF))))
    owe(session, member, "k-1", messages=[card])
    shop.set(session, "shop.colour", "#A62B4B", NOW)
    owe(session, member, "k-2", messages=[card])
    bodies = [call.body.decode() for call in calls(session)]
    bodies.append(inbox.body_of(session, "token", [card]).decode())
    assert [theme.LEAF in body for body in bodies] == [True, False, False]
    assert ["#A62B4B" in body for body in bodies] == [False, True, True]
