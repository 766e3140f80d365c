"""Short lives of the product in forked processes, each ended at a point that its test chose."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from app import build_runtime
from config import Settings, load_settings
from migrations.run import upgrade
from scheduler import runner
from tests.moments import NOW
from tests.scheduler.conftest import job
from worker import feed


def read_settings(environment: dict[str, str], log: str) -> None:
    """Read the settings beside that file, which takes what is said."""
    os.chdir(Path(log).parent)
    os.environ.clear()
    os.environ.update(environment)
    with Path(log).open("w") as said:
        sys.stdout = sys.stderr = said
        load_settings()


def deliver_feed(environment: dict[str, str]) -> None:
    """Post what the outgoing webhooks owe."""
    os.environ.clear()
    os.environ.update(environment)
    feed.deliver(build_runtime(Settings(_env_file=None)))  # type: ignore[call-arg]


def run_job_once(environment: dict[str, str]) -> None:
    """Run one occurrence of a job of the tests."""
    os.environ.clear()
    os.environ.update(environment)
    runner.SHARED_SECONDS = float(environment["TESTS_SHARED_SECONDS"])
    runtime = build_runtime(Settings(_env_file=None))  # type: ignore[call-arg]
    runner.run_occurrence(runtime, job(), on=NOW.date(), due=NOW, now=NOW)


def migrate_until(url: str, statement: int) -> None:
    """Bring the database up to date, but die before that statement (counted from 1)."""
    left = statement

    @sa.event.listens_for(sa.Engine, "before_cursor_execute")
    def count(*_arguments: Any) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    upgrade(url)
