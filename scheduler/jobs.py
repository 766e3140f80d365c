"""What each job does: one batch a call, safe to run twice, going on where it stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

import structlog
from sqlalchemy.orm import Session

from core.clock import local_day
from core.db import take_time
from core.runtime import Runtime
from engagement import journey_engine, journey_triggers, journeys
from engagement.journey_triggers import Plan
from loyalty import (
    alarms,
    audit,
    codes,
    coupons,
    doors,
    erasure,
    feed,
    lifecycle,
    operations,
    points,
    proof,
    retention,
    stamps,
    tier_gifts,
    tiers,
    tombstones,
)
from rich_menus import assign, upkeep

log = structlog.get_logger("jobs")
LEDGER_ALARM = "ledger.difference:nightly"
#: The cursor of a job of several parts: which one, times this, and the member it has reached.
SPAN = 10**12


@dataclass
class Run:
    """One occurrence at work. `now` is the moment it counts as; `cursor` is kept between batches
    and across a stop."""

    runtime: Runtime
    now: datetime
    limit: int
    cursor: int = 0
    #: The journeys it is about, read once in a transaction.
    plans: list[Plan] | None = None


@contextmanager
def looking(session: Session, run: Run) -> Iterator[Session]:
    """Where a job that `looks_long` looks: nobody's writing waits for it meanwhile."""
    if session.in_transaction():  # whoever has begun to write already looks at that as well
        yield session
        return
    with run.runtime.database.read() as there:
        take_time(there)
        yield there


def expire_points(session: Session, run: Run) -> int:
    """Write the expire entry of every lot past its date, effective at that midnight."""
    return points.expire_lots(session, run.now, run.limit)


def expire_vouchers(session: Session, run: Run) -> int:
    """Mark vouchers, and stamp cards, past their date."""
    real_now = run.runtime.clock.real_now()
    ended = coupons.expire_vouchers(session, run.now, real_now, run.limit)
    return ended + stamps.expire_cards(session, run.now, run.limit)


def judge_levels(session: Session, run: Run) -> int:
    """The nightly pass: cut points, scores, and everybody's level."""
    done, run.cursor = lifecycle.nightly(
        session, run.now, run.runtime.clock.tz, cursor=run.cursor, limit=run.limit
    )
    return done


def notice_cards(session: Session, run: Run) -> int:
    """Note stamp cards that end within a week; their members are told once for each end."""
    _, last_id = stamps.notice_expiring(
        session, run.now, run.runtime.clock.tz, after_id=run.cursor, limit=run.limit
    )
    run.cursor = max(run.cursor, last_id)
    return int(last_id > 0)


def judge_tiers(session: Session, run: Run) -> int:
    """Decide the holds that have ended, then lift those whom a changed ladder lets qualify."""
    tz = run.runtime.clock.tz
    if ended := tier_gifts.end_due(session, run.now, tz, run.limit):
        return ended
    lifted, last_id = tier_gifts.lift_late(
        session, run.now, tz, after_id=run.cursor, limit=run.limit
    )
    run.cursor = max(run.cursor, last_id)
    return lifted + 1 if last_id else 0


def warn_of_tiers(session: Session, run: Run) -> int:
    """Note who will lose a tier within 30 days as things stand; they are told once."""
    _, last_id = tiers.warn(
        session, run.now, run.runtime.clock.tz, after_id=run.cursor, limit=run.limit
    )
    run.cursor = max(run.cursor, last_id)
    return int(last_id > 0)


def check_ledger(session: Session, run: Run) -> int:
    """Prove every balance and the audit chain; a difference freezes that member's burning, and
    either alarms."""
    if run.cursor:
        return 0  # one pass of set statements proves them all
    with looking(session, run) as there:
        found = proof.find_all(there)
        broken = audit.verify(there)
    differences = proof.freeze(session, found, run.now)
    for difference in differences:
        log.error("ledger_difference", kind=difference.what, count=1)
    if differences:
        facts = {"count": len(differences)}
        alarms.raise_alarm(session, LEDGER_ALARM, "ledger.difference", facts, run.now)
    else:
        alarms.end_alarm(session, LEDGER_ALARM, run.now)
    if broken is not None:
        log.error("audit_broken", kind=broken.what, count=1)
        place = {"row": broken.row_id or "-"}
        alarms.raise_alarm(session, alarms.AUDIT, "audit.broken", place, run.now)
    else:
        alarms.end_alarm(session, alarms.AUDIT, run.now)
    run.cursor = 1
    return 1


def forget(session: Session, run: Run) -> int:
    """Delete what is kept no longer: tombstones, dead links, sessions, codes, tries and operation
    ids, bodies of the erased, events that every reader has had 90 days for.

    One kind after the other: what is through is not asked again for each batch of another.
    """
    while run.cursor < len(FORGETTING):
        is_real, one = FORGETTING[run.cursor]
        at = run.runtime.clock.real_now() if is_real else run.now
        if done := one(session, at, run.limit):
            return done
        run.cursor += 1
    return 0


#: `(session, moment, limit) -> rows`, and whether its moments are the machine's.
FORGETTING: tuple[tuple[bool, Callable[[Session, datetime, int], int]], ...] = (
    (False, tombstones.forget),
    (True, doors.sweep),
    (False, erasure.sweep),
    (True, codes.forget),
    (True, coupons.forget_tries),
    (True, operations.forget),
    (False, feed.forget),
)


def throw_away(session: Session, run: Run) -> int:
    """Throw away what the shop keeps no longer: each kind after its own number of days."""
    clock = run.runtime.clock
    removed, run.cursor = retention.sweep(
        session,
        now=run.now,
        real_now=clock.real_now(),
        day=local_day(run.now, clock.tz),
        limit=run.limit,
        place=run.cursor,
    )
    return removed


def repair_menus(session: Session, run: Run) -> int:
    """Compare LINE's menus with ours, unless that was done just now, and put unconfirmed and
    changed links back in line."""
    real_now = run.runtime.clock.real_now()  # links to LINE are made in real time
    is_first = run.cursor == 0 and not upkeep.has_just_agreed(session, real_now)
    if is_first:
        upkeep.ask(session, real_now)
    done, run.cursor = assign.repair(
        session, real_now, after_id=run.cursor, limit=run.limit, is_sampling=is_first
    )
    return done


def greet_birthdays(session: Session, run: Run) -> int:
    """Begin what celebrates today's birthdays."""
    return _begin(session, run, "date", "birthday")


def greet_anniversaries(session: Session, run: Run) -> int:
    """Begin what celebrates those who joined on this day of another year."""
    return _begin(session, run, "date", "joined")


def notice_expiring(session: Session, run: Run) -> int:
    """Begin what tells members of points that end soon."""
    return _begin(session, run, "date", "points")


def notice_vouchers(session: Session, run: Run) -> int:
    """Begin what tells members of vouchers that end soon."""
    return _begin(session, run, "date", "vouchers")


def win_back(session: Session, run: Run) -> int:
    """Begin what misses members who have become silent, and climb the ladder with the others."""
    return _begin(session, run, "silence")


def enter_segments(session: Session, run: Run) -> int:
    """Begin the journeys of those who are in a segment since last night."""
    return _begin(session, run, "segment")


def thank_you(session: Session, run: Run) -> int:
    """Turn the day's due thanks before the quiet hours begin; the tick does so all day long."""
    return _turn(session, run, "lifecycle.thank_you")


def _begin(session: Session, run: Run, on: str, kind: str = "") -> int:
    """One batch of the journeys with this trigger: whom it finds begin, then whoever is due in
    them goes on, then what that owes now is turned."""
    if run.plans is None:
        run.plans = journey_triggers.plans_of(session, on, [kind] if kind else [])
    plans = run.plans
    place, after_id = divmod(run.cursor, SPAN)
    if place < len(plans):
        _, last_id = journey_engine.begin_found(
            session, run.runtime, plans[place], run.now, after_id=after_id, limit=run.limit
        )
        run.cursor = place * SPAN + last_id if last_id else (place + 1) * SPAN
        return 1
    ids = [plan.journey.id for plan in plans]
    moved = journey_engine.advance_due(session, run.runtime, run.now, run.limit, ids)
    return moved or sum(_turn(session, run, plan.journey.key) for plan in plans)


def _turn(session: Session, run: Run, key: str) -> int:
    return journeys.turn_due(session, run.runtime, run.now, run.limit, journey_key=key)
