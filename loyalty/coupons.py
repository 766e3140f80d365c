"""Coupons and vouchers: who may have one, how many there are, what one takes off a bill.

Scarce things move by one guarded statement each (C4): the coupon's counter by an UPDATE that the
stock itself allows, a voucher's state by compare-and-set. Whatever is refused leaves nothing behind.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import and_, delete, exists, func, or_, select, update
from sqlalchemy.orm import Session

from core import ids
from core.clock import local_day, start_of_day
from core.db import insert_into
from core.errors import NotFound, Refused
from core.i18n import money
from core.sabotage import is_sabotaged
from core.text import match_key
from loyalty import activities, earning, points
from models.base import table_of
from models.coupons import (
    CodeState,
    CodeTry,
    Coupon,
    CouponKind,
    CouponState,
    Obtained,
    Redemption,
    ScanCode,
    Voucher,
    VoucherState,
)
from models.members import Member, MemberTotals
from models.staff import Branch

COUPONS = table_of(Coupon)
VOUCHERS = table_of(Voucher)
CODES = table_of(ScanCode)
REDEMPTIONS = table_of(Redemption)
TRIES = table_of(CodeTry)

TRIES_A_MINUTE = 5
TRIES_A_DAY = 20
#: What the member asked for counts against `per_member`; what the shop owes or gives does not.
ASKED_FOR = ("claim", "code", "points")
USABLE = (VoucherState.ISSUED, VoucherState.HELD)


@dataclass(frozen=True)
class Offer:
    """A coupon as one member sees it; `refusal` says why it cannot be had, None if it can."""

    coupon: Coupon
    left: int | None
    refusal: str | None


@dataclass(frozen=True)
class Discount:
    """What a voucher takes off one bill, and what stays on it (None: it is used up)."""

    satang: int
    left_satang: int | None


@dataclass(frozen=True)
class RedemptionResult:
    """A voucher that has just been used."""

    redemption: Redemption
    discount_satang: int
    voucher: Voucher


@dataclass(frozen=True)
class ReversalResult:
    """A use that was undone: the voucher is back, or its points are, or it has ended."""

    redemption: Redemption
    voucher: Voucher
    is_voucher_back: bool
    points: int


# Offers


def offers_for(
    session: Session, member: Member, now: datetime, tz: ZoneInfo, obtained: str = "claim"
) -> list[Offer]:
    """What a member can claim (or buy with points) now, with what stands in the way."""
    live = select(Coupon).where(Coupon.state == CouponState.LIVE, Coupon.obtained == obtained)
    coupons = session.scalars(live.order_by(Coupon.price_points, Coupon.id)).all()
    if not coupons:
        return []
    owned = _owned(session, member.id, [coupon.id for coupon in coupons])
    totals = session.get(MemberTotals, member.id)
    available = points.balance_of(session, member.id, now).available
    offers = []
    for coupon in coupons:
        if not is_open(coupon, now) or not is_meant_for(coupon, totals):
            continue
        refusal = None
        if _is_sold_out(coupon):
            refusal = "coupons.sold_out"
        elif owned.get(coupon.id, 0) >= coupon.per_member:
            refusal = "coupons.already_claimed"
        elif obtained == Obtained.POINTS and available < (coupon.price_points or 0):
            refusal = "points.not_enough"
        offers.append(Offer(coupon, coupon.left, refusal))
    return offers


def vouchers_of(session: Session, member_id: int, now: datetime) -> Sequence[Voucher]:
    """A member's vouchers that can still be used, soonest to expire first."""
    session.flush()  # the caller may have just issued what we look for
    usable = select(Voucher).where(
        Voucher.member_id == member_id,
        Voucher.state.in_(USABLE),
        or_(Voucher.expires_at.is_(None), Voucher.expires_at > now),
    )
    order = (Voucher.expires_at.is_(None), Voucher.expires_at, Voucher.id)
    return session.scalars(usable.order_by(*order)).all()


def is_open(coupon: Coupon, now: datetime) -> bool:
    """Whether an offer is live and within its dates."""
    if coupon.state != CouponState.LIVE:
        return False
    has_begun = coupon.starts_at is None or coupon.starts_at <= now
    return has_begun and (coupon.ends_at is None or coupon.ends_at > now)


def is_meant_for(coupon: Coupon, totals: MemberTotals | None) -> bool:
    """Whether an offer is for members such as this one."""
    levels = coupon.conditions.get("levels")
    return not levels or (totals is not None and totals.level in levels)


def _is_sold_out(coupon: Coupon) -> bool:
    is_gone = coupon.total_units is not None and coupon.issued_count >= coupon.total_units
    is_spent = coupon.budget_satang is not None and coupon.spent_satang >= coupon.budget_satang
    return is_gone or is_spent


def _owned(session: Session, member_id: int, coupon_ids: Iterable[int]) -> dict[int, int]:
    """How many copies a member asked for and got, by coupon; taken-back ones do not count."""
    counts = (
        select(VOUCHERS.c.coupon_id, func.count().label("units"))
        .where(
            VOUCHERS.c.member_id == member_id,
            VOUCHERS.c.coupon_id.in_(list(coupon_ids)),
            VOUCHERS.c.source.in_(ASKED_FOR),
            VOUCHERS.c.state != VoucherState.VOID,
        )
        .group_by(VOUCHERS.c.coupon_id)
    )
    return {row.coupon_id: row.units for row in session.execute(counts)}


# Getting a voucher


def claim(session: Session, coupon_id: int, member: Member, now: datetime, tz: ZoneInfo) -> Voucher:
    """Take a voucher of an offer.

    Refused: `coupons.sold_out`, `coupons.already_claimed`, `coupons.not_available`.
    """
    coupon = _coupon(session, coupon_id)
    _refuse_unless(coupon.obtained == Obtained.CLAIM, "coupons.not_available")
    voucher = _take(session, coupon, member, "claim", now, tz)
    _record_claim(session, voucher, now)
    return voucher


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
        voucher = _take(session, coupon, member, "code", now, tz)
    except Refused as refusal:
        raise Refused("codes.refused") from refusal
    _record_claim(session, voucher, now)
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


def buy_reward(
    session: Session, coupon_id: int, member: Member, now: datetime, tz: ZoneInfo
) -> Voucher:
    """Exchange points for a voucher, both or neither (R3).

    Raises InsufficientPoints, or Refused as `claim` does; then no point is gone.
    """
    coupon = _coupon(session, coupon_id)
    _refuse_unless(coupon.obtained == Obtained.POINTS, "coupons.not_available")
    assert coupon.price_points
    _refuse_closed(session, coupon, member, now)
    available = points.available_for_burn(session, member.id, now)
    if available < coupon.price_points:
        raise points.InsufficientPoints(needed=coupon.price_points, available=available)
    voucher = _take(session, coupon, member, "points", now, tz)
    points.burn(
        session,
        member.id,
        coupon.price_points,
        source="voucher",
        source_id=str(voucher.id),
        now=now,
        facts={"coupon_th": coupon.name_th, "coupon_en": coupon.name_en},
    )
    _record_claim(session, voucher, now)
    return voucher


def issue(
    session: Session,
    coupon: Coupon,
    member_id: int,
    *,
    source: str,
    source_id: str,
    now: datetime,
    tz: ZoneInfo,
    needs_proof: bool = False,
) -> Voucher | None:
    """Give a voucher for a cause, once; None when the offer has ended or is sold out.

    The same cause again returns the voucher it gave the first time.
    """
    session.flush()  # Core statements must see what the caller has added so far
    given = select(Voucher).where(
        Voucher.coupon_id == coupon.id,
        Voucher.member_id == member_id,
        Voucher.source == source,
        Voucher.source_id == source_id,
    )
    if before := session.scalars(given).first():
        return before
    if not is_open(coupon, now):
        return None
    try:
        voucher = _write_voucher(
            session, coupon, member_id, source, source_id, now, tz, needs_proof=needs_proof
        )
    except Refused:
        return None
    facts = {"voucher_id": voucher.id, "coupon_id": coupon.id, "source": source}
    activities.record(session, member_id, "vouchers.issued", now, facts)
    return voucher


def _take(
    session: Session, coupon: Coupon, member: Member, source: str, now: datetime, tz: ZoneInfo
) -> Voucher:
    """What claim, code and points have in common: refuse, then write.

    The member's totals row is locked first, so that one member's claims come one after another;
    the coupon's row, which everybody wants, is held as briefly as possible, at the end.
    """
    _refuse_closed(session, coupon, member, now)
    points.lock_member(session, member.id)
    _refuse_unless(member.is_member, "members.not_joined")
    owned = _owned(session, member.id, [coupon.id]).get(coupon.id, 0)
    if owned >= coupon.per_member and not is_sabotaged("coupons.per_member"):
        raise Refused("coupons.already_claimed")
    if coupon.per_day is not None:
        _refuse_day_over(session, coupon, now, tz)
    source_id = f"{source}:{ids.public_id()}"
    return _write_voucher(session, coupon, member.id, source, source_id, now, tz)


def _refuse_closed(session: Session, coupon: Coupon, member: Member, now: datetime) -> None:
    """Everything that can be said without a lock."""
    _refuse_unless(member.is_member, "members.not_joined")
    _refuse_unless(is_open(coupon, now), "coupons.not_available")
    totals = session.get(MemberTotals, member.id)
    _refuse_unless(is_meant_for(coupon, totals), "coupons.not_available")
    if _is_sold_out(coupon) and not is_sabotaged("coupons.stock"):
        raise Refused("coupons.sold_out")


def _refuse_day_over(session: Session, coupon: Coupon, now: datetime, tz: ZoneInfo) -> None:
    """So many a day: counted under the coupon's own lock, in the shop's day."""
    session.execute(select(COUPONS.c.id).where(COUPONS.c.id == coupon.id).with_for_update())
    today = select(func.count()).where(
        VOUCHERS.c.coupon_id == coupon.id,
        VOUCHERS.c.issued_at >= start_of_day(local_day(now, tz), tz),
        VOUCHERS.c.state != VoucherState.VOID,
    )
    if int(session.scalar(today) or 0) >= (coupon.per_day or 0):
        raise Refused("coupons.sold_out_today")


def _write_voucher(
    session: Session,
    coupon: Coupon,
    member_id: int,
    source: str,
    source_id: str,
    now: datetime,
    tz: ZoneInfo,
    *,
    needs_proof: bool = False,
) -> Voucher:
    """Write the copy, then take the unit; without a unit the copy is taken away again."""
    next_ordinal = (
        select(func.coalesce(func.max(VOUCHERS.c.ordinal), 0) + 1)
        .where(VOUCHERS.c.coupon_id == coupon.id, VOUCHERS.c.member_id == member_id)
        .scalar_subquery()
    )
    row = {
        "public_id": ids.public_id(),
        "coupon_id": coupon.id,
        "member_id": member_id,
        "ordinal": next_ordinal,
        "state": VoucherState.ISSUED,
        "source": source,
        "source_id": source_id,
        "issued_at": now,
        "needs_proof": needs_proof,
        "expires_at": expiry_of(coupon, now, tz),
        "left_satang": coupon.value_satang if coupon.keeps_change else None,
    }
    new = insert_into(session, VOUCHERS).values(row).on_conflict_do_nothing()
    voucher_id = session.execute(new.returning(VOUCHERS.c.id)).scalar()
    if voucher_id is None:  # somebody else is giving this member a copy at this moment
        raise Refused("coupons.already_claimed")
    if not _take_unit(session, coupon):
        session.execute(delete(VOUCHERS).where(VOUCHERS.c.id == voucher_id))
        raise Refused("coupons.sold_out")
    return session.get_one(Voucher, voucher_id)


def _take_unit(session: Session, coupon: Coupon) -> bool:
    """Count one more copy, if the stock and the budget still allow it: check and act are one."""
    guard = and_(
        COUPONS.c.id == coupon.id,
        or_(COUPONS.c.total_units.is_(None), COUPONS.c.issued_count < COUPONS.c.total_units),
        or_(COUPONS.c.budget_satang.is_(None), COUPONS.c.spent_satang < COUPONS.c.budget_satang),
        COUPONS.c.state == CouponState.LIVE,
    )
    values: dict[str, Any] = {"issued_count": COUPONS.c.issued_count + 1}
    if is_sabotaged("coupons.stock"):  # what was read a moment ago decides
        if _is_sold_out(coupon):
            return False
        guard = COUPONS.c.id == coupon.id
        values = {"issued_count": coupon.issued_count + 1}
    taken: Any = session.connection().execute(update(COUPONS).where(guard).values(values))
    session.expire(coupon)
    return bool(taken.rowcount == 1)


def expiry_of(coupon: Coupon, issued_at: datetime, tz: ZoneInfo) -> datetime | None:
    """The exclusive end of a voucher issued now: so many days, else the offer's own end."""
    if coupon.valid_days is not None:
        return earning.days_later(local_day(issued_at, tz), coupon.valid_days, tz)
    return coupon.ends_at


def _record_claim(session: Session, voucher: Voucher, now: datetime) -> None:
    facts = {
        "voucher_id": voucher.id,
        "coupon_id": voucher.coupon_id,
        "source": voucher.source,
    }
    activities.record(session, voucher.member_id, "coupons.claimed", now, facts)
    activities.record(session, voucher.member_id, "vouchers.issued", now, facts)


def _coupon(session: Session, coupon_id: int) -> Coupon:
    coupon = session.get(Coupon, coupon_id)
    if coupon is None or coupon.state == CouponState.DRAFT:
        raise NotFound("coupons.not_found")
    return coupon


def _refuse_unless(is_fine: bool, code: str) -> None:
    if not is_fine:
        raise Refused(code)


# Using a voucher


def discount_for(coupon: Coupon, voucher: Voucher, bill_satang: int) -> Discount:
    """Exactly how much to take off this bill; a percentage is floored to whole satang."""
    if coupon.kind == CouponKind.PERCENT_OFF:
        off = bill_satang * (coupon.percent or 0) // 100
        off = off if coupon.max_satang is None else min(off, coupon.max_satang)
        return Discount(min(off, bill_satang), None)
    if coupon.kind == CouponKind.CASH and coupon.keeps_change:
        worth = coupon.value_satang if voucher.left_satang is None else voucher.left_satang
        off = min(worth, bill_satang)
        return Discount(off, worth - off)
    return Discount(min(coupon.value_satang, bill_satang), None)


def quote(
    session: Session,
    voucher: Voucher,
    branch: Branch,
    bill_satang: int,
    now: datetime,
    tz: ZoneInfo,
    *,
    is_with_purchase: bool = False,
) -> Discount:
    """What this voucher would take off this bill; refused as `refuse_unless_fits` says."""
    refuse_unless_fits(
        session, voucher, branch, bill_satang, now, tz, is_with_purchase=is_with_purchase
    )
    return discount_for(voucher.coupon, voucher, bill_satang)


def refuse_unless_fits(
    session: Session,
    voucher: Voucher,
    branch: Branch,
    bill_satang: int,
    now: datetime,
    tz: ZoneInfo,
    *,
    purchase_id: int | None = None,
    is_with_purchase: bool = False,
) -> None:
    """Whether a voucher may be used on this bill, here and now (C2, J6).

    `is_with_purchase` says that the bill itself will be recorded in the same confirm, which is
    what a joining gift without a proven phone waits for.

    Refused: `coupons.min_bill`, `coupons.other_branch`, `coupons.other_day`,
    `coupons.other_hours`, `coupons.not_stackable`, `coupons.needs_proof`.
    """
    coupon = voucher.coupon
    if bill_satang < coupon.min_bill_satang:
        raise Refused("coupons.min_bill", baht=money("th", coupon.min_bill_satang))
    conditions = coupon.conditions
    if conditions.get("branches") and branch.code not in conditions["branches"]:
        raise Refused("coupons.other_branch")
    local = now.astimezone(tz)
    if conditions.get("weekdays") and local.weekday() not in conditions["weekdays"]:
        raise Refused("coupons.other_day")
    hours = conditions.get("hours")
    if hours and not any(start <= local.hour < end for start, end in hours):
        raise Refused("coupons.other_hours")
    if purchase_id is not None:
        _refuse_stacking(session, coupon, purchase_id)
    if voucher.needs_proof and not is_with_purchase:
        member = session.get_one(Member, voucher.member_id)
        totals = session.get(MemberTotals, voucher.member_id)
        has_bought = totals is not None and totals.purchase_count > 0
        _refuse_unless(member.phone_proven_at is not None or has_bought, "coupons.needs_proof")


def _refuse_stacking(session: Session, coupon: Coupon, purchase_id: int) -> None:
    others = (
        select(Coupon.is_stackable)
        .join(Voucher, Voucher.coupon_id == Coupon.id)
        .join(Redemption, Redemption.voucher_id == Voucher.id)
        .where(Redemption.purchase_id == purchase_id, Redemption.reversed_at.is_(None))
    )
    on_bill = session.scalars(others).all()
    if on_bill and not (coupon.is_stackable and all(on_bill)):
        raise Refused("coupons.not_stackable")


def use(
    session: Session,
    voucher: Voucher,
    *,
    branch: Branch,
    bill_satang: int,
    operation_id: str,
    now: datetime,
    tz: ZoneInfo,
    receipt_no: str | None = None,
    purchase_id: int | None = None,
    cashier_id: int | None = None,
    device_id: int | None = None,
    api_key_id: int | None = None,
) -> RedemptionResult:
    """Turn a held voucher into a used one, and write the redemption.

    The caller (codes.redeem) holds the voucher's row lock and has checked the hold.
    """
    coupon = voucher.coupon
    refuse_unless_fits(session, voucher, branch, bill_satang, now, tz, purchase_id=purchase_id)
    discount = discount_for(coupon, voucher, bill_satang)
    is_whole = not discount.left_satang
    row = {
        "public_id": ids.public_id(),
        "voucher_id": voucher.id,
        "member_id": voucher.member_id,
        "branch_id": branch.id,
        "purchase_id": purchase_id,
        "operation_id": operation_id,
        "receipt_no": receipt_no,
        "bill_satang": bill_satang,
        "discount_satang": discount.satang,
        "is_whole": is_whole,
        "at": now,
        "cashier_id": cashier_id,
        "device_id": device_id,
        "api_key_id": api_key_id,
    }
    new = insert_into(session, REDEMPTIONS).values(row).on_conflict_do_nothing()
    redemption_id = session.execute(new.returning(REDEMPTIONS.c.id)).scalar()
    if redemption_id is None:
        raise Refused("operations.already_recorded")
    used: dict[str, Any] = {"state": VoucherState.REDEEMED, "redeemed_at": now}
    if not is_whole:
        used = {"state": VoucherState.ISSUED}
    if coupon.keeps_change:
        used["left_satang"] = discount.left_satang
    changed = set_voucher(session, voucher, (VoucherState.HELD,), used)
    assert changed, "the caller holds the lock"
    _count_use(session, coupon, 1, discount.satang)
    facts = {
        "voucher_id": voucher.id,
        "redemption_id": redemption_id,
        "discount_satang": discount.satang,
        "branch": branch.name_th,
        "branch_code": branch.code,
        "coupon_id": coupon.id,
    }
    activities.record(session, voucher.member_id, "vouchers.redeemed", now, facts)
    redemption = session.get_one(Redemption, redemption_id)
    return RedemptionResult(redemption, discount.satang, voucher)


def used_refusal(session: Session, voucher: Voucher, tz: ZoneInfo) -> Refused:
    """The refusal that says when and where a voucher was used (TX1)."""
    last = session.execute(
        select(Redemption.at, Branch.name_th)
        .join(Branch, Branch.id == Redemption.branch_id)
        .where(Redemption.voucher_id == voucher.id, Redemption.reversed_at.is_(None))
        .order_by(Redemption.id.desc())
        .limit(1)
    ).first()
    if last is None:
        return Refused("codes.expired")
    at, branch = last
    return Refused("coupons.used", when=f"{at.astimezone(tz):%d/%m/%Y %H:%M}", branch=branch)


def reverse(
    session: Session,
    redemption: Redemption,
    *,
    now: datetime,
    tz: ZoneInfo,
) -> ReversalResult:
    """Undo one use, once: the voucher comes back while it is still valid (C3).

    A voucher past its date stays ended, and its price in points is given back (FG06).
    Refused `coupons.already_reversed` the second time.
    """
    points.lock_member(session, redemption.member_id)  # always before vouchers and coupons
    voucher = lock_voucher(session, redemption.voucher_id)
    undone: Any = session.connection().execute(
        update(REDEMPTIONS)
        .where(REDEMPTIONS.c.id == redemption.id, REDEMPTIONS.c.reversed_at.is_(None))
        .values(reversed_at=now)
    )
    if undone.rowcount != 1:
        raise Refused("coupons.already_reversed")
    session.expire(redemption)
    coupon = voucher.coupon
    is_valid = voucher.expires_at is None or voucher.expires_at > now
    back: dict[str, Any] = {"state": VoucherState.ISSUED, "redeemed_at": None}
    if coupon.keeps_change:
        back["left_satang"] = (voucher.left_satang or 0) + redemption.discount_satang
    if not is_valid:
        back["state"] = VoucherState.EXPIRED
    used = (VoucherState.REDEEMED, VoucherState.ISSUED, VoucherState.HELD, VoucherState.EXPIRED)
    if voucher.state == VoucherState.HELD and is_valid:
        back["state"] = VoucherState.HELD  # what was left of it is at a till at this moment
    set_voucher(session, voucher, used, back)
    _count_use(session, coupon, -1, -redemption.discount_satang)
    points_back = 0
    if not is_valid:
        points_back = points.give_back(
            session,
            voucher.member_id,
            source="redemption_reversal",
            source_id=str(redemption.id),
            burn_source="voucher",
            burn_source_id=str(voucher.id),
            now=now,
            tz=tz,
            facts={"coupon_th": coupon.name_th, "coupon_en": coupon.name_en},
        ).points
    facts = {
        "voucher_id": voucher.id,
        "redemption_id": redemption.id,
        "is_voucher_back": is_valid,
        "points": points_back,
    }
    activities.record(session, voucher.member_id, "vouchers.redemption_reversed", now, facts)
    return ReversalResult(redemption, voucher, is_valid, points_back)


def reverse_of_purchase(
    session: Session, purchase_id: int, *, now: datetime, tz: ZoneInfo
) -> tuple[ReversalResult, ...]:
    """Undo every use that went with a bill."""
    still_used = select(Redemption).where(
        Redemption.purchase_id == purchase_id, Redemption.reversed_at.is_(None)
    )
    redemptions = session.scalars(still_used.order_by(Redemption.voucher_id)).all()
    return tuple(reverse(session, redemption, now=now, tz=tz) for redemption in redemptions)


def void(session: Session, voucher: Voucher, *, now: datetime, reason: str) -> bool:
    """Take an unused voucher away and return its unit; False if it was used or has ended.

    Its cause may issue another one later, so the cause's key is set free.
    """
    freed = {
        "state": VoucherState.VOID,
        "voided_at": now,
        "source_id": f"{voucher.source_id}#void:{voucher.id}",
    }
    if not set_voucher(session, voucher, USABLE, freed):
        return False
    session.connection().execute(
        update(COUPONS)
        .where(COUPONS.c.id == voucher.coupon_id)
        .values(issued_count=COUPONS.c.issued_count - 1)
    )
    session.expire(voucher.coupon)
    facts = {"voucher_id": voucher.id, "coupon_id": voucher.coupon_id, "reason": reason}
    activities.record(session, voucher.member_id, "vouchers.voided", now, facts)
    return True


def void_all(session: Session, member_id: int, *, now: datetime, source: str | None = None) -> int:
    """Take all unused vouchers of a member away, or those of one source, and return the units.

    Unlike `void`, the causes are not set free: none of them gives another voucher.
    """
    unused = and_(VOUCHERS.c.member_id == member_id, VOUCHERS.c.state.in_(USABLE))
    if source is not None:
        unused = and_(unused, VOUCHERS.c.source == source)
    session.flush()  # Core statements must see what the caller has added so far
    gone = session.execute(
        update(VOUCHERS)
        .where(unused)
        .values(state=VoucherState.VOID, voided_at=now)
        .returning(VOUCHERS.c.coupon_id)
    )
    units = Counter(gone.scalars())
    for coupon_id in sorted(units):
        session.execute(
            update(COUPONS)
            .where(COUPONS.c.id == coupon_id)
            .values(issued_count=COUPONS.c.issued_count - units[coupon_id])
        )
    _forget_loaded(session)
    return units.total()


def _forget_loaded(session: Session) -> None:
    """Let loaded vouchers and coupons read themselves again: statements have changed many."""
    for loaded in session.identity_map.values():
        if isinstance(loaded, Voucher | Coupon):
            session.expire(loaded)


def lock_voucher(session: Session, voucher_id: int) -> Voucher:
    """Lock a voucher's row and read it afresh."""
    locked = select(Voucher).where(Voucher.id == voucher_id).with_for_update(of=Voucher)
    return session.scalars(locked, execution_options={"populate_existing": True}).one()


def set_voucher(
    session: Session,
    voucher: Voucher,
    before: tuple[VoucherState, ...],
    values: dict[str, Any],
) -> bool:
    """Compare-and-set: change a voucher only if it is in one of these states."""
    guard = VOUCHERS.c.id == voucher.id
    if not is_sabotaged("codes.hold"):
        guard = and_(guard, VOUCHERS.c.state.in_(before))
    done: Any = session.connection().execute(update(VOUCHERS).where(guard).values(values))
    session.refresh(voucher)
    return bool(done.rowcount == 1)


def _count_use(session: Session, coupon: Coupon, uses: int, satang: int) -> None:
    """Add to the coupon's sums; last in the transaction, because everybody shares this row."""
    session.connection().execute(
        update(COUPONS)
        .where(COUPONS.c.id == coupon.id)
        .values(
            redeemed_count=COUPONS.c.redeemed_count + uses,
            spent_satang=COUPONS.c.spent_satang + satang,
        )
    )
    session.expire(coupon)


# Expiry and proof


def expire_vouchers(session: Session, now: datetime, limit: int) -> int:
    """End up to `limit` vouchers past their date; returns how many. 0 means that none is left.

    A voucher that a till holds at this moment is left alone: at use only the hold counts.
    """
    live_hold = exists().where(
        CODES.c.voucher_id == VOUCHERS.c.id,
        CODES.c.state == CodeState.HELD,
        CODES.c.hold_expires_at > now,
    )
    due = (
        select(VOUCHERS.c.id)
        .where(VOUCHERS.c.state.in_(USABLE), VOUCHERS.c.expires_at <= now, ~live_hold)
        .order_by(VOUCHERS.c.expires_at, VOUCHERS.c.id)
        .limit(limit)
        .with_for_update(skip_locked=True, of=VOUCHERS)
    )
    ended = session.connection().execute(
        update(VOUCHERS)
        .where(VOUCHERS.c.id.in_(due.scalar_subquery()), VOUCHERS.c.state.in_(USABLE))
        .values(state=VoucherState.EXPIRED)
        .returning(VOUCHERS.c.id, VOUCHERS.c.member_id, VOUCHERS.c.coupon_id)
    )
    rows = ended.all()
    for row in sorted(rows, key=lambda row: int(row.id)):
        facts = {"voucher_id": row.id, "coupon_id": row.coupon_id}
        activities.record(session, row.member_id, "vouchers.expired", now, facts)
    _forget_loaded(session)
    return len(rows)


def check_counts(session: Session) -> list[points.Difference]:
    """Every coupon's counters against its vouchers and redemptions."""
    session.flush()  # the check reads by plain statements
    issued = (
        select(VOUCHERS.c.coupon_id, func.count().label("units"))
        .where(VOUCHERS.c.state != VoucherState.VOID)
        .group_by(VOUCHERS.c.coupon_id)
        .subquery()
    )
    used = (
        select(
            VOUCHERS.c.coupon_id,
            func.count().label("uses"),
            func.sum(REDEMPTIONS.c.discount_satang).label("satang"),
        )
        .join(REDEMPTIONS, REDEMPTIONS.c.voucher_id == VOUCHERS.c.id)
        .where(REDEMPTIONS.c.reversed_at.is_(None))
        .group_by(VOUCHERS.c.coupon_id)
        .subquery()
    )
    rows = session.execute(
        select(
            COUPONS.c.id,
            COUPONS.c.issued_count,
            COUPONS.c.redeemed_count,
            COUPONS.c.spent_satang,
            func.coalesce(issued.c.units, 0).label("units"),
            func.coalesce(used.c.uses, 0).label("uses"),
            func.coalesce(used.c.satang, 0).label("satang"),
        )
        .outerjoin(issued, issued.c.coupon_id == COUPONS.c.id)
        .outerjoin(used, used.c.coupon_id == COUPONS.c.id)
    )
    return [difference for row in rows for difference in _wrong_counts(row)]


def _wrong_counts(row: Any) -> list[points.Difference]:
    figures = (
        ("coupons.issued", int(row.units), row.issued_count),
        ("coupons.redeemed", int(row.uses), row.redeemed_count),
        ("coupons.spent", int(row.satang), row.spent_satang),
    )
    return [
        points.Difference(what, row.id, expected, found)
        for what, expected, found in figures
        if expected != found
    ]
