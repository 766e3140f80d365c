"""B8: the nightly pass (cut points, RFM, worth, levels) over 1 M members and 10 M bills.

The limit is DuckDB working out RFM alone, from all bills, in this run. Ours is durable and writes
what has changed since the night before; the first night, which looks at everybody, is not counted.
Bills are made by DuckDB as well, in the order of time, as a shop's are.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import bindparam, text, update

from benchmarks.ground import Bench, Result, environment, median
from core.bulk import copy_many
from core.clock import at_local
from core.db import Database
from core.ids import check_digit
from loyalty import lifecycle
from loyalty.lifecycle import Cuts
from models.base import table_of
from models.members import Member, MemberState, MemberTotals, Stage
from models.purchases import Purchase, PurchaseState
from models.staff import Branch
from tests import factories
from tests.processes import bare_environment

MEMBERS = 1_000_000
BILLS_EACH = 10
DAYS = 730
LAST = date(2026, 11, 22)
BANGKOK = ZoneInfo("Asia/Bangkok")
CHUNK = 20_000
MOST_MB = 1_024
#: Some buy every week and most now and then: the square of an even spread.
MAKE = """
CREATE TABLE bills AS
SELECT i AS id, 1 + CAST(floor({members} * pow((hash(i) % 1000003) / 1000003.0, 2)) AS BIGINT)
  AS member_id, DATE '{first}' + CAST(i * {days} // {bills} AS INTEGER) AS day,
  i * {days} % {bills} * 720 // {bills} AS minute,
  4000 + CAST(hash(i + 7) % 26000 AS BIGINT) AS satang
FROM range({bills}) AS numbers(i)
"""
PLAIN = """
WITH sums AS (SELECT member_id, DATE '{today}' - max(day) AS silent, count(*) AS bills,
  sum(satang) AS spent FROM bills WHERE day > DATE '{today}' - 365 GROUP BY 1),
 scores AS (SELECT member_id, ntile(5) OVER (ORDER BY silent DESC) AS recency,
  ntile(5) OVER (ORDER BY bills) AS frequency, ntile(5) OVER (ORDER BY spent) AS money FROM sums)
SELECT recency, (frequency + money + 1) // 2 AS place, count(*) FROM scores GROUP BY 1, 2
"""


def run(bench: Bench) -> Iterator[Result]:
    """Both engines: a first night, then one night a round, DuckDB beside each."""
    import duckdb

    members = bench.scaled(MEMBERS)
    for kind in ("postgresql", "sqlite"):
        plain = duckdb.connect(config={"threads": 2})
        first = LAST - timedelta(days=DAYS - 1)
        bills = members * BILLS_EACH
        plain.execute(MAKE.format(members=members, first=first, days=DAYS, bills=bills))
        url = bench.database(kind)
        load(url, plain, members, LAST)
        night(bench, url, LAST)
        ours, limits, peaks, shares = [], [], [], []
        for number in range(1, bench.rounds + 1):
            today = LAST + timedelta(days=number)
            add_day(url, plain, members, today, bills // DAYS)
            limits.append(seconds_of(plain, today))
            seconds, peak, written = night(bench, url, today)
            ours.append(seconds)
            peaks.append(peak)
            shares.append(100 * written / members)
        plain.close()
        yield Result(
            f"B8 a night's seconds, {kind}",
            median(ours),
            median(limits),
            "<= 6 of DuckDB's RFM",
            median(ours) <= 6 * median(limits),
        )
        yield Result(
            f"B8 memory in MB, {kind}", max(peaks), None, f"<= {MOST_MB}", max(peaks) <= MOST_MB
        )
        yield Result(
            f"B8 rows written, % of members, {kind}",
            median(shares),
            None,
            "only what changed: <= 25",
            median(shares) <= 25,
        )


def seconds_of(plain: Any, today: date) -> float:
    """DuckDB's time for RFM of everybody."""
    began = time.perf_counter()
    rows = plain.execute(PLAIN.format(today=today)).fetchall()
    assert len(rows) > 10
    return time.perf_counter() - began


def night(bench: Bench, url: str, on: date) -> tuple[float, float, int]:
    """Seconds, peak MB and rows written of the pass at half past two after this day."""
    moment = at_local(on, 2, 30, BANGKOK)
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.night_process", moment.isoformat()],
        check=False, capture_output=True, text=True, timeout=3_600,
        env=bare_environment() | environment(url, 1),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    seconds, peak, written = done.stdout.split()
    return float(seconds), float(peak), int(written)


def load(url: str, plain: Any, members: int, today: date) -> None:
    """Members, their bills in the order of time, and their totals."""
    database = Database(url)
    with database.write() as session:
        branch = factories.make_branch(session)
        branch_id = branch.id
    made_at = at_local(LAST - timedelta(days=DAYS), 9, 0, BANGKOK)
    people = (person(number, made_at) for number in range(1, members + 1))
    while chunk := list(islice(people, CHUNK)):
        with database.write() as session:
            copy_many(session, table_of(Member), chunk)
    copy_bills(database, plain, branch_id, "")
    for chunk in figures_of(plain, today, "", Cuts()):
        with database.write() as session:
            copy_many(session, table_of(MemberTotals), chunk)
    idle = text(
        "INSERT INTO member_totals (member_id, balance, debt, carry_satang, earned_total,"
        " purchase_count, spent_satang, purchase_days, purchase_day_count, stage, level, level_why)"
        " SELECT id, 0, 0, 0, 0, 0, 0, '[]', 0, 'consideration', 'target', '{}' FROM members"
        " WHERE id NOT IN (SELECT member_id FROM member_totals)"
    )
    with database.write() as session:
        session.execute(idle)
        session.execute(text("ANALYZE"))
    database.dispose()


def add_day(url: str, plain: Any, members: int, today: date, bills: int) -> None:
    """One more day of bills, and the totals of who bought."""
    least = plain.execute("SELECT max(id) + 1 FROM bills").fetchone()[0]
    plain.execute(
        f"INSERT INTO bills SELECT {least} + i, 1 + CAST(floor({members} * pow((hash({least} + i)"
        f" % 1000003) / 1000003.0, 2)) AS BIGINT), DATE '{today - timedelta(days=1)}',"
        f" i * 720 // {bills}, 4000 + CAST(hash(i) % 26000 AS BIGINT) FROM range({bills}) AS n(i)"
    )
    database = Database(url)
    with database.read() as session:
        branch_id = session.query(Branch.id).scalar()
        night = lifecycle.latest_cuts(session)
        cuts = Cuts.of(night.figures if night else None)
    copy_bills(database, plain, branch_id, f"WHERE id >= {least}")
    bought = f"WHERE member_id IN (SELECT member_id FROM bills WHERE id >= {least})"
    totals = table_of(MemberTotals)
    for chunk in figures_of(plain, today - timedelta(days=1), bought, cuts):
        with database.write() as session:
            rows = [{**row, "who": row.pop("member_id")} for row in chunk]
            change = update(totals).where(totals.c.member_id == bindparam("who"))
            session.connection().execute(
                change.values(
                    {
                        name: bindparam(name, type_=totals.c[name].type)
                        for name in rows[0]
                        if name != "who"
                    }
                ),
                rows,
            )
    database.dispose()


def person(number: int, made_at: datetime) -> dict[str, Any]:
    digits = f"{10_000_000 + number:08d}"
    return {
        "id": number, "public_id": f"{number:032x}", "state": MemberState.MEMBER,
        "member_no": digits + check_digit(digits), "created_at": made_at, "joined_at": made_at,
        "locale": "th", "is_following": False, "is_test": False,
    }  # fmt: skip


def copy_bills(database: Database, plain: Any, branch_id: int, where: str) -> None:
    found = plain.execute(
        f"SELECT id, member_id, day, minute, satang FROM bills {where} ORDER BY id"
    )
    while rows := found.fetchmany(CHUNK):
        with database.write() as session:
            copy_many(session, table_of(Purchase), [bill(branch_id, *row) for row in rows])


def bill(
    branch_id: int, number: int, member_id: int, on: date, minute: int, satang: int
) -> dict[str, Any]:
    at = at_local(on, 8, 0, BANGKOK) + timedelta(minutes=minute)
    return {
        "id": number + 1, "public_id": f"{number:032x}", "member_id": member_id,
        "branch_id": branch_id, "operation_id": f"b8:{number}", "local_on": on,
        "purchased_at": at, "recorded_at": at, "amount_satang": satang, "returned_satang": 0,
        "points": 0, "carry_delta": 0, "state": PurchaseState.RECORDED, "is_first": False,
    }  # fmt: skip


def figures_of(plain: Any, today: date, where: str, cuts: Cuts) -> Iterator[list[dict[str, Any]]]:
    """Totals as bills have them, a chunk at a time, and the level that the last bill led to."""
    spent = "sum(satang) FILTER (day > DATE '{0}' - {1} AND day <= DATE '{0}' - {2})"
    windows = [spent.format(today, most, least) for most, least in ((365, 0), (90, 0), (180, 90))]
    found = plain.execute(
        "WITH own AS (SELECT * FROM bills " + where + "), days AS (SELECT member_id, day FROM own"
        " GROUP BY 1, 2), kept AS (SELECT member_id, list(day ORDER BY day DESC)[1:10] AS newest,"
        " count(*) AS days FROM days GROUP BY 1), sums AS (SELECT member_id, count(*) AS bills,"
        " sum(satang) AS spent, min(day) AS first_day, arg_max(minute, id) AS minute, max(day) AS"
        f" last_day, {windows[0]}, {windows[1]}, {windows[2]}, count(*) FILTER (day > DATE"
        f" '{today}' - 180 AND day <= DATE '{today}' - 90) FROM own GROUP BY 1)"
        " SELECT * FROM sums JOIN kept USING (member_id)"
    )
    while rows := found.fetchmany(CHUNK):
        yield [totals_of(today, cuts, *row) for row in rows]


def totals_of(
    today: date, cuts: Cuts, member_id: int, bills: int, spent: int, first_day: date, minute: int,
    last_day: date, year: int | None, recent: int | None, before: int | None, bills_before: int,
    newest: list[date], days: int,
) -> dict[str, Any]:  # fmt: skip
    gap = lifecycle.own_gap(newest)
    standing = lifecycle.Standing(
        purchase_days=days, silent_days=max(0, (today - last_day).days), own_gap_days=gap,
        spent_90=int(recent or 0), spent_before_90=int(before or 0),
        purchases_before_90=bills_before, purchases=bills, spent_satang=int(spent),
        spent_365=int(year or 0), age_days=(today - first_day).days,
    )  # fmt: skip
    verdict = lifecycle.level_of(standing, cuts)
    return {
        "member_id": member_id, "balance": 0, "debt": 0, "carry_satang": 0, "earned_total": 0,
        "purchase_count": bills, "spent_satang": int(spent),
        "first_purchase_at": at_local(first_day, 8, 0, BANGKOK),
        "last_purchase_at": at_local(last_day, 8, 0, BANGKOK) + timedelta(minutes=minute),
        "purchase_days": [day.isoformat() for day in newest],
        "purchase_day_count": days, "own_gap_days": gap,
        "stage": Stage.PURCHASE if days == 1 else Stage.RETENTION, "stage_at": None,
        "level": verdict.level, "level_at": None, "level_why": dict(verdict.why),
    }  # fmt: skip
