"""Where a friend came from: source codes, and members who invite (J5).

A code counts until joining ends. The friend's and the referrer's gifts come with a later issue;
the fact is kept from now on.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import case, func, select
from sqlalchemy.orm import Session

from core.db import insert_into
from core.text import match_key
from loyalty import activities
from models.members import Member, MemberState, Referral, SourceCode

UNKNOWN_SOURCE = "unknown"
FRIEND_SOURCE = "friend"
MAX_CODE_LETTERS = 64
#: How far up "who brought whom" is followed to refuse loops.
MAX_LOOP_STEPS = 20


@dataclass(frozen=True)
class Invited:
    """What became of a member's invitations."""

    joined: int
    bought: int


def note_code(session: Session, member: Member, code: str, now: datetime) -> str | None:
    """Keep a source or referral code of somebody not yet joined; its kind, or None if refused."""
    if member.state != MemberState.FRIEND:
        return None
    wanted = normalised(code)
    if not wanted:
        return None
    source = session.scalar(
        select(SourceCode).where(SourceCode.code == wanted, SourceCode.is_active)
    )
    if source is not None:
        member.source_code = source.code
        return source.kind
    return FRIEND_SOURCE if _refer(session, member, wanted, now) else None


def _refer(session: Session, friend: Member, code: str, now: datetime) -> bool:
    referrer = session.scalar(
        select(Member).where(Member.referral_code == code, Member.state == MemberState.MEMBER)
    )
    if referrer is None or referrer.id == friend.id or _leads_to(session, referrer, friend):
        return False
    made = session.scalar(
        insert_into(session, Referral)
        .values(friend_id=friend.id, referrer_id=referrer.id, at=now)
        .on_conflict_do_nothing(index_elements=["friend_id"])
        .returning(Referral.id)
    )
    if made is None:
        return False
    member_code = friend.source_code or code
    friend.source_code = member_code
    activities.record(session, referrer.id, "referrals.invited", now, {"referral_id": made})
    return True


def _leads_to(session: Session, referrer: Member, friend: Member) -> bool:
    """Whether `friend` stands somewhere above `referrer` in who brought whom."""
    current: int | None = referrer.id
    for _ in range(MAX_LOOP_STEPS):
        current = session.scalar(select(Referral.referrer_id).where(Referral.friend_id == current))
        if current is None:
            return False
        if current == friend.id:
            return True
    return True


def close(session: Session, member: Member, now: datetime) -> str:
    """Joining has ended: settle where the member came from, and tell the referrer's timeline."""
    referral = session.scalar(select(Referral).where(Referral.friend_id == member.id))
    if referral is not None:
        referral.joined_at = now
        facts = {"referral_id": referral.id}
        activities.record(session, referral.referrer_id, "referrals.joined", now, facts)
        return FRIEND_SOURCE
    kind = session.scalar(select(SourceCode.kind).where(SourceCode.code == member.source_code))
    return kind or UNKNOWN_SOURCE


def is_referred(session: Session, member: Member) -> bool:
    """Whether somebody has brought this person."""
    found = select(Referral.id).where(Referral.friend_id == member.id)
    return session.scalar(found) is not None


def invited_by(session: Session, member: Member) -> Invited:
    """How many friends a member has brought so far."""
    joined, bought = session.execute(
        select(
            func.count(case((Referral.joined_at.is_not(None), 1))),
            func.count(case((Referral.bought_at.is_not(None), 1))),
        ).where(Referral.referrer_id == member.id)
    ).one()
    return Invited(joined, bought)


def normalised(code: str) -> str:
    """A typed code as stored: upper case, no spaces; empty when it cannot be one."""
    key = match_key(code).upper().replace(" ", "").replace("-", "")
    return key if len(key) <= MAX_CODE_LETTERS else ""
