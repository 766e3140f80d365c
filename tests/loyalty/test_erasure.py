"""Leaving erases the person and keeps the sums (FX15, J7)."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import func, inspect, select

from core.errors import Refused
from engagement import outbox
from loyalty import (
    codes,
    conversations,
    coupons,
    erasure,
    feed,
    joining,
    members,
    merges,
    merging,
    points,
    proof,
    purchases,
)
from loyalty.joining import Answers, Surroundings
from models.base import Base
from models.conversations import ConversationLine
from models.coupons import CodePurpose, Redemption, Voucher, VoucherState
from models.feed import FeedEvent
from models.inbox import Event, EventState, Quarantined
from models.members import Consent, Erasure, Member, MemberKey, MemberState, MemberTotals
from models.outbox import Call, CallKind, CallState, Message, MessageClass, MessageState
from models.points import LedgerEntry
from models.segments import MemberChoice, MemberTag
from tests import factories
from tests.factories import line_id
from tests.moments import BANGKOK, NOW

NAME = "ปิยะนุชรหัสลับ"
PHONE = "+66812345678"


def somebody(session, vault):
    """A member with everything that could give them away."""
    factories.make_policy(session)
    offer = factories.make_coupon(session, "offer")
    branch = factories.make_branch(session)
    member = members.friend_for(session, line_id("ปิยะ"), NOW)
    members.follow(session, member, NOW)
    members.take_profile(member, NAME, "https://profile.line-scdn.net/face", NOW)
    around = Surroundings(session, vault, member, NOW, BANGKOK)
    joining.join(
        around,
        Answers(name=NAME, phone=PHONE, birthday="1995-03-05", marketing=True),
        channel="chat",
    )
    purchases.record_purchase(
        session, member_id=member.id, branch=branch, amount_satang=50000, operation_id="1",
        now=NOW, tz=BANGKOK,
    )  # fmt: skip
    coupons.claim(session, offer.id, member, NOW, BANGKOK)
    conversations.add_line(
        session, vault, member, kind="text", text=f"ฉันชื่อ {NAME}", line_message_id="m1",
        at=NOW, now=NOW,
    )  # fmt: skip
    session.flush()
    return member


def owe(session, member, key="k"):
    message = outbox.queue(
        session, key=key, member=member, klass=MessageClass.TRANSACTIONAL, kind="tests.told",
        messages=[{"type": "text", "text": f"คุณ{NAME}"}], now=NOW,
    )  # fmt: skip
    session.flush()
    return message


def sums(session):
    return (
        session.scalar(select(func.sum(LedgerEntry.points))),
        session.scalar(select(func.count()).select_from(LedgerEntry)),
        session.scalar(select(func.sum(MemberTotals.balance))),
        session.scalar(select(func.sum(MemberTotals.spent_satang))),
    )


def test_FX15_the_push_is_dropped_the_session_dead_the_sums_unchanged(session, vault):
    member = somebody(session, vault)
    owed = owe(session, member)
    before = sums(session)
    erasure.erase(session, vault, member, asked_by="member", now=NOW)
    session.expire_all()
    message = session.get(Message, owed.id)
    call = session.get(Call, message.call_id)
    assert (message.state, message.content) == (MessageState.SKIPPED, None)
    assert (call.state, call.body) == (CallState.DROPPED, None)
    assert session.scalars(select(Voucher.state)).one() == VoucherState.VOID
    assert sums(session) == before
    assert proof.check_all(session, NOW) == []


def test_a_call_under_way_keeps_its_bytes_until_its_outcome_is_known(session, vault):
    member = somebody(session, vault)
    owed = owe(session, member)
    session.get(Call, owed.call_id).state = CallState.SENDING
    session.flush()
    erasure.erase(session, vault, member, asked_by="member", now=NOW)
    session.expire_all()
    call = session.get(Call, owed.call_id)
    assert (call.body is not None, call.not_after) == (True, NOW)
    assert session.get(Message, owed.id).state == MessageState.CALLING


def test_a_call_to_many_that_has_not_left_goes_without_them(session, vault):
    member = somebody(session, vault)
    other = factories.make_member(session, "มาลี")
    for person in (member, other):
        outbox.queue(
            session, key=f"m:{person.id}", member=person, klass=MessageClass.SERVICE,
            kind="tests.told", messages=[{"type": "text", "text": "ข่าวดี"}], now=NOW,
            is_groupable=True,
        )  # fmt: skip
    session.flush()
    outbox.form_multicasts(session, NOW, 100)
    call = session.scalars(select(Call).where(Call.kind == CallKind.MULTICAST)).one()
    line_user_id = member.line_user_id
    erasure.erase(session, vault, member, asked_by="member", now=NOW)
    session.expire_all()
    assert line_user_id.encode() not in call.body
    assert (call.state, call.recipient_count) == (CallState.WAITING, 1)
    states = dict(session.execute(select(Message.member_id, Message.state)).all())
    assert states == {member.id: MessageState.SKIPPED, other.id: MessageState.CALLING}


def test_what_was_under_way_is_emptied_once_it_is_over(session, vault):
    member = somebody(session, vault)
    owed = owe(session, member)
    call = session.get(Call, owed.call_id)
    call.state = CallState.SENDING
    session.flush()
    erasure.erase(session, vault, member, asked_by="member", now=NOW)
    assert erasure.sweep(session, NOW, 100) == 0
    call.state, call.finished_at = CallState.DONE, NOW
    session.flush()
    assert erasure.sweep(session, NOW, 100) == 1
    session.expire_all()
    assert session.get(Call, owed.call_id).body is None


def everything_stored(session) -> str:
    """Every value of every table, as text."""
    found = []
    for table in Base.metadata.sorted_tables:
        for row in session.execute(select(table)):
            found.extend(
                value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
                for value in row
            )
    return "\n".join(found)


def test_nothing_that_names_the_person_is_left_in_any_table(session, vault):
    member = somebody(session, vault)
    number, public_id, code = member.member_no, member.public_id, member.referral_code
    owe(session, member)
    payload = f'{{"source":{{"userId":"{member.line_user_id}"}},"message":{{"text":"{NAME}"}}}}'
    session.add_all(
        [
            Event(
                webhook_event_id="e1", kind="message", line_user_id=member.line_user_id,
                lane=member.line_user_id, event_at=NOW, received_at=NOW, next_try_at=NOW,
                payload=payload.encode(), state=EventState.DONE,
            ),
            Quarantined(
                kind="body", reason="unreadable", received_at=NOW, digest="d",
                content=b"{" + payload.encode(),
            ),
        ]
    )  # fmt: skip
    bought = {"member_no": number, "points": 20}
    feed.write(session, [("purchases.recorded", NOW, bought)])
    session.flush()
    line_user_id = member.line_user_id
    assert NAME in everything_stored(session)
    erasure.erase(session, vault, member, asked_by="member", now=NOW)
    session.expire_all()
    stored = everything_stored(session)
    for secret in (NAME, line_user_id, code, PHONE, "profile.line-scdn.net"):
        assert secret not in stored
    # Other systems are told once whom to forget; what they were told before holds no number.
    assert stored.count(number) == 1
    last = session.scalars(select(FeedEvent).order_by(FeedEvent.id.desc())).first()
    assert (last.kind, last.body) == ("members.left", {"member_no": number})
    journal = session.scalars(select(Erasure)).one()
    assert journal.member_public_id == public_id
    assert stored.count(public_id) == 1


def test_feed_finds_a_leaver_without_reading_everybodys_facts(session, engine_kind):
    """The number is looked up in an index, whatever the feed has grown to."""
    statement = "SELECT id FROM feed_events WHERE member_no = '1' OR gone_member_no = '2'"
    connection = session.connection()
    if engine_kind == "sqlite":
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}").all()
        assert "SCAN" not in str(plan)
    else:
        connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        plan = connection.exec_driver_sql(f"EXPLAIN {statement}").all()
        assert "ix_feed_events_member_no" in str(plan)
        assert "ix_feed_events_gone_member_no" in str(plan)


def test_numbers_of_what_was_merged_are_forgotten_too(session, vault):
    member = somebody(session, vault)
    gone = factories.make_member(session, "เก่า", line_user_id=None)
    number, old = member.member_no, gone.member_no
    facts = [
        ("purchases.recorded", NOW, {"member_no": old, "points": 3}),
        ("members.merged", NOW, {"member_no": number, "gone_member_no": old}),
    ]
    feed.write(session, facts)
    gone.state, gone.merged_into_id = MemberState.MERGED, member.id
    session.flush()
    erasure.erase(session, vault, member, asked_by="member", now=NOW)
    events = session.scalars(select(FeedEvent).order_by(FeedEvent.id)).all()
    assert [event.body.get("member_no") for event in events] == [None, None, number, old]
    assert [event.body.get("gone_member_no") for event in events] == [None] * 4
    assert {event.member_no for event in events} == {event.gone_member_no for event in events}
    assert [event.kind for event in events[2:]] == ["members.left"] * 2


def test_the_key_is_gone_and_the_texts_with_it(session, vault):
    member = somebody(session, vault)
    erasure.erase(session, vault, member, asked_by="member", now=NOW)
    assert session.get(MemberKey, member.id) is None
    assert session.scalars(select(ConversationLine)).all() == []


def test_a_restored_copy_is_erased_again_from_the_journal(session, vault):
    member = somebody(session, vault)
    assert erasure.replay(session, vault, NOW, [member.public_id, "unknown"]) == 1
    assert member.state == MemberState.ERASED
    assert erasure.replay(session, vault, NOW, [member.public_id]) == 0


def walk_in(session, vault, phone=PHONE):
    return members.create_walk_in(session, vault, e164=phone, now=NOW, name=NAME)


def joined(session, vault):
    """Somebody in LINE who has typed the phone, and bought nothing."""
    person = members.friend_for(session, line_id("ปิยะ"), NOW)
    around = Surroundings(session, vault, person, NOW, BANGKOK)
    return joining.join(around, Answers(name=NAME, phone=PHONE), channel="chat").member


def buy(session, member):
    factories.make_policy(session)
    purchases.record_purchase(
        session, member_id=member.id, branch=factories.make_branch(session), amount_satang=50000,
        operation_id="1", now=NOW, tz=BANGKOK,
    )  # fmt: skip


def merge(session, vault, kept, gone):
    merges.merge(
        session, vault, kept.id, gone.id, now=NOW, real_now=NOW, tz=BANGKOK, staff_id=None,
        actor="staff:1",
    )  # fmt: skip
    return kept


def names_left(session):
    session.flush()
    session.expire_all()
    return everything_stored(session).count(NAME)


@pytest.mark.parametrize("way", ["merge", "claim"])
@pytest.mark.parametrize("backup", ["before", "after"])
def test_Z24_whoever_was_merged_stays_erased_after_a_restore(session, vault, way, backup):
    """The backup may be older than the merge and hold two members, or hold one and their shadow."""
    member = somebody(session, vault) if way == "merge" else None
    gone = walk_in(session, vault)
    if member is None:
        member = joined(session, vault)
        buy(session, gone)
    session.flush()

    def join_up():
        if way == "merge":
            return merge(session, vault, member, gone)
        return merging.prove_phone(session, vault, member, NOW)

    if backup == "after":
        member = join_up()
    taken = session.begin_nested()
    left = join_up() if backup == "before" else member
    erasure.erase(session, vault, left, asked_by="member", now=NOW)
    journal = list(session.scalars(select(Erasure.member_public_id)))
    taken.rollback()
    session.expire_all()
    assert names_left(session) > 0
    erasure.replay(session, vault, NOW, journal)
    assert names_left(session) == 0
    assert session.scalars(select(Member.state).distinct()).all() == [MemberState.ERASED]
    assert session.scalars(select(MemberKey)).all() == []
    assert erasure.replay(session, vault, NOW, journal) == 0


def test_erasing_reaches_whom_was_merged_into_a_member_before_the_claim(session, vault):
    person = joined(session, vault)
    first, second = walk_in(session, vault, "+66899999999"), walk_in(session, vault)
    merge(session, vault, person, first)
    members.set_phone(session, vault, person, PHONE, NOW)
    buy(session, second)
    account = merging.prove_phone(session, vault, person, NOW)
    assert account is second
    erasure.erase(session, vault, account, asked_by="member", now=NOW)
    assert names_left(session) == 0
    assert (session.get(MemberKey, first.id), first.member_no, first.phone_sealed) == (None,) * 3


def test_tags_wishes_and_consents_of_whom_was_merged_go_too(session, vault):
    person, gone = joined(session, vault), walk_in(session, vault)
    session.add_all(
        [
            MemberTag(member_id=gone.id, tag="แพ้ถั่ว", at=NOW, by="staff:1"),
            MemberChoice(member_id=gone.id, muted=["news"], changed_at=NOW),
        ]
    )
    merge(session, vault, person, gone)
    erasure.erase(session, vault, person, asked_by="member", now=NOW)
    assert session.scalars(select(MemberTag)).all() == []
    assert session.scalars(select(MemberChoice)).all() == []
    assert session.scalars(select(Consent).where(Consent.withdrawn_at.is_(None))).all() == []


def test_a_scanned_code_of_an_erased_member_is_worthless(session, vault):
    member = somebody(session, vault)
    voucher = session.scalars(select(Voucher)).one()
    text = codes.make_code(
        session, factories.SECRET_KEY, CodePurpose.REDEEM, member.id, voucher_id=voucher.id,
        real_now=NOW,
    )  # fmt: skip
    parsed = codes.parse(factories.SECRET_KEY, text)
    hold = codes.scan(session, parsed, "device:1", NOW, NOW)
    erasure.erase(session, vault, member, asked_by="member", now=NOW)
    with pytest.raises(Refused) as refusal:
        codes.redeem(
            session, hold_id=hold.hold_id, holder="device:1", branch=factories.make_branch(session),
            bill_satang=10000, operation_id="r", now=NOW, real_now=NOW, tz=BANGKOK,
        )  # fmt: skip
    assert refusal.value.code == "codes.expired"


def test_FX15_erasing_and_redeeming_at_once_finishes_whole_or_fails_whole(database, vault):
    with database.write() as session:
        member = somebody(session, vault)
        voucher = session.scalars(select(Voucher)).one()
        branch = factories.make_branch(session)
        text = codes.make_code(
            session, factories.SECRET_KEY, CodePurpose.REDEEM, member.id, voucher_id=voucher.id,
            real_now=NOW,
        )  # fmt: skip
        parsed = codes.parse(factories.SECRET_KEY, text)
        codes.scan(session, parsed, "device:1", NOW, NOW)
    start = threading.Barrier(2)
    outcomes = []

    def redeem():
        start.wait()
        try:
            with database.write() as session:
                codes.redeem(
                    session, parsed=parsed, holder="device:1", branch=session.merge(branch),
                    bill_satang=10000, operation_id="r", now=NOW, real_now=NOW, tz=BANGKOK,
                )  # fmt: skip
            outcomes.append("redeemed")
        except Refused as refusal:
            outcomes.append(refusal.code)

    def erase():
        start.wait()
        with database.write() as session:
            found = session.get(Member, member.id)
            erasure.erase(session, vault, found, asked_by="member", now=NOW)

    threads = [threading.Thread(target=act) for act in (redeem, erase)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.read() as session:
        used = session.scalar(select(func.count()).select_from(Redemption))
        state = session.scalars(select(Voucher.state)).one()
        assert session.get(Member, member.id).state == MemberState.ERASED
        assert proof.check_all(session, NOW) == []
    assert (outcomes, used, state) in (
        (["redeemed"], 1, VoucherState.REDEEMED),
        (["codes.expired"], 0, VoucherState.VOID),
        (["codes.refused"], 0, VoucherState.VOID),
    )


#: Every column in which something personal may stand, and why erasure need not empty it.
KEPT = {"activities.facts": "ids and figures only", "ledger_entries.facts": "branch and amount"}


def test_every_table_with_a_member_is_known_to_erasure():
    """A new table that hangs on a member must be looked at here before it can slip through."""
    known = {
        "activities", "chat_links", "code_tries", "consents", "conversations", "enrolments",
        "erasures", "intents", "join_forms", "ledger_entries", "lots", "member_keys",
        "member_sessions", "member_totals", "menu_links", "messages", "purchases", "redemptions",
        "referrals", "scan_codes", "stage_changes", "stamp_cards", "tickets", "vouchers",
        "cashiers", "members",
        # Figures and ids alone; of an imported line a keyed hash, so that it cannot come back.
        "adjustments", "draw_turns", "earn_rule_awards", "imported_members", "member_tiers",
        "merges", "campaign_recipients", "member_choices", "member_scores", "member_tags",
        "survey_answers", "taps", "consent_asks", "looks", "voucher_gifts",
    }  # fmt: skip
    hanging = {
        table.name
        for table in Base.metadata.sorted_tables
        for key in table.foreign_keys
        if key.column.table.name == "members"
    }
    assert hanging <= known
    assert inspect(Member).columns.keys()


def test_balances_stay_on_the_nameless_account(session, vault):
    member = somebody(session, vault)
    before = points.balance_of(session, member.id, NOW).balance
    erasure.erase(session, vault, member, asked_by="member", now=NOW)
    assert points.balance_of(session, member.id, NOW).balance == before == 20
