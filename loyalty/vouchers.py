"""A member's own voucher on their own page: whose it is, and why it cannot be used."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.errors import Refused
from loyalty import codes, coupons
from models.coupons import Redemption, Voucher, VoucherState
from models.members import Member, MemberTotals
from models.staff import Branch


@dataclass(frozen=True)
class Use:
    """A voucher's last use, for the member's page."""

    at: datetime
    branch_th: str
    branch_en: str
    discount_satang: int


def own(session: Session, member_id: int, public_id: str) -> Voucher | None:
    """This member's voucher of this id; somebody else's looks like one that never was."""
    return session.scalar(
        select(Voucher).where(Voucher.public_id == public_id, Voucher.member_id == member_id)
    )


def refusal(session: Session, voucher: Voucher, now: datetime, tz: ZoneInfo) -> Refused | None:
    """Why a voucher cannot be used any more; None while it can."""
    if voucher.state == VoucherState.REDEEMED:
        return coupons.used_refusal(session, voucher, tz)
    is_over = voucher.expires_at is not None and voucher.expires_at <= now
    if is_over or voucher.state == VoucherState.EXPIRED:
        return Refused("coupons.expired")
    return Refused("coupons.void") if voucher.state == VoucherState.VOID else None


def waits_for_proof(session: Session, voucher: Voucher, member: Member) -> bool:
    """Whether it can be used only with a first purchase, or once the phone is proven (J6)."""
    if not voucher.needs_proof or member.phone_proven_at is not None:
        return False
    totals = session.get(MemberTotals, member.id)
    return totals is None or totals.purchase_count == 0


def is_at_till(session: Session, voucher: Voucher, real_now: datetime) -> bool:
    """Whether a till holds it at this moment: no new code is shown then (C5).

    A hold that ran out leaves the voucher's state as it was until somebody scans it again.
    """
    if voucher.state != VoucherState.HELD:
        return False
    return codes.live_hold(session, voucher.id, real_now) is not None


def last_use(session: Session, voucher: Voucher) -> Use | None:
    """When and where it was used last."""
    row = session.execute(
        select(Redemption.at, Branch.name_th, Branch.name_en, Redemption.discount_satang)
        .join(Branch, Branch.id == Redemption.branch_id)
        .where(Redemption.voucher_id == voucher.id, Redemption.reversed_at.is_(None))
        .order_by(Redemption.id.desc())
        .limit(1)
    ).first()
    return Use(*row) if row else None
