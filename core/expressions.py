"""Pieces of SQL that the two engines spell differently."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Integer, String, literal
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement


class _LocalHour(FunctionElement[int]):
    """The hour of a moment on a wall clock: (moment, zone, distance from UTC)."""

    type = Integer()
    name = "local_hour_at"
    inherit_cache = True


def local_hour(column: Any, offset: timedelta, tz: ZoneInfo) -> FunctionElement[int]:
    """The hour of a moment on the shop's wall clock.

    SQLite knows no zones: there it is by `offset`, the zone's distance from UTC at the time.
    """
    shift = f"{int(offset.total_seconds())} seconds"
    return _LocalHour(column, literal(tz.key, String), literal(shift, String))


@compiles(_LocalHour, "postgresql")
def _on_postgresql(element: Any, compiler: Any, **more: Any) -> str:
    moment, zone, _ = element.clauses
    local = f"timezone({compiler.process(zone, **more)}, {compiler.process(moment, **more)})"
    return f"CAST(EXTRACT(HOUR FROM {local}) AS INTEGER)"


@compiles(_LocalHour, "sqlite")
def _on_sqlite(element: Any, compiler: Any, **more: Any) -> str:
    moment, _, shift = element.clauses
    moved = f"{compiler.process(moment, **more)}, {compiler.process(shift, **more)}"
    return f"CAST(strftime('%H', {moved}) AS INTEGER)"
