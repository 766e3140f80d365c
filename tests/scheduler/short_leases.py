"""The café in one process, `python app.py all`, whose leases end soon after it was killed.

The module is run from the fork server. Waiting a minute for every kill would make a year of them
take hours; nothing else is different.
"""

from __future__ import annotations

import sys
from datetime import timedelta
from functools import partial

import app
from scheduler import runner
from worker import desk, sender

LEASE_SECONDS = 3.0


def main() -> None:
    runner.LEASE = timedelta(seconds=LEASE_SECONDS)
    sender.Habits = partial(  # type: ignore[misc, assignment]
        desk.Habits, lease_seconds=LEASE_SECONDS, read_seconds=1.5, sweep_seconds=0.2
    )
    sys.exit(app.main(["all"]))
