"""Typed codes: tries counted in the database, one answer for every refusal (C8)."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.clock import start_of_day
from core.db import insert_into
from core.errors import Refused
from core.text import match_key
from loyalty import earning
from loyalty.coupons.issuing import record_claim, take
from loyalty.coupons.rows import TRIES
from models.coupons import (
    Coupon,
    Obtained,
    Voucher,
)
from models.members import Member

TRIES_A_MINUTE = 5
TRIES_A_DAY = 20


def claim_by_code(
    session: Session, text: str, member: Member, now: datetime, real_now: datetime, tz: ZoneInfo
) -> Voucher:
    """Take a voucher by a typed code (C8); every refusal but the limit of tries looks the same.

    The try is counted in this transaction even when the code is refused, so the edge commits
    after a refusal.
    """
    count_try(session, member.id, real_now, tz)
    typed = match_key(text).replace(" ", "").replace("-", "")
    found = select(Coupon).where(Coupon.typed_code == typed.upper())
    coupon = session.scalars(found).first()
    if coupon is None or coupon.obtained != Obtained.CODE:
        raise Refused("codes.refused")
    try:
        voucher = take(session, coupon, member, "code", now, tz)
    except Refused as refusal:
        raise Refused("codes.refused") from refusal
    record_claim(session, voucher, now)
    return voucher


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
        new = insert_into(session, TRIES).values(member_id=member_id, window=window, count=1)
        counted = new.on_conflict_do_update(
            index_elements=["member_id", "window"], set_={"count": TRIES.c.count + 1}
        ).returning(TRIES.c.count)
        if session.execute(counted).scalar_one() > limit:
            raise Refused("errors.too_many", status=429, minutes=minutes)
