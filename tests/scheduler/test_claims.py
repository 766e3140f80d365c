"""Each occurrence exactly once, whoever runs it and whatever is killed (Z15, FS01, FS02)."""

from __future__ import annotations

import threading
from collections import Counter
from datetime import date, timedelta

import pytest
from sqlalchemy import func, select

from models.activities import Activity
from models.schedule import OccurrenceState
from scheduler import runner
from scheduler.runner import Outcome
from tests import lives
from tests.factories import environment
from tests.forks import Forked, ForkedModule
from tests.moments import NOW
from tests.processes import bare_environment
from tests.scheduler.conftest import job

TODAY = date(2026, 11, 22)


@pytest.fixture
def claimers(database_url, people, tmp_path):
    """Run these claimers to their end."""

    def run(rounds, *options, **environ):
        log = tmp_path / "claimers.log"
        claimers = ForkedModule(
            "tests.scheduler.claimers",
            [database_url, str(rounds), *options],
            bare_environment() | {"TAEM_TESTING": "1"} | environ,
            log,
        )
        try:
            assert claimers.wait(600) == 0, log.read_text()
        finally:
            claimers.kill_all()

    return run


@pytest.fixture
def effects(runtime):
    """How many marks each round has left on each member, as a count of counts."""

    def count():
        with runtime.database.read() as session:
            marks = session.execute(
                select(func.count())
                .where(Activity.kind == "tests.marked")
                .group_by(Activity.member_id, Activity.at)
            )
            return Counter(marks.scalars())

    return count


@pytest.mark.soak
def test_fs01_z15_four_processes_run_each_occurrence_once(claimers, effects, runs, scale):
    rounds = max(scale(100), 5)
    claimers(rounds)
    assert effects() == {1: rounds * 10}
    assert [run.state for run in runs()] == [OccurrenceState.DONE] * rounds


@pytest.mark.soak
def test_z15_kills_in_the_middle_lose_and_double_nothing(claimers, effects, runs, scale):
    rounds, kills = max(scale(100), 5), max(scale(100), 4)
    claimers(rounds, "--kills", str(kills))
    assert effects() == {1: rounds * 10}
    assert {run.state for run in runs()} == {OccurrenceState.DONE}


@pytest.mark.soak
def test_z18_clocks_five_minutes_apart_double_nothing(claimers, effects, scale):
    rounds = max(scale(100), 3)
    claimers(rounds, "--skew", "300")
    assert effects() == {1: rounds * 10}


@pytest.mark.soak
def test_z15_without_the_claim_everything_is_done_by_everybody(claimers, effects):
    """The positive control."""
    claimers(3, TAEM_SABOTAGE="scheduler_without_claim")
    assert max(effects()) > 1


def test_fs01_eight_threads_run_it_once(runtime, people, marks):
    outcomes = []
    barrier = threading.Barrier(8)

    def work():
        barrier.wait()
        outcomes.append(runner.run_occurrence(runtime, job(), on=TODAY, due=NOW, now=NOW))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count(Outcome.DONE) == 1
    assert marks() == dict.fromkeys(people, 1)


@pytest.mark.parametrize(
    "shared, point, marked",
    [
        (0, "claimed:1", 0),
        (0, "worked:2", 3),
        (0, "kept:2", 6),
        (0, "worked:5", 10),
        (60, "worked:4", 0),  # batches that share a transaction are lost together
    ],
)
def test_fs02_a_killed_run_goes_on_where_it_was(
    runtime, people, marks, settings, clock, shared, point, marked
):
    crash = {"TAEM_TESTING": "1", "TAEM_CRASH_AT": f"scheduler.{point}"}
    crash["TESTS_SHARED_SECONDS"] = str(shared)
    assert (
        Forked(lives.run_job_once, bare_environment() | environment(settings) | crash).wait(60)
        == -9
    )
    assert sum(marks().values()) == marked
    clock.moment = clock.real_now() + timedelta(days=365)  # whenever that was: the lease is over
    outcome = runner.run_occurrence(runtime, job(), on=TODAY, due=NOW, now=NOW)
    assert outcome == Outcome.DONE
    assert marks() == dict.fromkeys(people, 1)
