"""Processes that all want the same occurrences: the module is run with a URL and how many rounds.

Everything is imported once, then every claimer is forked. Each goes over all rounds again and again
until every one is done. With `--kills N` claimers are ended by SIGKILL, as a power cut would, until
N have died; others take their place. `--skew` sets their clocks apart by so many seconds.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import time
import traceback
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from core.clock import SystemClock, at_local
from core.crypto import Vault
from core.db import Database
from core.runtime import Runtime
from scheduler import runner
from scheduler.jobs import Run
from scheduler.runner import Outcome
from tests import factories
from tests.moments import BANGKOK, NOW
from tests.scheduler.conftest import job, mark

SHORTEST, LONGEST = 0.1, 0.4


class SkewedClock(SystemClock):
    """A machine whose clock is wrong."""

    def __init__(self, seconds: float) -> None:
        super().__init__(BANGKOK)
        self.skew = timedelta(seconds=seconds)

    def real_now(self) -> datetime:
        return super().real_now() + self.skew


def slow_mark(session: Session, run: Run) -> int:
    done = mark(session, run)
    time.sleep(0.004)  # so that some die in the middle of a batch
    return done


def claim(url: str, rounds: int, skew: float) -> None:
    """Run every round that is left, until none is."""
    runner.LEASE = timedelta(seconds=1)
    runtime = Runtime(
        settings=factories.make_settings(url),
        database=Database(url),
        clock=SkewedClock(skew),
        vault=Vault((factories.DATA_KEY,), (factories.INDEX_KEY,)),
    )
    wanted = job(work=slow_mark)
    days = [NOW.date() + timedelta(days=number) for number in range(rounds)]
    while days:
        left = []
        for day in days:
            due = at_local(day, 9, 0, BANGKOK)
            outcome = runner.run_occurrence(runtime, wanted, on=day, due=due, now=due)
            if outcome == Outcome.RUNNING:
                left.append(day)
                time.sleep(0.005)
        days = left


def fork(url: str, rounds: int, skew: float) -> int:
    child = os.fork()
    if child:
        return child
    try:
        claim(url, rounds, skew)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("rounds", type=int)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--skew", type=float, default=0)
    asked = parser.parse_args()
    chance = random.Random(11)
    skews = [chance.uniform(-asked.skew, asked.skew) for _ in range(asked.workers)]
    living = {fork(asked.url, asked.rounds, skew): skew for skew in skews}
    kills = 0
    while living:
        time.sleep(chance.uniform(SHORTEST, LONGEST))
        for child in list(living):
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                assert status == 0, "a claimer failed"
                del living[child]
        if living and kills < asked.kills:
            victim = chance.choice(list(living))
            os.kill(victim, signal.SIGKILL)
            os.waitpid(victim, 0)
            skew = living.pop(victim)
            living[fork(asked.url, asked.rounds, skew)] = skew
            kills += 1
    print(kills)


if __name__ == "__main__":
    main()
