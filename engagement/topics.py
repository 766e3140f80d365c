"""What members can choose to hear about, and how often: `รับข่าวอะไรบ้าง`.

Stopping everything is the marketing consent's matter (loyalty/consents.py); here it is kept what
somebody who said yes would rather not hear. Transactional messages ask nobody.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.bulk import is_among
from core.db import insert_into, is_sqlite
from core.errors import Refused
from loyalty import activities, shop
from models.segments import MemberChoice

OFFERS, NEWS, BIRTHDAY, REMINDERS, SURVEYS = "offers", "news", "birthday", "reminders", "surveys"
TOPICS = (OFFERS, NEWS, BIRTHDAY, REMINDERS, SURVEYS)


@dataclass(frozen=True)
class Choice:
    """What one member chose; everything is heard until they say otherwise."""

    muted: frozenset[str] = frozenset()
    #: Promotional messages a week at most; None leaves it to the shop.
    per_week: int | None = None

    def cap(self, shops: int) -> int:
        """The lower of the member's wish and the shop's rule."""
        return shops if self.per_week is None else min(self.per_week, shops)


def choice_of(session: Session, member_id: int) -> Choice:
    """What this member chose."""
    return _read(session.get(MemberChoice, member_id))


def choices_of(session: Session, member_ids: Collection[int]) -> dict[int, Choice]:
    """What these members chose, as far as they chose anything."""
    rows = session.scalars(_choices_on(is_sqlite(session)), {"ids": list(member_ids)})
    return {row.member_id: _read(row) for row in rows}


@cache
def _choices_on(on_sqlite: bool) -> Any:
    return select(MemberChoice).where(is_among(on_sqlite, MemberChoice.member_id, "ids"))


def choice_in(row: Any) -> Choice:
    """What a row with these columns says; both are NULL for whoever never chose."""
    return Choice(frozenset(row.muted or ()), row.per_week)


def _read(row: MemberChoice | None) -> Choice:
    return choice_in(row) if row is not None else Choice()


def set_topic(session: Session, member_id: int, topic: str, now: datetime, *, is_on: bool) -> None:
    """Hear of a topic, or not any more; effective before the next send."""
    if topic not in TOPICS:
        raise Refused("topics.unknown", status=422)
    muted = choice_of(session, member_id).muted
    wanted = muted - {topic} if is_on else muted | {topic}
    _write(session, member_id, now, muted=[one for one in TOPICS if one in wanted])


def set_muted(session: Session, member_id: int, muted: Collection[str], now: datetime) -> None:
    """Mute exactly these topics."""
    if not set(muted) <= set(TOPICS):
        raise Refused("topics.unknown", status=422)
    _write(session, member_id, now, muted=[one for one in TOPICS if one in muted])


def set_per_week(session: Session, member_id: int, per_week: int | None, now: datetime) -> None:
    """How many promotional messages a week at most; the shop's own cap is never raised."""
    if per_week is not None and not 0 <= per_week <= shop.get(session, CAP):
        raise Refused("topics.too_often", status=422)
    _write(session, member_id, now, per_week=per_week)


CAP = "messages.promotional_per_week"


def per_week_choices(session: Session) -> list[int]:
    """0, 1, 2 ... up to what the shop sends at most."""
    return list(range(int(shop.get(session, CAP)) + 1))


def _write(session: Session, member_id: int, now: datetime, **values: object) -> None:
    fresh = {"muted": [], "per_week": None} | values
    session.execute(
        insert_into(session, MemberChoice)
        .values(member_id=member_id, changed_at=now, **fresh)
        .on_conflict_do_update(index_elements=["member_id"], set_={"changed_at": now, **values})
    )
    row = session.get(MemberChoice, member_id, populate_existing=True)
    facts = {"muted": list(row.muted), "per_week": row.per_week} if row is not None else {}
    activities.record(session, member_id, "topics.changed", now, facts)
