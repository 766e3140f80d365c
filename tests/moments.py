"""When the tests take place: a Sunday afternoon in the shop, 22 November 2026, 14:00."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

BANGKOK = ZoneInfo("Asia/Bangkok")
NOW = datetime(2026, 11, 22, 7, 0, tzinfo=UTC)
