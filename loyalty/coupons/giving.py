"""Vouchers that staff give by hand (C2): a reason, a ceiling by role, and a second person above it.

As with points by hand: what somebody gives in one local day counts together, above the ceiling of
their role a gift waits until somebody else has agreed, and nobody gives, or agrees to, their own.
"""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.errors import Invalid, NotFound, Refused
from core.sabotage import is_sabotaged
from core.text import fit
from loyalty import points, second_person
from loyalty.coupons.issuing import issue
from models.base import table_of
from models.coupons import Coupon, CouponState, GiftState, Obtained, VoucherGift
from models.members import Member
from models.staff import Role, Staff

GIFTS = table_of(VoucherGift)
#: Who gives, and the setting that holds how many a day alone; who is not named here gives none.
GIFT_CEILINGS = {
    Role.OWNER: "vouchers.owner_ceiling",
    Role.MANAGER: "vouchers.manager_ceiling",
}
#: More than anybody could mean.
MOST_A_DAY = 10_000
#: Offers that may be given by hand; what costs points or a prize's luck is not handed out.
GIVEABLE = (Obtained.STAFF, Obtained.CLAIM, Obtained.JOURNEY)
REASON_LETTERS = 200


def giveable(session: Session) -> list[Coupon]:
    """The live offers that staff may give, those made for it first."""
    found = session.scalars(
        select(Coupon).where(Coupon.state == CouponState.LIVE, Coupon.obtained.in_(GIVEABLE))
    )
    return sorted(found, key=lambda coupon: (coupon.obtained != Obtained.STAFF, coupon.id))


def gift_ceiling(session: Session, role: Role) -> int:
    """Vouchers that somebody of this role may give in a day alone; 0 for nobody's role."""
    return second_person.ceiling(session, GIFT_CEILINGS, role)


def give(
    session: Session,
    coupon_id: int,
    member: Member,
    staff: Staff,
    reason: str,
    key: str,
    now: datetime,
    tz: ZoneInfo,
) -> VoucherGift:
    """Give a voucher by hand; the form's `key` makes a doubled tap one gift. Above the ceiling
    the gift waits.

    Refused: `coupons.may_not_give`, `coupons.not_giveable`, `coupons.own_account`,
    `coupons.sold_out`, and as `issue` refuses; Invalid without a reason. Locks the giver's row,
    so that no two gifts at once pass the ceiling.
    """
    why = fit(reason, REASON_LETTERS, REASON_LETTERS)
    if not why:
        raise Invalid("coupons.reason_needed")
    _refuse_unless_may(session, member.id, staff)
    coupon = _giveable(session, coupon_id)
    if not is_sabotaged("vouchers.giver_lock"):
        second_person.lock_giver(session, staff)
    known = select(VoucherGift).where(VoucherGift.staff_id == staff.id, VoucherGift.key == key)
    if (made := session.scalar(known)) is not None:
        return made
    is_within = given_today(session, staff, now, tz) < gift_ceiling(session, staff.role)
    gift = VoucherGift(
        coupon_id=coupon.id, member_id=member.id, reason=why, staff_id=staff.id, key=key, at=now,
        state=GiftState.WAITING,
    )  # fmt: skip
    if is_within:
        gift.state, gift.voucher_id = GiftState.DONE, _issue(session, gift, coupon, now, tz)
    session.add(gift)
    session.flush()
    return gift


def given_today(session: Session, staff: Staff, now: datetime, tz: ZoneInfo) -> int:
    """How many vouchers this person has given today without anybody else."""
    alone = select(func.count()).where(
        second_person.is_given_alone(GIFTS, staff, now, tz),
        GIFTS.c.state == GiftState.DONE,
    )
    return int(session.scalar(alone) or 0)


def decide_gift(
    session: Session,
    gift_id: int,
    *,
    staff: Staff,
    is_agreed: bool,
    now: datetime,
    tz: ZoneInfo,
) -> VoucherGift:
    """A second person agrees or refuses; once.

    Refused: `adjustments.same_person`, `adjustments.already_decided`, `members.not_joined`, and
    as `give` refuses; what was refused waits on.
    """
    gift = session.get(VoucherGift, gift_id)
    if gift is None:
        raise NotFound
    if gift.staff_id == staff.id:
        raise Refused("adjustments.same_person", status=403)
    points.lock_member(session, gift.member_id)  # first, as a merge does, which hands the row on
    session.refresh(gift)
    _refuse_unless_may(session, gift.member_id, staff)
    # Decided first, done with its voucher: who comes second finds nothing that waits.
    second_person.take_decision(
        session, GIFTS, gift_id, staff=staff, waiting=GiftState.WAITING,
        values={"state": GiftState.REFUSED, "voucher_id": None}, now=now, sabotage="vouchers.once",
    )  # fmt: skip
    session.refresh(gift)
    if is_agreed:
        if not session.get_one(Member, gift.member_id).is_member:
            raise Refused("members.not_joined")
        coupon = _giveable(session, gift.coupon_id)
        gift.state, gift.voucher_id = GiftState.DONE, _issue(session, gift, coupon, now, tz)
        session.flush()
    return gift


def _giveable(session: Session, coupon_id: int) -> Coupon:
    coupon = session.get(Coupon, coupon_id)
    if coupon is None or coupon.state != CouponState.LIVE or coupon.obtained not in GIVEABLE:
        raise NotFound("coupons.not_giveable")
    return coupon


def _issue(session: Session, gift: VoucherGift, coupon: Coupon, now: datetime, tz: ZoneInfo) -> int:
    voucher = issue(
        session, coupon, gift.member_id, source="staff",
        source_id=f"{gift.staff_id}:{gift.key}", now=now, tz=tz,
    )  # fmt: skip
    if voucher is None:
        raise Refused("coupons.sold_out")
    return voucher.id


def _refuse_unless_may(session: Session, member_id: int, staff: Staff) -> None:
    if staff.role not in GIFT_CEILINGS:
        raise Refused("coupons.may_not_give", status=403)
    if second_person.is_own_account(session, member_id, staff):
        raise Refused("coupons.own_account", status=403)
