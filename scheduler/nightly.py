"""The jobs of proof and watch: pairs and hours at night, what stands out, the morning's digest and
Monday's card. Each is safe twice; a batch is one phase, or a part of it."""

from __future__ import annotations

from sqlalchemy.orm import Session

from core.clock import local_day
from engagement import alerts, watchdog, weekly
from insights import suggestions, suspects
from loyalty import alarms
from scheduler.jobs import SPAN, Run, looking

PAIRS, HOURS, SUSPECTS = range(3)


def work_out(session: Session, run: Run) -> int:
    """Pairs, best hours, and whose figures deserve a look; a phase, or some members, a batch."""
    phase, after_id = divmod(run.cursor, SPAN)
    last_id = 0
    if phase == PAIRS:
        with looking(session, run) as there:
            pairs = suggestions.find_pairs(there, run.now)
        suggestions.keep_pairs(session, pairs)
    elif phase == HOURS:
        _, last_id = suggestions.find_best_hours(
            session, run.now, run.runtime.clock.tz, after_id=after_id, limit=run.limit
        )
    elif phase == SUSPECTS:
        _note_suspects(session, run)
    else:
        return 0
    run.cursor = phase * SPAN + last_id if last_id else (phase + 1) * SPAN
    return 1


def _note_suspects(session: Session, run: Run) -> None:
    """An alarm for each cashier with flags, and one for the members together; no names in it."""
    clock, now = run.runtime.clock, run.now
    with looking(session, run) as there:
        cashiers = suspects.cashiers(there, now, clock.real_now(), clock.tz)
        count = len(suspects.members(there, now, clock.tz))
    keys = {f"suspects.cashier:{one.id}" for one in cashiers}
    alarms.end_others(session, ["suspects.cashier:"], keys, now)
    for one in cashiers:
        facts = {"cashier_id": one.id, "count": len(one.flags)}
        key = f"suspects.cashier:{one.id}"
        alarms.raise_alarm(session, key, "suspects.cashier", facts, now)
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
    with looking(session, run) as there:
        weekly.send(session, run.runtime, run.now, there=there)
    run.cursor = 1
    return 1
