"""B5: points earned through the rule function, eight threads, each earn a transaction of its own.

Limits in the same run: on PostgreSQL `pgbench` with the same statements and as many clients; on
SQLite one raw `sqlite3` connection with the same statements; and on both the naive way: the ORM,
a look for the double first, and a balance that is added up from the member's entries.
"""

from __future__ import annotations

import re
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from threading import Barrier, Thread
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import func, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session

from benchmarks.b2_handling import add_members
from benchmarks.ground import Bench, Result, median
from core.db import Database
from loyalty import points, proof
from models.members import Member, MemberTotals
from models.points import EntryKind, LedgerEntry, Lot
from tests.postgres import plain_url

THREADS = 8
MEMBERS = 10_000
EARNS = 4_000
NAIVE_EARNS = 800
#: What a member has behind them, so that adding it up costs what it costs in a shop.
ENTRIES_EACH = 40
BANGKOK = ZoneInfo("Asia/Bangkok")
SOURCES = count(1)

PGBENCH = """
\\set member random(1, :members)
\\set source random(1, 9000000000000000)
BEGIN;
SELECT member_id, balance, debt, carry_satang, frozen_at, level, purchase_count, first_purchase_at,
 last_purchase_at, purchase_days, purchase_day_count FROM member_totals
 WHERE member_id = :member FOR UPDATE;
INSERT INTO ledger_entries (member_id, kind, points, source, source_id, created_at, effective_at,
 facts) VALUES (:member, 'earn', 10, 'pgbench', CAST(:source AS text), now(), now(), '{}')
 ON CONFLICT DO NOTHING RETURNING id AS entry \\gset
INSERT INTO lots (member_id, entry_id, points, remaining, earned_at, expires_at)
 VALUES (:member, :entry, 10, 10, now(), now() + interval '1 year');
UPDATE member_totals SET balance = balance + 10, earned_total = earned_total + 10
 WHERE member_id = :member;
COMMIT;
"""


def run(bench: Bench) -> Iterator[Result]:
    """Both engines: ours, the engine's own speed, and the naive way, in turns."""
    members = bench.scaled(MEMBERS)
    for kind in ("postgresql", "sqlite"):
        url = bench.database(kind)
        add_members(url, members)
        add_past(url)
        database = Database(url, pool_size=THREADS)
        limit_of = pgbench if kind == "postgresql" else raw_sqlite
        earn_many(database, members, 200, earn)
        ours, limit, naive = [], [], []
        for _ in range(bench.rounds):
            ours.append(earn_many(database, members, bench.scaled(EARNS), earn))
            limit.append(limit_of(bench, url, members, bench.scaled(EARNS)))
            naive.append(earn_many(database, members, bench.scaled(NAIVE_EARNS), earn_naively))
        with database.read() as session:
            assert proof.find_all(session) == []
        database.dispose()
        least, name = (0.25, "pgbench") if kind == "postgresql" else (0.3, "raw sqlite3")
        yield Result(
            f"B5 earns/s, {kind}",
            median(ours),
            median(limit),
            f">= {least:g} of {name}",
            median(ours) >= least * median(limit),
        )
        yield Result(
            f"B5 earns/s against the naive way, {kind}",
            median(ours),
            median(naive),
            ">= 3 of the naive ORM way",
            median(ours) >= 3 * median(naive),
        )


def add_past(url: str) -> None:
    """Entries and lots that every member has behind them, all of them used up."""
    database = Database(url)
    with database.write() as session:
        past = {"each": ENTRIES_EACH, "now": datetime.now(UTC)}
        numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :each) "
        for kind, points_, source in (("earn", 5, "past"), ("burn", -5, "past_use")):
            session.execute(
                text(
                    "INSERT INTO ledger_entries (member_id, kind, points, source, source_id,"
                    " created_at, effective_at, facts) "
                    + numbers
                    + "SELECT member_id, :kind, :points, :source, member_id || '-' || i, :now,"
                    " :now, '{}' FROM member_totals CROSS JOIN n"
                ).bindparams(kind=kind, points=points_, source=source),
                past,
            )
        session.execute(
            text(
                "INSERT INTO lots (member_id, entry_id, points, remaining, earned_at)"
                " SELECT member_id, id, 5, 0, :now FROM ledger_entries WHERE source = 'past'"
            ),
            past,
        )
        session.execute(text("ANALYZE"))  # the join below must know how much there is
        session.execute(
            text(
                "INSERT INTO lot_draws (entry_id, lot_id, points)"
                " SELECT burned.id, lots.id, -5 FROM lots"
                " JOIN ledger_entries earned ON earned.id = lots.entry_id"
                " JOIN ledger_entries burned ON burned.source = 'past_use'"
                " AND burned.kind = 'burn' AND burned.source_id = earned.source_id"
                " WHERE earned.source = 'past'"
            )
        )
    with database.write() as session:
        session.execute(text("ANALYZE"))
    database.dispose()


def earn_many(
    database: Database,
    members: int,
    number: int,
    work: Callable[[Session, int, str, datetime], None],
) -> float:
    """Earns a second of eight threads that begin together."""
    now = datetime.now(UTC)
    barrier = Barrier(THREADS + 1)
    faults: list[BaseException] = []

    def earn_share(place: int) -> None:
        barrier.wait()
        try:
            for turn in range(place, number, THREADS):
                with database.write() as session:
                    work(session, (turn * 7919) % members + 1, str(next(SOURCES)), now)
        except BaseException as fault:
            faults.append(fault)

    threads = [Thread(target=earn_share, args=(place,)) for place in range(THREADS)]
    for thread in threads:
        thread.start()
    barrier.wait()
    began = time.perf_counter()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - began
    assert not faults, faults
    return number / seconds


def earn(session: Session, member_id: int, source_id: str, now: datetime) -> None:
    """Ten points by the rule."""
    points.earn(session, member_id, 10, source="b5", source_id=source_id, now=now, tz=BANGKOK)


def earn_naively(session: Session, member_id: int, source_id: str, now: datetime) -> None:
    """Ten points as one would at first: objects, a look for the double, a balance added up."""
    member = session.get_one(Member, member_id)
    totals = session.get_one(MemberTotals, member.id, with_for_update=True)
    mine = select(LedgerEntry).where(LedgerEntry.member_id == member.id)
    if session.scalars(mine.where(LedgerEntry.source_id == source_id)).first() is not None:
        return
    entry = LedgerEntry(
        member_id=member.id, kind=EntryKind.EARN, points=10, source="naive", source_id=source_id,
        created_at=now, effective_at=now,
    )  # fmt: skip
    session.add(entry)
    session.flush()
    session.add(Lot(member_id=member.id, entry_id=entry.id, points=10, remaining=10, earned_at=now))
    totals.balance = sum(one.points for one in session.scalars(mine))
    totals.earned_total += 10


def pgbench(bench: Bench, url: str, members: int, number: int) -> float:
    """Transactions a second of pgbench with the same statements."""
    program = shutil.which("pgbench")
    assert program is not None, "pgbench is needed: Debian package postgresql-contrib or -client"
    script = bench.folder / "earn.sql"
    script.write_text(PGBENCH)
    before = entries_of(url)
    done = subprocess.run(
        [program, "-n", "-M", "prepared", "-f", str(script), "-D", f"members={members}",
         "-c", str(THREADS), "-j", "2", "-t", str(number // THREADS), plain_url(url)],
        check=False, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert entries_of(url) == before + number // THREADS * THREADS
    found = re.search(r"tps = ([0-9.]+)", done.stdout)
    assert found is not None, done.stdout
    return float(found[1])


def entries_of(url: str) -> int:
    database = Database(url)
    with database.read() as session:
        number = session.scalar(select(func.count()).select_from(LedgerEntry)) or 0
    database.dispose()
    return number


def raw_sqlite(bench: Bench, url: str, members: int, number: int) -> float:
    """Transactions a second of one plain connection with the same statements."""
    path = Path(make_url(url).database or "")
    plain: Any = sqlite3.connect(path, isolation_level=None)
    plain.execute("PRAGMA synchronous=FULL")
    plain.execute("PRAGMA foreign_keys=ON")
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
    began = time.perf_counter()
    for turn in range(number):
        member = (turn * 7919) % members + 1
        plain.execute("BEGIN IMMEDIATE")
        plain.execute(
            "SELECT member_id, balance, debt, carry_satang, frozen_at, level, purchase_count,"
            " first_purchase_at, last_purchase_at, purchase_days, purchase_day_count"
            " FROM member_totals WHERE member_id = ?",
            (member,),
        ).fetchone()
        entry = plain.execute(
            "INSERT INTO ledger_entries (member_id, kind, points, source, source_id, created_at,"
            " effective_at, facts) VALUES (?, 'earn', 10, 'raw', ?, ?, ?, '{}')"
            " ON CONFLICT DO NOTHING RETURNING id",
            (member, str(next(SOURCES)), now, now),
        ).fetchone()[0]
        plain.execute(
            "INSERT INTO lots (member_id, entry_id, points, remaining, earned_at, expires_at)"
            " VALUES (?, ?, 10, 10, ?, ?)",
            (member, entry, now, now),
        )
        plain.execute(
            "UPDATE member_totals SET balance = balance + 10, earned_total = earned_total + 10"
            " WHERE member_id = ?",
            (member,),
        )
        plain.execute("COMMIT")
    seconds = time.perf_counter() - began
    plain.close()
    del bench
    return number / seconds
