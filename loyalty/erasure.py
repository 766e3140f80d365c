"""Leaving: the person is erased by destroying their key, the sums stay (J7, `product.md` 14).

Everything that names the person goes in one transaction: identifiers, sealed data, chats, unsent
messages, stored events, sessions, codes. Ledger, purchases and stamps stay under a row that says
nobody. A journal row without personal data is replayed after a restore.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta

from sqlalchemy import case, delete, or_, select, update
from sqlalchemy.orm import Session

from core import ids
from core.crypto import Vault
from core.db import insert_into
from core.errors import Refused
from loyalty import (
    activities,
    audit,
    consents,
    coupons,
    disputes,
    doors,
    feed,
    members,
    personal,
    points,
    tombstones,
    traces,
)
from models.conversations import Conversation, ConversationLine, ConversationPicture, Ticket
from models.coupons import CodeState, CodeTry, ScanCode
from models.journeys import Enrolment, EnrolmentState, Intent, IntentState
from models.members import (
    IS_GONE,
    ConsentAsk,
    Erasure,
    JoinForm,
    Member,
    MemberKey,
    MemberState,
    Purpose,
)
from models.menus import MenuLink
from models.outbox import Call, CallKind, CallState, Message, MessageState
from models.scores import MemberScore, SurveyAnswer
from models.segments import MemberChoice, MemberTag
from models.staff import Cashier
from models.tiers import MemberTier

REASON = "members.erased"
#: No call is under way for longer; who left before that is not looked at every night.
UNDER_WAY = timedelta(days=30)


def erase(
    session: Session,
    vault: Vault,
    member: Member,
    *,
    asked_by: str,
    now: datetime,
    event_id: int | None = None,
) -> None:
    """Erase this person now. Locks their totals and row; `event_id` is the stored event that asked for it.

    1. Tombstones, so that rejoining brings no second gift.
    2. The key and everything sealed under it, identifiers, consents, sessions.
    3. What was still to be sent or used.
    4. Stored LINE events; then the journal and the fact.
    """
    members.lock_rows(session, member.id)
    points.lock_member(session, member.id)  # before all else, as whatever moves value does
    session.refresh(member, with_for_update=True)
    if member.state == MemberState.ERASED:
        raise Refused("members.unknown", status=404)
    line_user_id, number = member.line_user_id, member.member_no
    phone = personal.phone_of(session, vault, member) if member.phone_proven_at else None
    if member.is_member and line_user_id:
        tombstones.put(session, vault, tombstones.LINE_ID, line_user_id, now)
    if member.is_member and phone:
        tombstones.put(session, vault, tombstones.PHONE, phone, now)
    is_shadow = (Member.merged_into_id == member.id) & (Member.state != MemberState.ERASED)
    shadows = session.scalars(select(Member).where(is_shadow)).all()
    # A backup may be older than the merge, and know each of them as a member.
    journal = [
        {"member_public_id": one.public_id, "asked_by": asked_by, "at": now}
        for one in (member, *shadows)
    ]
    session.execute(
        insert_into(session, Erasure)
        .values(journal)
        .on_conflict_do_nothing(index_elements=["member_public_id"])
    )
    for row in (member, *shadows):  # those keep what an un-merge would bring back
        for purpose in Purpose:
            consents.withdraw(session, row.id, purpose, now)
        _drop_chats(session, row.id)
    _drop_sending(session, member.id, line_user_id, now)
    _void_codes(session, member.id, now)
    disputes.drop(session, member.id, now)
    _leave_menu(session, member.id, line_user_id)
    if line_user_id:
        traces.forget_person(session, line_user_id, event_id)
    numbers = [number] if number else []
    for shadow in shadows:
        numbers += [shadow.member_no] if shadow.member_no else []
        _empty(session, shadow, now)
    _empty(session, member, now)
    audit.record(session, asked_by, "members.erased", {"account": member.id}, now)
    for one in numbers:
        feed.forget_member(session, one)
    feed.write(session, [(feed.LEFT, now, {"member_no": one}) for one in numbers])
    activities.record(
        session, member.id, "members.left", now, {"by": asked_by}, key=f"members.left:{member.id}"
    )


def replay(session: Session, vault: Vault, now: datetime, journal: list[str]) -> int:
    """Erase again whoever a restored backup brought back. Returns how many."""
    found = session.scalars(
        select(Member)
        .where(Member.public_id.in_(journal), Member.state != MemberState.ERASED)
        .order_by(Member.merged_into_id.is_not(None), Member.id)
    ).all()
    for member in found:
        if member.state != MemberState.ERASED:  # not gone along with whom it was merged into
            erase(session, vault, member, asked_by="restore", now=now)
    return len(found)


def _drop_chats(session: Session, member_id: int) -> None:
    conversation_id = select(Conversation.id).where(Conversation.member_id == member_id)
    line_id = select(ConversationLine.id).where(
        ConversationLine.conversation_id.in_(conversation_id)
    )
    session.execute(delete(ConversationPicture).where(ConversationPicture.line_id.in_(line_id)))
    session.execute(
        delete(ConversationLine).where(ConversationLine.conversation_id.in_(conversation_id))
    )
    session.execute(
        update(Ticket).where(Ticket.member_id == member_id).values(conversation_id=None, subject="")
    )
    session.execute(delete(Conversation).where(Conversation.member_id == member_id))
    session.execute(delete(JoinForm).where(JoinForm.member_id == member_id))
    session.execute(delete(CodeTry).where(CodeTry.member_id == member_id))
    session.execute(
        update(SurveyAnswer)
        .where(SurveyAnswer.member_id == member_id)
        .values(why_sealed=None, why_message_id=None)
    )
    for table in (MemberTag, MemberChoice, MemberScore, MemberTier, ConsentAsk):
        session.execute(delete(table).where(table.member_id == member_id))
    doors.close_all(session, member_id)


def _drop_sending(
    session: Session, member_id: int, line_user_id: str | None, now: datetime
) -> None:
    """Drop what has not left, and the bodies of what has: they hold the LINE id and the name."""
    unsent = (MessageState.WAITING, MessageState.CALLING, MessageState.PARKED)
    own_calls = select(Message.call_id).where(
        Message.member_id == member_id, Message.call_id.is_not(None)
    )
    is_own = Call.id.in_(own_calls) & (Call.kind != CallKind.MULTICAST)
    session.execute(
        update(Call)
        .where(is_own, Call.state.in_((CallState.WAITING, CallState.PARKED)))
        .values(state=CallState.DROPPED, finished_at=now)
    )
    # A call whose bytes are under way keeps its body: its outcome is still to be written. It is
    # too late for another try.
    session.execute(
        update(Call).where(is_own, Call.state != CallState.SENDING).values(body=None, answer=None)
    )
    session.execute(
        update(Call).where(is_own, Call.state == CallState.SENDING).values(not_after=now)
    )
    left_alone = _leave_multicasts(session, member_id, line_user_id, now)
    is_unsent = Message.state.in_(unsent) & or_(
        Message.call_id.is_(None),
        Message.call_id.in_(left_alone),
        Message.call_id.in_(
            select(Call.id).where(Call.id.in_(own_calls), Call.state == CallState.DROPPED)
        ),
    )
    session.execute(
        update(Message)
        .where(Message.member_id == member_id)
        .values(
            content=None,
            state=case((is_unsent, MessageState.SKIPPED), else_=Message.state),
            reason=case((is_unsent, REASON), else_=Message.reason),
            finished_at=case((is_unsent, now), else_=Message.finished_at),
        )
        .execution_options(synchronize_session=False)
    )
    session.execute(
        update(Intent)
        .where(Intent.member_id == member_id, Intent.state == IntentState.WAITING)
        .values(state=IntentState.SKIPPED, reason=REASON, decided_at=now)
    )
    session.execute(
        update(Enrolment)
        .where(Enrolment.member_id == member_id, Enrolment.state == EnrolmentState.ACTIVE)
        .values(state=EnrolmentState.EXITED, why_ended=REASON, ended_at=now)
    )


def _leave_multicasts(
    session: Session, member_id: int, line_user_id: str | None, now: datetime
) -> list[int]:
    """Take the LINE id out of calls to many; returns those that had not left yet.

    A body is frozen once its first byte has left, so a call that is being tried stays as it is.
    """
    shared = (
        select(Call)
        .join(Message, Message.call_id == Call.id)
        .where(Message.member_id == member_id, Call.kind == CallKind.MULTICAST)
        .where(Call.state != CallState.SENDING, Call.body.is_not(None))
        .with_for_update(of=Call)
    )
    unsent = []
    for call in session.scalars(shared).all():
        is_tried = call.attempts > 0 and call.state in (CallState.WAITING, CallState.PARKED)
        if is_tried or call.body is None:
            continue
        body = json.loads(call.body)
        body["to"] = [user for user in body["to"] if user != line_user_id]
        call.body = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
        if call.state in (CallState.WAITING, CallState.PARKED):
            unsent.append(call.id)
            call.recipient_count = len(body["to"])
            if not body["to"]:
                call.state, call.finished_at = CallState.DROPPED, now
    session.flush()  # before the messages of these calls are settled
    return unsent


def sweep(session: Session, now: datetime, limit: int) -> int:
    """Empty what could not be emptied at the time: bodies that were under way. Returns how many."""
    gone = select(Member.id).where(IS_GONE, Member.erased_at > now - UNDER_WAY)
    over = (
        select(Call.id)
        .join(Message, Message.call_id == Call.id)
        .where(Message.member_id.in_(gone), Call.kind != CallKind.MULTICAST)
        .where(Call.body.is_not(None), Call.finished_at.is_not(None))
        .limit(limit)
    )
    emptied = session.execute(
        update(Call).where(Call.id.in_(over)).values(body=None, answer=None).returning(Call.id)
    )
    return len(emptied.all())


def _void_codes(session: Session, member_id: int, now: datetime) -> None:
    coupons.void_all(session, member_id, now=now)  # vouchers before codes, as a scan locks them
    session.execute(
        update(ScanCode)
        .where(ScanCode.member_id == member_id, ScanCode.state != CodeState.USED)
        .values(state=CodeState.REVOKED, held_by=None, hold_expires_at=None)
    )
    session.execute(update(Cashier).where(Cashier.member_id == member_id).values(member_id=None))


def _leave_menu(session: Session, member_id: int, line_user_id: str | None) -> None:
    """Let LINE take their menu away: the link keeps the LINE id until then, a week at most."""
    link = session.get(MenuLink, member_id)
    if link is None:
        return
    if line_user_id is None or link.linked_line_menu_id is None:
        session.delete(link)  # LINE shows them the default already
        return
    link.leaving_user_id, link.wanted_key = line_user_id, ""
    link.is_due, link.is_check, link.attempts = True, False, 0


def _empty(session: Session, member: Member, now: datetime) -> None:
    session.execute(delete(MemberKey).where(MemberKey.member_id == member.id))
    for column in (
        "line_user_id", "member_no", "line_name", "name", "picture_url", "profile_due_at",
        "phone_sealed", "phone_index", "phone_last4_index", "phone_proven_at", "phone_proven_by",
        "birthday_sealed", "birthday_index", "birthday_changed_at", "source_code",
        "referral_code", "menu_override",
    ):  # fmt: skip
        setattr(member, column, None)
    member.public_id = ids.public_id()
    member.is_following = False
    member.state = MemberState.ERASED
    member.erased_at = now
    session.flush()  # whoever comes next in this transaction must find nobody
