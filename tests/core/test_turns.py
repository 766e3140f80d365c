"""Turns at SQLite's write lock: in order, once each, and never lost."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from core.db import Database
from core.turns import Turns, turns_of
from tests.processes import ROOT, bare_environment


def test_first_come_first_served():
    turns, served = Turns(), []
    assert turns.take(0)
    threads = []
    for number in range(10):
        thread = threading.Thread(target=lambda n=number: turns.take(5) and served.append(n))
        thread.start()
        threads.append(thread)
        while len(turns._waiting) <= number:
            time.sleep(0.001)
    for number in range(10):
        turns.give()
        threads[number].join(5)
    assert served == list(range(10))


def test_urgent_ones_come_next_and_shut_nobody_out():
    turns, served = Turns(), []
    assert turns.take(0)

    def usual():
        turns.take(5)
        served.append("usual")
        turns.give()

    def urgent():
        for _ in range(2):
            turns.take(5, is_urgent=True)
            served.append("urgent")
            turns.give()

    threads = [threading.Thread(target=work) for work in (usual, urgent)]
    for number, thread in enumerate(threads):
        thread.start()
        while len(turns._waiting) <= number:
            time.sleep(0.001)
    turns.give()
    for thread in threads:
        thread.join(5)
    assert served == ["urgent", "usual", "urgent"]


def test_whoever_gives_up_leaves_the_queue():
    turns = Turns()
    assert turns.take(0)
    assert not turns.take(0.05)
    turns.give()
    assert turns.take(0)


def test_another_process_is_let_in_between_two_of_ours(tmp_path):
    """Without the turnstile, threads that hand on to each other would keep it out."""
    path = str(tmp_path / "x.db")
    turns, is_over, ours = turns_of(path), threading.Event(), []

    def work():
        while not is_over.is_set():
            assert turns.take(10)
            time.sleep(0.005)
            ours.append(1)
            turns.give()

    with ThreadPoolExecutor(8) as pool:
        workers = [pool.submit(work) for _ in range(8)]
        other = subprocess.run(
            [sys.executable, "-c", OTHER, path],
            cwd=ROOT, env=bare_environment(), capture_output=True, text=True, check=True,
        )  # fmt: skip
        is_over.set()
        for worker in workers:
            worker.result()
    turns_given = int(other.stdout)
    assert turns_given >= 10
    assert ours


OTHER = """
import sys, time
from core.turns import turns_of
turns, given, until = turns_of(sys.argv[1]), 0, time.monotonic() + 1
while time.monotonic() < until and turns.take(1):
    time.sleep(0.005)
    turns.give()
    given += 1
print(given)
"""


def test_keeps_no_file_open_after_the_database_is_closed(tmp_path):
    def opened():
        fds = Path("/proc/self/fd").iterdir()
        return sum(1 for fd in fds if os.path.realpath(fd).startswith(str(tmp_path)))

    for _ in range(3):
        database = Database(f"sqlite:///{tmp_path}/x.db")
        with database.write() as session:
            session.execute(text("SELECT 1"))
        assert opened() >= 1
        database.dispose()
        assert opened() == 0


def test_a_killed_process_gives_its_turn_back(tmp_path):
    path = str(tmp_path / "x.db")
    code = "import os, sys; from core.turns import turns_of; turns_of(sys.argv[1]).take(1)"
    subprocess.run(
        [sys.executable, "-c", f"{code}; os.kill(os.getpid(), 9)", path],
        cwd=ROOT, env=bare_environment(), check=False,
    )  # fmt: skip
    assert turns_of(path).take(0.1)
    turns_of(path).give()


def test_only_one_has_the_turn():
    turns, inside, most = Turns(), [], []

    def work(_):
        assert turns.take(10)
        inside.append(1)
        most.append(len(inside))
        inside.pop()
        turns.give()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(2000)))
    assert max(most) == 1
    assert turns.take(0)


def test_one_file_has_one_queue_however_it_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    here, there = (
        Database("sqlite:///x.db"),
        Database(f"sqlite:///{tmp_path}/x.db", busy_timeout=0.1),
    )
    with here.write() as session:
        session.execute(text("CREATE TABLE t (x)"))
        with pytest.raises(OperationalError), there.write() as other:
            other.execute(text("SELECT 1"))
    with there.write() as other:
        other.execute(text("SELECT 1"))
    here.dispose()
    there.dispose()
    assert turns_of(str(tmp_path / "x.db")).take(0)
    turns_of(str(tmp_path / "x.db")).give()


@pytest.mark.parametrize("statement", ["INSERT INTO t VALUES (1)", "nonsense"])
def test_turn_comes_back_however_the_transaction_ends(tmp_path, statement):
    database = Database(f"sqlite:///{tmp_path}/x.db", busy_timeout=0.2)
    with database.write() as session:
        session.execute(text("CREATE TABLE t (x)"))
    for _ in range(3):
        try:
            with database.write() as session:
                session.execute(text(statement))
        except OperationalError:
            pass
    with pytest.raises(ZeroDivisionError), database.write() as session:
        session.execute(text("INSERT INTO t VALUES (1)"))
        raise ZeroDivisionError
    with database.engine.connect() as connection, connection.begin():
        connection.execute(text("INSERT INTO t VALUES (1)"))
    database.dispose()
    assert turns_of(str(tmp_path / "x.db")).take(0)
    turns_of(str(tmp_path / "x.db")).give()


def test_one_connection_may_have_several_transactions(tmp_path):
    database = Database(f"sqlite:///{tmp_path}/x.db", busy_timeout=0.2)
    with database.engine.connect() as connection:
        for number in range(3):
            with connection.begin():
                connection.execute(text(f"CREATE TABLE t{number} (x)"))
    assert turns_of(str(tmp_path / "x.db")).take(0)
    turns_of(str(tmp_path / "x.db")).give()
    database.dispose()


def test_lock_of_another_process_gives_the_turn_back(tmp_path):
    import sqlite3

    database = Database(f"sqlite:///{tmp_path}/x.db", busy_timeout=0.1)
    with database.write() as session:
        session.execute(text("CREATE TABLE t (x)"))
    other = sqlite3.connect(tmp_path / "x.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(OperationalError), database.write() as session:
        session.execute(text("SELECT 1"))
    other.execute("ROLLBACK")
    other.close()
    with database.write() as session:
        session.execute(text("SELECT 1"))
    database.dispose()
