"""Switches that only tests can throw: guards taken away, and places where a process dies.

A test that still passes with its guard sabotaged proves nothing. All of it is dead unless
`TAEM_TESTING=1`; everywhere else every guard stands.
"""

from __future__ import annotations

import os
import signal
from collections import Counter

_reached: Counter[str] = Counter()


def is_sabotaged(name: str) -> bool:
    """Whether this guard is switched off: `TAEM_SABOTAGE` lists names, separated by commas."""
    if os.environ.get("TAEM_TESTING") != "1":
        return False
    return name in os.environ.get("TAEM_SABOTAGE", "").split(",")


def reach(point: str) -> None:
    """Mark a named crash point, e.g. `intake.committed`.

    `TAEM_CRASH_AT` says where to die as in a power cut: `point`, or `point:n` for the n-th time.
    """
    if os.environ.get("TAEM_TESTING") != "1":
        return
    name, _, count = os.environ.get("TAEM_CRASH_AT", "").partition(":")
    if name == point:
        _reached[point] += 1
        if _reached[point] == int(count or 1):
            os.kill(os.getpid(), signal.SIGKILL)
