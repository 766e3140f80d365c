"""Typed codes: tries counted in the database, one answer for every refusal (C8).

An offer's own code is good for everybody it is for; a generated one for whoever types it first,
taken by one conditional update in the transaction of its voucher. Every refusal asks the database
the same questions, so that its time tells nothing either.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import and_, delete, exists, func, or_, select, update
from sqlalchemy.orm import Session

from core.clock import start_of_day
from core.db import insert_into
from core.errors import Refused
from core.sabotage import is_sabotaged
from core.text import match_key
from loyalty import earning, points
from loyalty.coupons.conditions import Conditions, Standing, standing_of
from loyalty.coupons.issuing import refuse_closed, take
from loyalty.coupons.offers import copies_of
from loyalty.coupons.rows import TRIES
from models.base import table_of
from models.coupons import CodeBatch, Coupon, Obtained, TypedCode, Voucher
from models.members import Member

TRIES_A_MINUTE = 5
TRIES_A_DAY = 20
CODES = table_of(TypedCode)
BATCHES = table_of(CodeBatch)


@dataclass(frozen=True)
class Found:
    """What a typed text means: the offer, and the generated code that names it."""

    coupon: Coupon | None
    code_id: int | None


def code_key(text: str) -> str:
    """A code as it is kept: capitals, without spaces and dashes."""
    return match_key(text).replace(" ", "").replace("-", "").upper()


def claim_by_code(
    session: Session, text: str, member: Member, now: datetime, real_now: datetime, tz: ZoneInfo
) -> Voucher:
    """Take a voucher by a typed code (C8); every refusal but the limit of tries looks the same.

    The try is counted in this transaction even when the code is refused, so the edge commits
    after a refusal.
    """
    count_try(session, member.id, real_now, tz)
    found = _find(session, code_key(text), now)
    points.lock_member(session, member.id)
    owned = copies_of(session, member.id, [found.coupon.id if found.coupon else 0])
    standing = standing_of(session, member.id, now)
    if not member.is_member or not _is_for(found.coupon, standing):
        raise Refused("codes.refused")
    try:
        with session.begin_nested():
            return _take(session, found, member, owned, standing, now, tz)
    except Refused as refusal:
        raise Refused("codes.refused") from refusal


def _find(session: Session, typed: str, now: datetime) -> Found:
    """Both look-ups, always: a wrong code takes no shorter way than a spent one."""
    offer = session.scalars(
        select(Coupon).where(Coupon.typed_code == typed, Coupon.obtained == Obtained.CODE)
    ).first()
    made = session.execute(
        select(CODES.c.id, BATCHES.c.coupon_id, CODES.c.used_at)
        .join(BATCHES, BATCHES.c.id == CODES.c.batch_id)
        .where(CODES.c.code == typed, _is_good(now))
    ).first()
    code_id = made.id if made is not None else None
    coupon = session.get(Coupon, made.coupon_id if made is not None else 0)
    if made is not None and made.used_at is not None and not is_sabotaged("codes.typed_once"):
        return Found(None, None)
    return Found(offer, None) if offer is not None else Found(coupon, code_id)


def _is_good(now: datetime) -> Any:
    return and_(
        BATCHES.c.voided_at.is_(None),
        or_(BATCHES.c.ends_at.is_(None), BATCHES.c.ends_at > now),
    )


def _is_for(coupon: Coupon | None, standing: Standing) -> bool:
    """Whether there is such an offer and it is for this tier; nobody is told which."""
    if coupon is None or coupon.obtained != Obtained.CODE:
        return False
    wanted = Conditions.of(coupon).tiers
    return not wanted or standing.tier in wanted


def _take(
    session: Session,
    found: Found,
    member: Member,
    owned: dict[int, int],
    standing: Standing,
    now: datetime,
    tz: ZoneInfo,
) -> Voucher:
    coupon = found.coupon
    assert coupon is not None
    refuse_closed(session, coupon, member, now, tz, standing)
    if owned.get(coupon.id, 0) >= coupon.per_member:
        raise Refused("coupons.already_claimed")
    if found.code_id is not None and not _use_code(session, found.code_id, now):
        raise Refused("codes.refused")
    key = str(found.code_id) if found.code_id is not None else None
    return take(session, coupon, member, "code", now, tz, key=key)


def _use_code(session: Session, code_id: int, now: datetime) -> bool:
    """Take a generated code, once, from a batch that is still good: check and act are one."""
    unused = and_(CODES.c.id == code_id, CODES.c.used_at.is_(None))
    if is_sabotaged("codes.typed_once"):
        unused = CODES.c.id == code_id
    good = exists().where(BATCHES.c.id == CODES.c.batch_id, _is_good(now))
    taken: Any = session.connection().execute(update(CODES).where(unused, good).values(used_at=now))
    return bool(taken.rowcount == 1)


def count_try(session: Session, member_id: int, real_now: datetime, tz: ZoneInfo) -> None:
    """Count one typed code; Refused `errors.too_many` above 5 a minute or 20 a day.

    Both counters are rows, so every process counts together; success never resets them.
    """
    local = real_now.astimezone(tz)
    midnight = start_of_day(earning.day_after(local.date()), tz)
    minutes_left = int((midnight - real_now).total_seconds()) // 60 + 1
    limits = (
        (f"d:{local:%Y-%m-%d}", TRIES_A_DAY, minutes_left),
        (f"m:{local:%Y-%m-%dT%H:%M}", TRIES_A_MINUTE, 1),
    )
    for window, limit, minutes in limits:
        if _count(session, member_id, window) > limit:
            raise Refused("errors.too_many", status=429, minutes=minutes)


def forget_tries(session: Session, real_now: datetime, limit: int) -> int:
    """Delete counters of days that are over everywhere; returns how many, at most `limit`."""
    day = (real_now - timedelta(days=2)).date().isoformat()
    first = select(TRIES.c.id, TRIES.c.window).order_by(TRIES.c.id).limit(limit).subquery()
    old = select(first.c.id).where(func.substr(first.c.window, 3, len(day)) < day)
    gone: Any = session.connection().execute(
        delete(TRIES).where(TRIES.c.id.in_(old.scalar_subquery()))
    )
    return int(gone.rowcount)


def _count(session: Session, member_id: int, window: str) -> int:
    if is_sabotaged("codes.tries"):  # looks, and never writes what it saw
        seen = select(TRIES.c.count).where(TRIES.c.member_id == member_id, TRIES.c.window == window)
        return int(session.execute(seen).scalar() or 0) + 1
    new = insert_into(session, TRIES).values(member_id=member_id, window=window, count=1)
    counted = new.on_conflict_do_update(
        index_elements=["member_id", "window"], set_={"count": TRIES.c.count + 1}
    ).returning(TRIES.c.count)
    return int(session.execute(counted).scalar_one())
