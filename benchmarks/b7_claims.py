"""B7: everybody claims the same coupon: 1,000 claims at once from 8 processes of 8 threads.

Exactly N are had. The limit is the guarded UPDATE alone, by as many clients: `pgbench` on
PostgreSQL, raw `sqlite3` in one loop on SQLite.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from threading import Barrier, Thread
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import select, text
from sqlalchemy.engine import make_url

from benchmarks.b2_handling import add_members
from benchmarks.ground import Bench, Result, median, percentile
from core.db import Database
from core.errors import Refused
from loyalty import coupons
from models.coupons import Coupon, CouponKind, CouponState, Voucher
from models.members import Member
from tests.postgres import plain_url
from tests.processes import ROOT, bare_environment

PROCESSES = 8
THREADS = 8
CLAIMS = 1_000
START_IN_SECONDS = 0.5
BANGKOK = ZoneInfo("Asia/Bangkok")

GUARDED = (
    "UPDATE coupons SET issued_count = issued_count + 1 WHERE id = {id} AND"
    " (total_units IS NULL OR issued_count < total_units) AND"
    " (budget_satang IS NULL OR spent_satang < budget_satang) AND state = 'live'"
)


def run(bench: Bench) -> Iterator[Result]:
    """Both engines: a rush on a fresh coupon and the bare update, in turns."""
    for kind in ("postgresql", "sqlite"):
        url = bench.database(kind)
        add_members(url, CLAIMS)
        limit_of = pgbench if kind == "postgresql" else raw_sqlite
        claimers = [start(url, place) for place in range(PROCESSES)]
        ours, limit, seconds = [], [], list[float]()
        for number in range(bench.rounds + 1):
            coupon_id = add_coupon(url, f"rush_{number}")
            rate, took = rush(url, claimers, coupon_id)
            if number == 0:
                continue  # connections and statements are made once
            ours.append(rate)
            seconds += took
            limit.append(limit_of(bench, url, add_coupon(url, f"bare_{number}")))
        for claimer in claimers:
            claimer.communicate("")
        name = "pgbench" if kind == "postgresql" else "raw sqlite3"
        yield Result(
            f"B7 claims/s, {kind}",
            median(ours),
            median(limit),
            f">= 0.5 of {name}",
            median(ours) >= 0.5 * median(limit),
        )
        p99 = percentile(seconds, 99)
        yield Result(f"B7 p99 s of a claim, {kind}", p99, 1.0, "<= 1 s", p99 <= 1)


def add_coupon(url: str, key: str) -> int:
    """A fresh offer with half as many units as there are claims."""
    database = Database(url)
    with database.write() as session:
        coupon = Coupon(
            key=key,
            kind=CouponKind.BAHT_OFF,
            state=CouponState.LIVE,
            name_th="ลด 20 บาท",
            name_en="20 baht off",
            value_satang=2_000,
            total_units=CLAIMS // 2,
            created_at=datetime.now(UTC),
        )
        session.add(coupon)
        session.flush()  # the id is asked for
        found = coupon.id
    database.dispose()
    return found


def start(url: str, place: int) -> subprocess.Popen[str]:
    """One of the processes, connected and waiting."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.b7_claims", url, str(place)],
        cwd=ROOT,
        env=bare_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "ready"
    return process


def rush(
    url: str, claimers: list[subprocess.Popen[str]], coupon_id: int
) -> tuple[float, list[float]]:
    """Claims a second of all together, and how long each took; checks that N were had."""
    begin = time.time() + START_IN_SECONDS
    for claimer in claimers:
        assert claimer.stdin is not None
        claimer.stdin.write(json.dumps([coupon_id, begin]) + "\n")
        claimer.stdin.flush()
    answers = []
    for claimer in claimers:
        assert claimer.stdout is not None
        answers.append(json.loads(claimer.stdout.readline()))
    outcomes: Counter[str] = Counter()
    for answer in answers:
        outcomes.update(answer["outcomes"])
    units = CLAIMS // 2
    assert outcomes == {"ok": units, "coupons.sold_out": CLAIMS - units}, outcomes
    database = Database(url)
    with database.read() as session:
        issued = session.scalars(select(Coupon.issued_count).where(Coupon.id == coupon_id)).one()
        vouchers = session.scalars(select(Voucher.id).where(Voucher.coupon_id == coupon_id)).all()
    database.dispose()
    assert issued == len(vouchers) == units
    ended = max(answer["ended"] for answer in answers)
    return CLAIMS / (ended - begin), [one for answer in answers for one in answer["seconds"]]


def claim_share(url: str, place: int) -> None:
    """One process: its share of each rush, by eight threads."""
    database = Database(url, pool_size=THREADS)
    with database.read() as session:
        members = list(session.scalars(select(Member.id).order_by(Member.id)))[place::PROCESSES]
    print("ready", flush=True)
    for line in sys.stdin:
        coupon_id, begin = json.loads(line)
        outcomes: list[str] = []
        seconds: list[float] = []
        barrier = Barrier(THREADS)

        def work(
            mine: list[int],
            coupon_id: int = coupon_id,
            begin: float = begin,
            outcomes: list[str] = outcomes,
            seconds: list[float] = seconds,
            barrier: Barrier = barrier,
        ) -> None:
            with database.read() as session:
                session.execute(text("SELECT 1"))  # a connection is there before it begins
            barrier.wait()
            time.sleep(max(0.0, begin - time.time()))
            for member_id in mine:
                began = time.perf_counter()
                outcomes.append(claim(database, coupon_id, member_id))
                seconds.append(time.perf_counter() - began)

        threads = [Thread(target=work, args=(members[at::THREADS],)) for at in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        said: dict[str, Any] = {"outcomes": Counter(outcomes), "seconds": seconds}
        print(json.dumps(said | {"ended": time.time()}), flush=True)
    database.dispose()


def claim(database: Database, coupon_id: int, member_id: int) -> str:
    """One claim, as a tap on a card makes it."""
    try:
        with database.write() as session:
            member = session.get_one(Member, member_id)
            coupons.claim(
                session, coupon_id, member, datetime.now(UTC), BANGKOK, key=f"card-{coupon_id}"
            )
    except Refused as refusal:
        return refusal.code
    return "ok"


def pgbench(bench: Bench, url: str, coupon_id: int) -> float:
    """The guarded update alone, by as many clients as there are processes."""
    program = shutil.which("pgbench")
    assert program is not None, "pgbench is needed: Debian package postgresql-contrib or -client"
    script = bench.folder / "claim.sql"
    script.write_text(GUARDED.format(id=coupon_id) + ";\n")
    began = time.perf_counter()
    subprocess.run(
        [program, "-n", "-M", "prepared", "-f", str(script), "-c", str(PROCESSES), "-j", "2",
         "-t", str(CLAIMS // PROCESSES), plain_url(url)],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    return CLAIMS / (time.perf_counter() - began)


def raw_sqlite(bench: Bench, url: str, coupon_id: int) -> float:
    """The guarded update alone, durable, one after the other."""
    del bench
    plain = sqlite3.connect(make_url(url).database or "", isolation_level=None, timeout=30)
    plain.execute("PRAGMA synchronous=FULL")
    statement = GUARDED.format(id=coupon_id)
    began = time.perf_counter()
    for _ in range(CLAIMS):
        plain.execute("BEGIN IMMEDIATE")
        plain.execute(statement)
        plain.execute("COMMIT")
    seconds = time.perf_counter() - began
    plain.close()
    return CLAIMS / seconds


if __name__ == "__main__":
    claim_share(sys.argv[1], int(sys.argv[2]))
