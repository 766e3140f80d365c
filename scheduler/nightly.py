"""The jobs of proof and watch: pairs and hours at night, what stands out, the morning's digest and
Monday's card. Each is safe twice; a batch is one phase."""

from __future__ import annotations

from sqlalchemy.orm import Session

from core.clock import local_day
from engagement import alerts, watchdog, weekly
from insights import suggestions, suspects
from loyalty import alarms
from scheduler.jobs import Run

PHASES = 3


def work_out(session: Session, run: Run) -> int:
    """Pairs, best hours, and whose figures deserve a look; one a batch."""
    if run.cursor >= PHASES:
        return 0
    if run.cursor == 0:
        suggestions.count_pairs(session, run.now)
    elif run.cursor == 1:
        suggestions.find_best_hours(session, run.now, run.runtime.clock.tz)
    else:
        _note_suspects(session, run)
    run.cursor += 1
    return 1


def _note_suspects(session: Session, run: Run) -> None:
    """An alarm for each cashier with flags, and one for the members together; no names in it."""
    clock, now = run.runtime.clock, run.now
    cashiers = suspects.cashiers(session, now, clock.real_now(), clock.tz)
    keys = {f"suspects.cashier:{one.id}" for one in cashiers}
    alarms.end_others(session, ["suspects.cashier:"], keys, now)
    for one in cashiers:
        facts = {"cashier_id": one.id, "count": len(one.flags)}
        key = f"suspects.cashier:{one.id}"
        alarms.raise_alarm(session, key, "suspects.cashier", facts, now)
    count = len(suspects.members(session, now, clock.tz))
    if count:
        key = "suspects.members:all"
        alarms.raise_alarm(session, key, "suspects.members", {"count": count}, now)
    else:
        alarms.end_alarm(session, "suspects.members:all", now)


def digest(session: Session, run: Run) -> int:
    """Look once more, then tell the owner of what is open and not told."""
    from scheduler import watch  # which knows the table of jobs, that knows this one

    if run.cursor:
        return 0
    found = watchdog.look(session, run.now)
    missed = watch.find_missed(session, run.runtime, run.now)
    watch.write(session, run.runtime, found, missed, run.now)
    today = local_day(run.now, run.runtime.clock.tz).isoformat()
    alerts.tell_rest(session, run.runtime, run.now, today)
    run.cursor = 1
    return 1


def send_weekly(session: Session, run: Run) -> int:
    """Last week's card, on Mondays."""
    if run.cursor:
        return 0
    weekly.send(session, run.runtime, run.now)
    run.cursor = 1
    return 1
