"""What a change of tier gives and takes (R2), and the events that may change a tier."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from zoneinfo import ZoneInfo

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.runtime import Runtime
from loyalty import coupons, tiers
from loyalty.tiers import Move
from models.activities import Activity
from models.coupons import Coupon, CouponState, Voucher
from models.tiers import Tier

SOURCE = "tier"
#: Facts after which a member's figures differ, and whether something was taken off them.
MOVING = {
    "purchases.recorded": False,
    "purchases.returned": True,
    "members.merged": False,
    "members.unmerged": True,
    "members.parted": False,
}


def react(runtime: Runtime, session: Session, activities: list[Activity], now: datetime) -> None:
    """The `Reaction` of tiers: a bill lifts at once, a return takes back what it had lifted."""
    touched: dict[int, bool] = {}
    buyers = {one.member_id for one in activities if one.kind.startswith("purchases.")}
    for activity in activities:
        if activity.kind in MOVING:
            is_return = MOVING[activity.kind]
            touched[activity.member_id] = touched.get(activity.member_id, False) or is_return
    tz = runtime.clock.tz
    for member_id, after_return in sorted(touched.items()):
        # Whoever recorded a bill or its return has locked the member until commit.
        is_locked = member_id in buyers
        requalify(session, member_id, now, tz, after_return=after_return, is_locked=is_locked)


def requalify(
    session: Session,
    member_id: int,
    now: datetime,
    tz: ZoneInfo,
    *,
    after_return: bool = False,
    is_locked: bool = False,
) -> list[Move]:
    """`tiers.requalify`, with what its changes give and take."""
    moves = tiers.requalify(
        session, member_id, now, tz, after_return=after_return, is_locked=is_locked
    )
    return _settle(session, moves, now, tz)


def set_by_hand(
    session: Session,
    member_id: int,
    tier: Tier,
    until: date,
    *,
    reason: str,
    staff_id: int,
    now: datetime,
    tz: ZoneInfo,
) -> list[Move]:
    """`tiers.set_by_hand`, with the entry vouchers of the tier."""
    moves = tiers.set_by_hand(
        session, member_id, tier, until, reason=reason, staff_id=staff_id, now=now, tz=tz
    )
    return _settle(session, moves, now, tz)


def end_by_hand(session: Session, member_id: int, now: datetime, tz: ZoneInfo) -> list[Move]:
    """`tiers.end_by_hand`, with what it gives and takes."""
    return _settle(session, tiers.end_by_hand(session, member_id, now, tz), now, tz)


def end_due(session: Session, now: datetime, tz: ZoneInfo, limit: int) -> int:
    """Decide up to `limit` holds that have ended, each as of its own end; returns how many."""
    due = tiers.due_members(session, now, limit)
    for member_id in sorted(due):
        requalify(session, member_id, now, tz)
    return len(due)


def lift_late(
    session: Session, now: datetime, tz: ZoneInfo, *, after_id: int, limit: int
) -> tuple[int, int]:
    """Lift members who qualify since the owner changed the ladder; see `tiers.late_climbers`.

    Returns (members lifted, last id looked at); the id is 0 when none was left to look at.
    """
    climbers, last_id = tiers.late_climbers(session, now, tz, after_id=after_id, limit=limit)
    for member_id in climbers:
        requalify(session, member_id, now, tz)
    return len(climbers), last_id


def birthday_coupon(session: Session, member_id: int, now: datetime) -> str | None:
    """The key of the birthday gift of this member's tier, if it has one of its own."""
    tier = tiers.tier_of(session, member_id, now)
    key = tier.benefits.get("birthday_coupon") if tier is not None else None
    return str(key) if key else None


def code_coupon(session: Session, tier: Tier) -> Coupon | None:
    """The offer behind the tier's own discount code."""
    return next(iter(_coupons(session, [tier.benefits.get("code_coupon") or ""])), None)


def entry_coupons(session: Session, tier: Tier) -> list[Coupon]:
    """The offers a member is given on reaching this tier."""
    return _coupons(session, tier.benefits.get("entry_coupons") or [])


def _settle(session: Session, moves: list[Move], now: datetime, tz: ZoneInfo) -> list[Move]:
    for move in moves:
        if move.is_up and move.after is not None and move.cause != "reversed":
            _give_entry(session, move, move.after, now, tz)
        elif move.cause == "reversed" and move.before is not None:
            _take_entry(session, move.member_id, move.before, now)
    return moves


def _give_entry(session: Session, move: Move, tier: Tier, now: datetime, tz: ZoneInfo) -> None:
    """Entry vouchers, once for each reaching: reached, undone and reached again is one."""
    cause = _cause(session, move.member_id, tier)
    for coupon in entry_coupons(session, tier):
        coupons.issue(
            session, coupon, move.member_id, source=SOURCE, source_id=cause, now=now, tz=tz
        )


def _take_entry(session: Session, member_id: int, tier: Tier, now: datetime) -> None:
    """What an undone reaching gave goes with it, unless it was used."""
    given = select(Voucher).where(
        Voucher.member_id == member_id,
        Voucher.source == SOURCE,
        Voucher.source_id == _cause(session, member_id, tier),
    )
    for voucher in _by_coupon(session.scalars(given).all()):
        coupons.void(session, voucher, now=now, reason="tiers.reversed")


def _by_coupon(vouchers: Iterable[Voucher]) -> list[Voucher]:
    return sorted(vouchers, key=lambda voucher: voucher.coupon_id)


def _cause(session: Session, member_id: int, tier: Tier) -> str:
    session.flush()  # changes of this transaction count
    return f"{tier.key}:{tiers.reachings_of(session, member_id, tier) + 1}"


def _coupons(session: Session, keys: Sequence[str]) -> list[Coupon]:
    if not any(keys):
        return []
    live = select(Coupon).where(Coupon.key.in_(list(keys)), Coupon.state == CouponState.LIVE)
    return sorted(session.scalars(live), key=lambda coupon: coupon.id)
