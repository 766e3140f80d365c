"""Power cuts in the middle of business: every operation is there whole, or not at all (Z10)."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from loyalty import proof
from models.coupons import Obtained, Redemption
from models.points import LedgerEntry
from models.purchases import Operation, Purchase, PurchaseReturn
from tests import factories
from tests.conftest import SOAK
from tests.forks import ForkedTalker
from tests.moments import NOW
from tests.processes import bare_environment

PLAYERS = 3

pytestmark = [pytest.mark.soak, pytest.mark.slow]


class Nursery:
    """A process that brings up players, one at a time, for us to kill."""

    def __init__(self, url: str, name: str, log: Path, sabotage: str) -> None:
        self.process = ForkedTalker(
            "tests.loyalty.players",
            [url, name],
            bare_environment() | {"TAEM_TESTING": "1", "TAEM_SABOTAGE": sabotage},
            log,
        )
        assert self.hear() == "ready"
        self.player = 0

    def hear(self) -> str:
        return self.process.stdout.readline().strip()

    def next_player(self) -> int:
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        return int(self.hear())

    def kill_player(self) -> None:
        os.kill(self.player, signal.SIGKILL)

    def stop(self) -> None:
        self.kill_player()
        self.process.stdin.close()
        self.process.wait(10)
        self.process.close()


def lay_out(database) -> None:
    with database.write() as session:
        factories.make_branch(session)
        for number in range(4):
            factories.make_member(session, f"m{number}")
        prize = factories.make_coupon(session, "prize", obtained=Obtained.STAMPS)
        factories.make_stamp_program(session, size=5, prize=prize)
        factories.make_coupon(
            session, "mug", obtained=Obtained.POINTS, price_points=15, per_member=10_000
        )


def play(database_url, kills, folder, sabotage="") -> str:
    """Let players do business, kill them `kills` times; returns what they complained about."""
    chance = random.Random(10)
    log = folder / "players.log"
    nurseries = [Nursery(database_url, f"p{n}", log, sabotage) for n in range(PLAYERS)]
    for nursery in nurseries:  # all have rehearsed: a rehearsal holds several members at once
        nursery.player = nursery.next_player()
    for _ in range(kills):
        time.sleep(chance.uniform(0.02, 0.3))
        nursery = chance.choice(nurseries)
        nursery.kill_player()
        nursery.player = nursery.next_player()
    time.sleep(0.5)
    for nursery in nurseries:
        nursery.stop()
    return log.read_text()


def halves(database) -> dict[str, Any]:
    """Operations without an answer, and answers without their effect or the other way round."""
    tables = {"purchase": Purchase, "return": PurchaseReturn, "redemption": Redemption}
    with database.write() as session:
        assert session.scalar(select(func.count()).select_from(Operation)) > PLAYERS
        answers = session.scalars(select(Operation.answer)).all()
        wrong: dict[str, Any] = {"unanswered": answers.count(None)}
        for kind, table in tables.items():
            told = {answer[kind] for answer in answers if answer and kind in answer}
            wrong[kind] = told ^ set(session.scalars(select(table.id)))
        wrong["differences"] = proof.check_all(session, NOW)
    return {kind: found for kind, found in wrong.items() if found}


def test_z10_killed_business_leaves_no_half_operation(database, database_url, scale, tmp_path):
    lay_out(database)
    complaints = play(database_url, max(12, scale(500)), tmp_path)
    assert complaints == ""  # no lock, no fault: only refusals, which are answers
    assert halves(database) == {}


def test_z10_answers_apart_from_their_effects_would_be_noticed(database, database_url, tmp_path):
    lay_out(database)
    # A death falls between the two halves by chance: on a busy machine it may take a few more.
    for _ in range(4):
        if play(database_url, 12, tmp_path, "operations.together") or halves(database):
            return
    pytest.fail("nothing was noticed")


# A million movements


GRINDERS = 3
A_BATCH = 100


def test_z10_a_million_movements_with_kills_drift_by_nothing(
    database, database_url, processes, scale
):
    """Three processes move points in batches; one of them is killed again and again."""
    with database.write() as session:
        factories.make_policy(session)
        for number in range(12):
            factories.make_member(session, f"m{number}")
    batches = max(2, scale(1_000_000) // A_BATCH // GRINDERS // (1 if SOAK else 20))
    shares = {name: [str(batches), str(A_BATCH)] for name in ("a", "b", "c")}

    def start(name: str) -> Any:
        return processes.fork_module(
            *("tests.loyalty.grinders", database_url, name, *shares[name]),
            environment=bare_environment() | {"TAEM_TESTING": "1"},
        )

    at_work = {name: start(name) for name in shares}
    chance, kills, most = random.Random(10), 0, 300 if SOAK else 2
    while at_work:
        time.sleep(chance.uniform(0.3, 2.0))
        for name, (process, log) in list(at_work.items()):
            if process.poll() is not None:
                assert process.poll() == 0, log.read_text()
                del at_work[name]
        if at_work and kills < most:
            name = chance.choice(sorted(at_work))
            killed, _ = at_work[name]
            killed.kill_all()
            killed.wait(30)
            at_work[name] = start(name)
            kills += 1
    with database.write() as session:
        assert session.scalar(select(func.count()).select_from(Operation)) == batches * GRINDERS
        entries = session.scalar(select(func.count()).select_from(LedgerEntry)) or 0
        assert entries > batches * GRINDERS * A_BATCH // 3
        assert proof.check_all(session, NOW) == []
