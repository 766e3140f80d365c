"""`โค้ด X`: a source, referral or coupon code typed by hand, with one answer for every refusal (C8).

Tries are counted in the database, 5 a minute and 20 a day per person; a hit never resets them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from sqlalchemy.orm import Session

from core.errors import Refused
from loyalty import coupons, referrals
from models.coupons import Voucher
from models.members import Member


@dataclass(frozen=True)
class Used:
    """What a code did: gave a voucher, or told where a friend comes from."""

    voucher: Voucher | None = None
    source: str | None = None


def use(
    session: Session, member: Member, text: str, now: datetime, real_now: datetime, tz: ZoneInfo
) -> Used:
    """Do what the code says: a coupon for members, where they come from for everybody else.

    Raises Refused `codes.refused` whatever the reason, or `errors.too_many`. The try is counted
    even then, so the edge keeps the transaction.
    """
    if member.is_member:
        voucher = coupons.claim_by_code(session, text, member, now, real_now, tz)
        return Used(voucher=voucher)
    coupons.count_try(session, member.id, real_now, tz)
    source = referrals.note_code(session, member, text, now)
    if source is None:
        raise Refused("codes.refused")
    return Used(source=source)
