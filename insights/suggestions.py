"""Suggestions: what is bought together, and the hour at which a member usually comes.

Both are worked out at night with set statements, hours in ranges of members; only what has changed
is written.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import cache, lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import BigInteger, Integer, and_, bindparam, delete, func, or_, select, update
from sqlalchemy.orm import Session, aliased

from core.bulk import insert_many
from core.expressions import local_hour
from models.base import table_of
from models.earn_rules import Product
from models.purchases import Purchase, PurchaseItem, PurchaseState
from models.scores import ItemPair, MemberScore

#: Bills looked at, and what two products need to be called a pair.
DAYS = 180
LEAST_BILLS = 5
LEAST_LIFT = 1.2
#: Companions kept for each product, best first.
PER_ITEM = 10
#: A best hour needs so many visits in a year, and is asked anew after a visit.
HOUR_DAYS, HOUR_VISITS = 365, 3
FRESH = timedelta(days=2)
#: What a member bought in these days is what a suggestion goes with.
RECENT_DAYS = 90


#: (product, companion) -> (bills with both, lift).
Pairs = dict[tuple[str, str], tuple[int, float]]


def find_pairs(session: Session, now: datetime) -> Pairs:
    """Count what was bought together. Reads only: with many bills it takes minutes.

    lift = bills with both x all bills / (bills with one x bills with the other); 1 is chance.
    """
    all_bills, each_alone, both = _pair_statements()
    asked = {"since": now - timedelta(days=DAYS)}
    bills = session.scalar(all_bills, asked) or 0
    alone: dict[str, int] = {row[0]: row[1] for row in session.execute(each_alone, asked)}
    together = session.execute(both, asked)
    ranked: dict[str, list[tuple[float, int, str]]] = defaultdict(list)
    for row in together:
        lift = round(row.bills * bills / (alone[row.sku] * alone[row.other_sku]), 3)
        if lift >= LEAST_LIFT:
            ranked[row.sku].append((lift, row.bills, row.other_sku))
            ranked[row.other_sku].append((lift, row.bills, row.sku))
    return {
        (sku, companion): (count, lift)
        for sku, found in ranked.items()
        for lift, count, companion in sorted(found, key=lambda one: (-one[0], -one[1], one[2]))[
            :PER_ITEM
        ]
    }


@cache
def _pair_statements() -> tuple[Any, Any, Any]:
    """How many bills there are, how many of each product, and of each two; built once."""
    lines = (
        select(PurchaseItem.purchase_id, PurchaseItem.sku)
        .join(Purchase, Purchase.id == PurchaseItem.purchase_id)
        .where(Purchase.purchased_at > bindparam("since"), Purchase.state != PurchaseState.VOIDED)
        .distinct()
    )
    own, other = lines.cte("own"), lines.cte("other")
    both = (
        select(own.c.sku, other.c.sku.label("other_sku"), func.count().label("bills"))
        .join(other, and_(other.c.purchase_id == own.c.purchase_id, other.c.sku > own.c.sku))
        .group_by(own.c.sku, other.c.sku)
        .having(func.count() >= LEAST_BILLS)
    )
    return (
        select(func.count(func.distinct(own.c.purchase_id))),
        select(own.c.sku, func.count()).group_by(own.c.sku),
        both,
    )


def keep_pairs(session: Session, wanted: Pairs) -> int:
    """Write the pairs that are others than they were. Returns how many."""
    known = {
        (row.sku, row.other_sku): (row.bills, row.lift) for row in session.scalars(select(ItemPair))
    }
    stale = [pair for pair, figures in known.items() if wanted.get(pair) != figures]
    fresh = [pair for pair, figures in wanted.items() if known.get(pair) != figures]
    for sku, companion in stale:
        session.execute(
            delete(ItemPair).where(ItemPair.sku == sku, ItemPair.other_sku == companion),
            execution_options={"synchronize_session": False},
        )
    session.expire_all()
    rows = [
        {"sku": sku, "other_sku": companion, "bills": wanted[sku, companion][0],
         "lift": wanted[sku, companion][1]}
        for sku, companion in fresh
    ]  # fmt: skip
    if rows:
        insert_many(session, table_of(ItemPair), rows)
    return len(stale) + len(fresh)


def find_best_hours(
    session: Session, now: datetime, tz: ZoneInfo, *, after_id: int, limit: int
) -> tuple[int, int]:
    """Bring the usual hour of those who bought lately up to date, of the next `limit` buyers after
    `after_id`. Returns (how many changed, the last id looked at; 0 when nobody was left)."""
    until = session.scalar(_LAST_OF_NEXT, {"after": after_id, "most": limit})
    if until is None:
        return 0, 0
    asked = {
        "lately": now - FRESH,
        "since": now - timedelta(days=HOUR_DAYS),
        "after": after_id,
        "until": until,
    }
    offset = now.astimezone(tz).utcoffset() or timedelta()
    return len(session.execute(_best_hours_at(offset, tz), asked).all()), int(until)


_AFTER: Any = bindparam("after", type_=BigInteger())
_UNTIL: Any = bindparam("until", type_=BigInteger())
_NEXT = select(MemberScore.member_id).where(MemberScore.member_id > _AFTER)
_NEXT = _NEXT.order_by(MemberScore.member_id).limit(bindparam("most", type_=Integer()))
_LAST_OF_NEXT = select(func.max(_NEXT.subquery().c.member_id))


@lru_cache(maxsize=4)
def _best_hours_at(offset: timedelta, tz: ZoneInfo) -> Any:
    """Sets the usual hours of those who bought lately, and returns whose are others now."""
    of_these = (Purchase.member_id > _AFTER, Purchase.member_id <= _UNTIL)
    lately = select(Purchase.member_id).where(*of_these, Purchase.recorded_at > bindparam("lately"))
    hour = local_hour(Purchase.purchased_at, offset, tz)
    visits = (
        select(
            Purchase.member_id,
            hour.label("hour"),
            func.count().label("visits"),
            func.sum(func.count()).over(partition_by=Purchase.member_id).label("total"),
        )
        .join(MemberScore, MemberScore.member_id == Purchase.member_id)
        .where(
            *of_these,
            Purchase.purchased_at > bindparam("since"),
            Purchase.state != PurchaseState.VOIDED,
            or_(MemberScore.best_hour.is_(None), Purchase.member_id.in_(lately)),
        )
        .group_by(Purchase.member_id, hour)
        .cte("visits")
    )
    ranked = select(
        visits.c.member_id,
        visits.c.hour,
        visits.c.total,
        func.row_number()
        .over(partition_by=visits.c.member_id, order_by=(visits.c.visits.desc(), visits.c.hour))
        .label("place"),
    ).cte("ranked")
    return (
        update(MemberScore)
        .where(
            MemberScore.member_id == ranked.c.member_id,
            ranked.c.place == 1,
            ranked.c.total >= HOUR_VISITS,
            or_(MemberScore.best_hour.is_(None), MemberScore.best_hour != ranked.c.hour),
        )
        .values(best_hour=ranked.c.hour)
        .returning(MemberScore.member_id)
        .execution_options(synchronize_session=False)
    )


def suggest(session: Session, member_id: int, now: datetime) -> str | None:
    """Something that goes with what this member buys and that they have not had; None without.

    The companion with the highest lift among those of the products they bought lately.
    """
    theirs = (
        select(PurchaseItem.sku)
        .join(Purchase, Purchase.id == PurchaseItem.purchase_id)
        .where(
            Purchase.member_id == member_id,
            Purchase.state != PurchaseState.VOIDED,
            Purchase.purchased_at > now - timedelta(days=RECENT_DAYS),
        )
    )
    pair = aliased(ItemPair)
    return session.scalar(
        select(pair.other_sku)
        .where(pair.sku.in_(theirs), pair.other_sku.not_in(theirs))
        .order_by(pair.lift.desc(), pair.bills.desc(), pair.other_sku)
        .limit(1)
    )


def labels(session: Session, locale: str) -> dict[str, str]:
    """What products are called, by sku; one that is not on the list is called by its sku."""
    rows = session.execute(select(Product.sku, Product.name_th, Product.name_en))
    return {row.sku: row.name_th if locale == "th" else row.name_en for row in rows}


def best_pairs(session: Session, limit: int = 10) -> list[ItemPair]:
    """The strongest pairs, each once."""
    pairs: Iterable[ItemPair] = session.scalars(
        select(ItemPair)
        .where(ItemPair.sku < ItemPair.other_sku)
        .order_by(ItemPair.lift.desc(), ItemPair.bills.desc(), ItemPair.sku)
        .limit(limit)
    )
    return list(pairs)
