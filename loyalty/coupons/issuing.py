"""Getting a voucher: by a claim, for points, or for a cause; stock and limits."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Text, and_, bindparam, cast, delete, func, or_, select, update
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import set_committed_value

from core import ids
from core.clock import local_day
from core.db import adopt, insert_on, is_sqlite
from core.errors import Refused
from core.sabotage import is_sabotaged
from loyalty import activities, earning, points, tombstones
from loyalty.coupons.conditions import Conditions, Standing, refusal_at_claim, standing_of
from loyalty.coupons.offers import is_open, is_sold_out
from loyalty.coupons.rows import ASKED_FOR, COUPONS, USABLE, VOUCHERS, coupon_of, refuse_unless
from loyalty.coupons.stock import promised_satang, used_today, worst_satang
from models.base import table_of
from models.coupons import (
    Coupon,
    CouponState,
    Obtained,
    Voucher,
    VoucherState,
)
from models.members import Member

MEMBERS = table_of(Member)
#: PostgreSQL's number of the lines in front of coupons, among its advisory locks.
LINE = 4_211
#: Built once: a rush asks it of everybody.
OWN_COPIES = (
    select(
        MEMBERS.c.state.label("member_state"),
        VOUCHERS.c.id,
        VOUCHERS.c.state,
        VOUCHERS.c.source,
        VOUCHERS.c.source_id,
    )
    .select_from(MEMBERS)
    .outerjoin(
        VOUCHERS,
        and_(VOUCHERS.c.member_id == MEMBERS.c.id, VOUCHERS.c.coupon_id == bindparam("coupon")),
    )
    .where(MEMBERS.c.id == bindparam("member"))
)


#: The copy that a cause has given.
GIVEN = select(Voucher).where(
    Voucher.coupon_id == bindparam("coupon"),
    Voucher.member_id == bindparam("member"),
    Voucher.source == bindparam("source"),
    Voucher.source_id == bindparam("cause"),
)
_NEXT_ORDINAL = (
    select(func.coalesce(func.max(VOUCHERS.c.ordinal), 0) + 1)
    .where(
        VOUCHERS.c.coupon_id == bindparam("of_coupon"),
        VOUCHERS.c.member_id == bindparam("of_member"),
    )
    .scalar_subquery()
)


@cache
def _insert_copy(on_sqlite: bool) -> Any:
    """Writes a copy; its number among the member's own is given by the database."""
    insert = insert_on(on_sqlite, VOUCHERS).values(ordinal=_NEXT_ORDINAL)
    return insert.on_conflict_do_nothing().returning(VOUCHERS.c.id, VOUCHERS.c.ordinal)


@cache
def _take_one(*, lines_up: bool) -> Any:
    """Counts one more copy where stock and budget allow it."""
    guard = and_(
        COUPONS.c.id == bindparam("coupon"),
        or_(COUPONS.c.total_units.is_(None), COUPONS.c.issued_count < COUPONS.c.total_units),
        or_(COUPONS.c.budget_satang.is_(None), COUPONS.c.spent_satang < COUPONS.c.budget_satang),
        COUPONS.c.state == CouponState.LIVE,
    )
    if lines_up:
        lock = func.pg_advisory_xact_lock(LINE, bindparam("coupon"))
        guard = and_(guard, select(cast(lock, Text)).scalar_subquery().is_not(None))
    taken = update(COUPONS).where(guard).values(issued_count=COUPONS.c.issued_count + 1)
    return taken.returning(COUPONS.c.issued_count)


def claim(
    session: Session,
    coupon_id: int,
    member: Member,
    now: datetime,
    tz: ZoneInfo,
    *,
    key: str | None = None,
) -> Voucher:
    """Take a voucher of an offer; the same `key` (of a button, of a form) again gives the same one.

    Refused: `coupons.sold_out`, `coupons.sold_out_today`, `coupons.already_claimed`,
    `coupons.not_available`, `coupons.first_purchase_only`, `coupons.other_tier`,
    `coupons.other_day`, `coupons.other_hours`.
    """
    coupon = coupon_of(session, coupon_id)
    refuse_unless(coupon.obtained == Obtained.CLAIM, "coupons.not_available")
    if is_sabotaged("coupons.claim_key"):
        key = None
    owned = None
    if key is not None:
        if not is_sold_out(coupon):  # the same tap twice comes one after the other
            points.lock_member(session, member.id)
        own = _own_copies(session, coupon, member)
        if before := _given_by(session, own, key):
            return before
        owned = None if is_sold_out(coupon) else _asked_for(own)
    return take(session, coupon, member, "claim", now, tz, key=key, owned=owned)


def _own_copies(session: Session, coupon: Coupon, member: Member) -> Sequence[Any]:
    """Every copy a member has of an offer; the member's state is read anew by the same question."""
    rows = session.execute(OWN_COPIES, {"coupon": coupon.id, "member": member.id}).all()
    set_committed_value(member, "state", rows[0].member_state)
    return [row for row in rows if row.id is not None]


def _given_by(session: Session, own: Sequence[Any], key: str) -> Voucher | None:
    """What this button gave before; refused once it is used up."""
    for row in own:
        if (row.source, row.source_id) == ("claim", f"claim:{key}"):
            refuse_unless(row.state in USABLE, "coupons.already_claimed")
            return session.get_one(Voucher, row.id, populate_existing=True)
    return None


def _asked_for(own: Sequence[Any]) -> int:
    """How many of these copies count against the offer's limit per member."""
    return sum(row.source in ASKED_FOR and row.state != VoucherState.VOID for row in own)


def buy_reward(
    session: Session, coupon_id: int, member: Member, now: datetime, tz: ZoneInfo
) -> Voucher:
    """Exchange points for a voucher, both or neither (R3).

    Raises InsufficientPoints, or Refused as `claim` does; then no point is gone.
    """
    coupon = coupon_of(session, coupon_id)
    refuse_unless(coupon.obtained == Obtained.POINTS, "coupons.not_available")
    assert coupon.price_points
    refuse_closed(session, coupon, member, now, tz)
    available = points.available_for_burn(session, member.id, now)
    if available < coupon.price_points:
        raise points.InsufficientPoints(needed=coupon.price_points, available=available)
    voucher = take(session, coupon, member, "points", now, tz)
    points.burn(
        session,
        member.id,
        coupon.price_points,
        source="voucher",
        source_id=str(voucher.id),
        now=now,
        facts={"coupon_th": coupon.name_th, "coupon_en": coupon.name_en},
    )
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
    cause = {"coupon": coupon.id, "member": member_id, "source": source, "cause": source_id}
    if before := session.scalars(GIVEN, cause).first():
        return before
    if not is_open(coupon, now):
        return None
    told = ("vouchers.issued",)
    try:
        return _write_voucher(
            session, coupon, member_id, source, source_id, now, tz, told, needs_proof=needs_proof
        )
    except Refused:
        return None


def take(
    session: Session,
    coupon: Coupon,
    member: Member,
    source: str,
    now: datetime,
    tz: ZoneInfo,
    *,
    key: str | None = None,
    owned: int | None = None,
) -> Voucher:
    """What claim, code and points have in common: refuse, then write, and say so.

    The member's totals row is locked first, so that one member's claims come one after another;
    the coupon's row, which everybody wants, is held as briefly as possible, at the end. `owned`
    is how many copies the member asked for before, if the caller has counted under that lock.
    """
    refuse_closed(session, coupon, member, now, tz)
    if owned is None:
        points.lock_member(session, member.id)
        owned = _asked_for(_own_copies(session, coupon, member))
    refuse_unless(member.is_member, "members.not_joined")
    if owned >= coupon.per_member and not is_sabotaged("coupons.per_member"):
        raise Refused("coupons.already_claimed")
    source_id = f"{source}:{key or ids.public_id()}"
    told = ("coupons.claimed", "vouchers.issued")
    return _write_voucher(session, coupon, member.id, source, source_id, now, tz, told)


def refuse_closed(
    session: Session,
    coupon: Coupon,
    member: Member,
    now: datetime,
    tz: ZoneInfo,
    standing: Standing | None = None,
) -> None:
    """Everything that can be said without a lock; `standing` if the caller knows it already."""
    refuse_unless(member.is_member, "members.not_joined")
    if standing is None and is_open(coupon, now):
        if is_gone(coupon):
            raise Refused("coupons.sold_out")  # what a rush asks most often is answered first
        if not coupon.conditions:
            return  # an offer for everybody asks nothing about anybody
    standing = standing or standing_of(session, member.id, now)
    refuse_unless(is_open(coupon, now, standing.early_days), "coupons.not_available")
    if refusal := refusal_at_claim(session, coupon, standing, now, tz):
        raise refusal
    if Conditions.of(coupon).is_first_purchase and tombstones.has_come_back(session, member, now):
        raise Refused("coupons.first_purchase_only")
    if is_gone(coupon):
        raise Refused("coupons.sold_out")


def is_gone(coupon: Coupon) -> bool:
    """Whether nothing was left when the offer was read."""
    return is_sold_out(coupon) and not is_sabotaged("coupons.stock")


def _refuse_over(
    session: Session, coupon: Coupon, now: datetime, tz: ZoneInfo, *, is_daily: bool
) -> None:
    """So many a day, and never more baht promised than the budget holds (C9).

    Both are counted under the coupon's own lock. What every usable voucher may still take off is
    promised: with what was spent already it stays within the budget, so that no till has to
    refuse what a member holds.
    """
    session.execute(select(COUPONS.c.id).where(COUPONS.c.id == coupon.id).with_for_update())
    if is_daily:
        today = used_today(session, [coupon.id], now, tz).get(coupon.id, 0)
        if today >= (coupon.per_day or 0):
            raise Refused("coupons.sold_out_today")
    if coupon.budget_satang is not None:
        session.refresh(coupon, ["spent_satang", "budget_satang"])
        promised = promised_satang(session, [coupon.id]).get(coupon.id, 0)
        if coupon.spent_satang + promised + worst_satang(coupon) > (coupon.budget_satang or 0):
            raise Refused("coupons.sold_out")


def _write_voucher(
    session: Session,
    coupon: Coupon,
    member_id: int,
    source: str,
    source_id: str,
    now: datetime,
    tz: ZoneInfo,
    told: Sequence[str],
    *,
    needs_proof: bool = False,
) -> Voucher:
    """Write the copy and the facts `told` of it, then take the unit.

    The unit is the last statement: everybody waits for that row until its holder commits. Without
    a unit the copy and what was told of it are taken away again.
    """
    is_daily = coupon.per_day is not None and source in ASKED_FOR
    is_counted = is_daily or coupon.budget_satang is not None
    if is_counted:
        _refuse_over(session, coupon, now, tz, is_daily=is_daily)
    row = {
        "public_id": ids.public_id(),
        "coupon_id": coupon.id,
        "member_id": member_id,
        "state": VoucherState.ISSUED,
        "source": source,
        "source_id": source_id,
        "issued_at": now,
        "needs_proof": needs_proof,
        "expires_at": expiry_of(coupon, now, tz),
        "left_satang": coupon.value_satang if coupon.keeps_change else None,
    }
    of_whom = {"of_coupon": coupon.id, "of_member": member_id}
    made = session.execute(_insert_copy(is_sqlite(session)), row | of_whom).first()
    if made is None:  # somebody else is giving this member a copy at this moment
        raise Refused("coupons.already_claimed")
    facts = {"voucher_id": made.id, "coupon_id": coupon.id, "source": source}
    before = len(session.info.get("activities", ()))
    for kind in told:
        activities.record(session, member_id, kind, now, facts)
    session.flush()  # nothing is left to say once the unit is taken
    if not _take_unit(session, coupon, is_locked=is_counted):
        for activity in session.info["activities"][before:]:
            session.delete(activity)
        del session.info["activities"][before:]
        session.flush()  # before what they speak of
        session.execute(delete(VOUCHERS).where(VOUCHERS.c.id == made.id))
        raise Refused("coupons.sold_out")
    # What was written is what would be read, but for what the database fills in.
    voucher = Voucher(**row | {"id": made.id, "ordinal": made.ordinal})
    adopt(session, voucher)
    return voucher


def _take_unit(session: Session, coupon: Coupon, *, is_locked: bool) -> bool:
    """Count one more copy, if the stock and the budget still allow it: check and act are one.

    PostgreSQL wakes everybody who waits for a row at once, and one of them has it: in a rush some
    wait for many seconds. So they line up at a lock that serves them in turn, within the same
    statement; not if the caller holds the row already, as the row must not wait for the line.
    """
    asked = {"coupon": coupon.id}
    if is_sabotaged("coupons.stock"):  # what was read a moment ago decides
        if is_sold_out(coupon):
            return False
        counted = {"issued_count": coupon.issued_count + 1}
        blindly = update(COUPONS).where(COUPONS.c.id == coupon.id).values(counted)
        taken = session.connection().execute(blindly.returning(COUPONS.c.issued_count))
    else:
        lines_up = not is_locked and not is_sqlite(session)
        taken = session.connection().execute(_take_one(lines_up=lines_up), asked)
    issued = taken.scalar()
    if issued is None:
        session.expire(coupon)
        return False
    set_committed_value(coupon, "issued_count", issued)
    return True


def expiry_of(coupon: Coupon, issued_at: datetime, tz: ZoneInfo) -> datetime | None:
    """The exclusive end of a voucher issued now: so many days, else the offer's own end."""
    if coupon.valid_days is not None:
        return earning.days_later(local_day(issued_at, tz), coupon.valid_days, tz)
    return coupon.ends_at
