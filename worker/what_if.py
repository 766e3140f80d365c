"""The worker's part of trying out rules: one replay at a time, in small looks, one row written."""

from __future__ import annotations

import logging
import time

from core.runtime import Runtime
from engagement import what_if
from handlers.inbox import place_of
from models.results import WhatIf

#: Between two batches, so that a long replay leaves the processor to people.
PAUSE_SECONDS = 0.02

log = logging.getLogger("taem.what_if")


def step(runtime: Runtime) -> int:
    """Take up the next replay and bring it to its end; returns how many were done."""
    clock, database = runtime.clock, runtime.database
    with database.read() as session:  # an idle sweep takes no write lock
        if not what_if.is_any_open(session):
            return 0
    with database.write() as session:
        row = what_if.claim(session, clock.real_now())
    if row is None:
        return 0
    try:
        result = _run(runtime, row)
    except what_if.TooMany:
        _finish(runtime, row, {"reason": "too_many", "most": what_if.MOST_PURCHASES}, ok=False)
    except Exception as error:
        log.error("replay %s failed: %s", row.id, place_of(error))
        _finish(runtime, row, {"reason": "broken"}, ok=False)
    else:
        if result is not None:
            _finish(runtime, row, result)
    return 1


def _run(runtime: Runtime, row: WhatIf) -> dict[str, object] | None:
    """What came out; None when another worker has taken it over."""
    clock, database = runtime.clock, runtime.database
    with database.read() as session:
        replay = what_if.Replay(session, row.rules, row.made_at, clock.tz)
    is_more = True
    while is_more:
        with database.read() as session:
            is_more = replay.batch(session)
        if row.started_at and clock.real_now() - row.started_at > what_if.LEASE / 5:
            with database.write() as session:
                if not what_if.is_mine(session, row, clock.real_now()):
                    return None
        time.sleep(PAUSE_SECONDS)
    return replay.result()


def _finish(runtime: Runtime, row: WhatIf, result: dict[str, object], *, ok: bool = True) -> None:
    with runtime.database.write() as session:
        what_if.finish(session, row, result, runtime.clock.real_now(), ok=ok)
