"""Where a friend came from (J5), and what it brings both when a member has invited (R4).

A code counts until joining ends. The friend's gift comes with joining, the referrer's with the
friend's first bill of at least X. What is refused keeps its reason, and brings nobody anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import and_, case, func, or_, select, update
from sqlalchemy.orm import Session, aliased

from core.crypto import Vault
from core.db import insert_into
from core.runtime import Runtime
from core.sabotage import is_sabotaged
from core.text import match_key
from loyalty import activities, coupons, members, personal, shop, tombstones
from models.activities import Activity
from models.base import table_of
from models.coupons import Coupon, CouponState, Voucher
from models.members import Member, MemberState, Referral, SourceCode
from models.purchases import Purchase, PurchaseState

UNKNOWN_SOURCE = "unknown"
FRIEND_SOURCE = "friend"
MAX_CODE_LETTERS = 64
#: What the gifts' vouchers come from.
SOURCE = "referral"
REFERRALS = table_of(Referral)
#: Why a referral brings nobody anything.
LOOP, SAME_PHONE, KNOWN_PHONE, REJOINED = "loop", "same_phone", "known_phone", "rejoined"
REFUSALS = (LOOP, SAME_PHONE, KNOWN_PHONE, REJOINED)


class Step(StrEnum):
    """How far an invitation has come."""

    INVITED = "invited"
    JOINED = "joined"
    BOUGHT = "bought"
    REWARDED = "rewarded"
    REFUSED = "refused"


@dataclass(frozen=True)
class Status:
    """One invitation as its two people may see it: a masked name, how far, since when."""

    name: str
    step: Step
    at: datetime
    refused: str | None


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
    if referrer is None or referrer.id == friend.id:
        return False
    refused = LOOP if _leads_to(session, referrer, friend) else None
    new = insert_into(session, Referral).values(
        friend_id=friend.id, referrer_id=referrer.id, at=now, refused=refused
    )
    # The first code counts; only a refused one makes room for another.
    again = {"referrer_id": referrer.id, "at": now, "refused": refused}
    made = session.scalar(
        new.on_conflict_do_update(
            index_elements=["friend_id"],
            set_=again,
            where=and_(REFERRALS.c.refused.is_not(None), REFERRALS.c.joined_at.is_(None)),
        ).returning(Referral.id)
    )
    if made is None or refused is not None:
        return False
    member_code = friend.source_code or code
    friend.source_code = member_code
    activities.record(session, referrer.id, "referrals.invited", now, {"referral_id": made})
    return True


def _leads_to(session: Session, referrer: Member, friend: Member) -> bool:
    """Whether `friend` stands somewhere above `referrer` in who brought whom.

    However long the way is; one that runs in a circle of others (a refused loop) ends as well.
    """
    above = select(Referral.referrer_id.label("id")).where(Referral.friend_id == referrer.id)
    line = above.cte("line", recursive=True)
    line = line.union(
        select(Referral.referrer_id).join(line, Referral.friend_id == line.c.id)
    )  # not UNION ALL: nobody is looked at twice
    return session.scalar(select(line.c.id).where(line.c.id == friend.id)) is not None


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


def react(runtime: Runtime, session: Session, activities_: list[Activity], now: datetime) -> None:
    """The `Reaction` of referrals: joining, proving a phone, a first bill, and its return."""
    tz = runtime.clock.tz
    for activity in activities_:
        if activity.kind == "members.joined":
            welcome(session, runtime.vault, activity.member_id, now, tz)
        elif activity.kind == "members.phone_proven":
            look_again(session, runtime.vault, activity.member_id, now)
        elif activity.kind == "purchases.recorded":
            reward(session, runtime.vault, activity.member_id, now, tz)
        elif activity.kind == "purchases.returned":
            take_back(session, activity.member_id, now)


def welcome(
    session: Session, vault: Vault, friend_id: int, now: datetime, tz: ZoneInfo
) -> Voucher | None:
    """The friend has joined: their gift, or the reason why there is none."""
    referral = _referral_of(session, friend_id)
    if referral is None or referral.refused is not None:
        return None
    if _refuse(session, vault, referral, now):
        return None
    gift = _gift(session, "referrals.friend_gift")
    if gift is None:
        return None
    return coupons.issue(
        session,
        gift,
        friend_id,
        source=SOURCE,
        source_id=f"friend:{referral.id}",
        now=now,
        tz=tz,
        needs_proof=True,
    )


def look_again(session: Session, vault: Vault, friend_id: int, now: datetime) -> None:
    """A phone was proven: it may show whose second account this is."""
    referral = _referral_of(session, friend_id)
    if referral is None or referral.refused is not None or referral.rewarded_at is not None:
        return
    if _refuse(session, vault, referral, now):
        _void_unused(session, friend_id, f"friend:{referral.id}", now)


def reward(
    session: Session, vault: Vault, friend_id: int, now: datetime, tz: ZoneInfo
) -> Voucher | None:
    """The friend's first bill of at least X: the referrer's gift, once."""
    referral = _referral_of(session, friend_id)
    if referral is None or referral.joined_at is None or referral.refused is not None:
        return None
    gift = _gift(session, "referrals.referrer_gift")
    if referral.rewarded_at is not None or gift is None or not _has_bought(session, friend_id):
        return None
    if _refuse(session, vault, referral, now):
        _void_unused(session, friend_id, f"friend:{referral.id}", now)
        return None
    if not session.get_one(Member, referral.referrer_id).is_member:
        return None  # they have left: nobody could use the gift
    guard = and_(REFERRALS.c.id == referral.id, REFERRALS.c.rewarded_at.is_(None))
    if is_sabotaged("referrals.once"):
        guard = REFERRALS.c.id == referral.id
    done: Any = session.connection().execute(update(REFERRALS).where(guard).values(rewarded_at=now))
    session.expire(referral)
    if done.rowcount != 1:
        return None
    source_id = f"referrer:{referral.id}"
    if is_sabotaged("referrals.once"):
        source_id += f":{now.timestamp()}:{id(session)}"
    voucher = coupons.issue(
        session, gift, referral.referrer_id, source=SOURCE, source_id=source_id, now=now, tz=tz
    )
    if voucher is None:  # the offer has ended: nothing was given, so nothing is promised
        referral.rewarded_at = None
        return None
    facts = {"referral_id": referral.id, "voucher_id": voucher.id}
    activities.record(session, referral.referrer_id, "referrals.rewarded", now, facts)
    return voucher


def take_back(session: Session, friend_id: int, now: datetime) -> bool:
    """The friend's bill was returned: without another one, an unused gift goes back (R4)."""
    referral = _referral_of(session, friend_id)
    if referral is None or referral.rewarded_at is None or _has_bought(session, friend_id):
        return False
    if not _void_unused(session, referral.referrer_id, f"referrer:{referral.id}", now):
        return False  # it was used: it stays, and no second one follows
    referral.rewarded_at = None
    facts = {"referral_id": referral.id}
    activities.record(session, referral.referrer_id, "referrals.taken_back", now, facts)
    return True


def _referral_of(session: Session, friend_id: int) -> Referral | None:
    session.flush()  # reading it again would lose what was not yet written
    found = select(Referral).where(Referral.friend_id == friend_id)
    return session.scalars(found, execution_options={"populate_existing": True}).first()


def _refuse(session: Session, vault: Vault, referral: Referral, now: datetime) -> bool:
    """Keep why this referral brings nothing, if there is a reason."""
    friend = session.get_one(Member, referral.friend_id)
    referrer = session.get_one(Member, referral.referrer_id)
    referral.refused = _why_refused(session, vault, friend, referrer, now)
    if referral.refused is not None:
        facts = {"referral_id": referral.id, "why": referral.refused}
        activities.record(session, referrer.id, "referrals.refused", now, facts)
    return referral.refused is not None


def _why_refused(
    session: Session, vault: Vault, friend: Member, referrer: Member, now: datetime
) -> str | None:
    if _leads_to(session, referrer, friend):
        return LOOP
    if friend.phone_index is not None:
        if friend.phone_index == referrer.phone_index:
            return SAME_PHONE
        proven = select(Member.id).where(
            Member.phone_index == friend.phone_index,
            Member.phone_proven_at.is_not(None),
            Member.id != friend.id,
        )
        if session.scalar(proven) is not None:
            return KNOWN_PHONE
    phone = personal.phone_of(session, vault, friend)
    if tombstones.is_known(session, vault, tombstones.LINE_ID, friend.line_user_id, now):
        return REJOINED
    return REJOINED if tombstones.is_known(session, vault, tombstones.PHONE, phone, now) else None


def _has_bought(session: Session, friend_id: int) -> bool:
    """Whether a bill of at least X stands, less what was returned of it."""
    least = least_bill(session)
    session.flush()  # the bill may have just been written
    bills = select(Purchase.id).where(
        Purchase.member_id == friend_id,
        Purchase.state != PurchaseState.VOIDED,
        Purchase.amount_satang - Purchase.returned_satang >= least,
    )
    return session.scalars(bills.limit(1)).first() is not None


def gifts(session: Session) -> tuple[Coupon | None, Coupon | None]:
    """What friend and referrer get; None for a gift that is off."""
    return _gift(session, "referrals.friend_gift"), _gift(session, "referrals.referrer_gift")


def least_bill(session: Session) -> int:
    """The first bill of a friend that rewards, in satang."""
    return int(shop.get(session, "referrals.min_satang"))


def _gift(session: Session, setting: str) -> Coupon | None:
    key = shop.get(session, setting)
    if not key:
        return None
    return session.scalar(select(Coupon).where(Coupon.key == key, Coupon.state == CouponState.LIVE))


def _void_unused(session: Session, member_id: int, source_id: str, now: datetime) -> bool:
    given = select(Voucher).where(
        Voucher.member_id == member_id, Voucher.source == SOURCE, Voucher.source_id == source_id
    )
    voucher = session.scalars(given).first()
    return voucher is not None and coupons.void(
        session, voucher, now=now, reason="referrals.taken_back"
    )


def statuses_of(session: Session, member: Member, limit: int = 50) -> list[Status]:
    """The friends this member has invited, newest first."""
    friend = aliased(Member)
    rows = session.execute(
        select(Referral, friend)
        .join(friend, friend.id == Referral.friend_id)
        .where(
            Referral.referrer_id == member.id,
            or_(Referral.refused.is_(None), Referral.joined_at.is_not(None)),
        )
        .order_by(Referral.at.desc(), Referral.id.desc())
        .limit(limit)
    )
    return [_status(referral, person) for referral, person in rows]


def brought_by(session: Session, member: Member) -> Status | None:
    """Who invited this member, and how far that has come."""
    row = session.execute(
        select(Referral, Member)
        .join(Member, Member.id == Referral.referrer_id)
        .where(Referral.friend_id == member.id)
    ).first()
    return _status(row[0], row[1]) if row else None


def newest(session: Session, limit: int, offset: int = 0) -> Sequence[Any]:
    """(referral, friend, referrer) of all invitations, newest first, for the console."""
    friend, referrer = aliased(Member), aliased(Member)
    return session.execute(
        select(Referral, friend, referrer)
        .join(friend, friend.id == Referral.friend_id)
        .join(referrer, referrer.id == Referral.referrer_id)
        .order_by(Referral.id.desc())
        .limit(limit)
        .offset(offset)
    ).all()


def step_of(referral: Referral) -> Step:
    """How far an invitation has come."""
    if referral.refused is not None:
        return Step.REFUSED
    if referral.rewarded_at is not None:
        return Step.REWARDED
    if referral.bought_at is not None:
        return Step.BOUGHT
    return Step.JOINED if referral.joined_at is not None else Step.INVITED


def _status(referral: Referral, person: Member) -> Status:
    at = referral.rewarded_at or referral.bought_at or referral.joined_at or referral.at
    return Status(
        members.masked(members.shown_name(person)), step_of(referral), at, referral.refused
    )


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
