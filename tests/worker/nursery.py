"""Senders in real processes that live a moment each.

Everything is imported once, then every sender is forked, so that one that lives 150 ms still gets
to work. With `--kills N` they are ended by SIGKILL, as a power cut would, until N have died; then
the last ones live on. The number of the dead is printed as it grows.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import time
from dataclasses import replace

from config import Settings
from core.clock import SystemClock
from core.crypto import Vault
from core.db import Database
from core.runtime import Runtime
from tests.fakes import FakeLine
from worker.desk import Habits
from worker.sender import Sender

SHORTEST, LONGEST = 0.15, 0.65
HABITS = Habits(
    connect_seconds=0.5,
    read_seconds=1.0,
    lease_seconds=3.0,
    sweep_seconds=0.1,
    gather_seconds=0.02,
    in_flight=4,
    patience=0.1,
)


def live(habits: Habits) -> None:
    """Be one sender until somebody ends us."""
    settings = Settings(_env_file=None)  # type: ignore[call-arg]
    runtime = Runtime(
        settings,
        Database(settings.database_url),
        SystemClock(settings.tz),
        Vault(settings.data_key, settings.index_key),
    )
    sender = Sender(runtime, line=FakeLine(), habits=habits)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    sender.start()
    try:
        while sender.is_alive:
            time.sleep(0.05)
    finally:
        sender.stop()


def fork(habits: Habits) -> int:
    child = os.fork()
    if child == 0:
        try:
            live(habits)
        finally:
            os._exit(0)
    return child


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--in-flight", type=int, default=4)
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
    habits = replace(HABITS, in_flight=arguments.in_flight)
    chance = random.Random(7)
    kills = 0
    children: dict[int, float] = {}
    try:
        while True:
            while len(children) < arguments.workers:
                children[fork(habits)] = time.monotonic() + chance.uniform(SHORTEST, LONGEST)
            for child, until in list(children.items()):
                done, _ = os.waitpid(child, os.WNOHANG)  # it may have died at a crash point
                if not done and kills < arguments.kills and time.monotonic() > until:
                    os.kill(child, signal.SIGKILL)
                    done, _ = os.waitpid(child, 0)
                if done:
                    del children[child]
                    kills += 1
                    print(kills, flush=True)
                    os.environ.pop("TAEM_CRASH_AT", None)
            time.sleep(0.01)
    except KeyboardInterrupt:
        for child in children:
            os.kill(child, signal.SIGTERM)
        for child in children:
            os.waitpid(child, 0)


if __name__ == "__main__":
    main()
