"""B2: members asking for their points, whole product beside the simulator's API.

The limit is one loop that stores the event, reads the balance and posts the same reply, nothing
else: no signature, no order, no guard against a second time.
"""

from __future__ import annotations

import http.client
import json
import sqlite3
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import psycopg
from sqlalchemy import insert, select
from sqlalchemy.engine import make_url

from benchmarks import load
from benchmarks.ground import Bench, Result, environment, median, percentile
from bot.flex import points
from core.db import Database
from core.ids import check_digit
from models.members import Member, MemberState, MemberTotals
from models.points import EntryKind, LedgerEntry, Lot
from tests.bot.webhooks import body_of, sign, text_event
from tests.factories import CHANNEL_TOKEN, line_id
from tests.line import SimulatedLine
from tests.postgres import plain_url
from tests.processes import free_port

MEMBERS = 10_000
EVENTS = 10_000
BURST = 3_000
RATES = {"postgresql": (500, 2.0), "sqlite": (200, 3.0)}
ROLES = {"postgresql": ("web", "worker"), "sqlite": ("all",)}
GIVE_UP_SECONDS = 120


def run(bench: Bench) -> Iterator[Result]:
    """Each engine: a fixed rate with its p99, then bursts against the bare loop, in turns."""
    line = SimulatedLine(
        bench.processes,
        {"SIM_FAST": "1", "SIM_ACCEPT_UNKNOWN_USERS": "1", "SIM_RATE_LIMITS": "off"},
    )
    for kind, (per_second, limit_seconds) in RATES.items():
        url, port = bench.database(kind), free_port()
        add_members(url, bench.scaled(MEMBERS))
        for role in ROLES[kind]:
            bench.start(
                *("python", "app.py", role),
                env=environment(url, port, LINE_API_URL=line.url, LINE_API_DATA_URL=line.url),
                ready=f"http://127.0.0.1:{port}/healthz",
            )
        ask(line, port, 200, bench.scaled(MEMBERS), 0)
        seconds = ask(line, port, bench.scaled(EVENTS), bench.scaled(MEMBERS), per_second)
        p99 = percentile(seconds, 99)
        yield Result(
            f"B2 p99 s from webhook to reply, {per_second}/s, {kind}",
            p99,
            limit_seconds,
            f"<= {limit_seconds:g} s, all answered",
            p99 <= limit_seconds,
        )
        ours, bare = [], []
        body = reply_body()
        for _ in range(bench.rounds):
            took = max(ask(line, port, bench.scaled(BURST), bench.scaled(MEMBERS), 0))
            ours.append(bench.scaled(BURST) / took)
            bare.append(bare_loop(url, line, body, bench.scaled(BURST)))
        yield Result(
            f"B2 burst, answered events/s, {kind}",
            median(ours),
            median(bare),
            ">= 0.25 of a bare loop",
            median(ours) >= 0.25 * median(bare),
        )
        bench.stop_ours()


def ask(
    line: SimulatedLine, port: int, number: int, members: int, per_second: float
) -> list[float]:
    """Seconds from each webhook's scheduled moment (or the burst's begin) to its reply."""
    since = line.get("/sim/journal/count")["nextIndex"]
    stamp = time.monotonic_ns()
    requests = []
    for place in range(number):
        now_ms = int(time.time() * 1000)
        body = body_of(
            text_event(
                "แต้ม", name=f"c{place % members}", replyToken=f"{stamp}-{place}", timestamp=now_ms
            )
        )
        requests.append(load.post("/callback", body, X_Line_Signature=sign(body)))
    outcome = load.drive(load.Plan(port, requests, 64, per_second))
    assert outcome.statuses == {"200": number}, outcome.statuses
    until = time.monotonic() + GIVE_UP_SECONDS
    while line.get("/sim/journal/count")["nextIndex"] < since + number:
        assert time.monotonic() < until, "not all answered"
        time.sleep(0.1)
    replies = {one["replyToken"]: one["at"] for one in line.get(f"/sim/journal?since={since}")}
    pace = 1 / per_second if per_second else 0.0
    return [
        replies[f"{stamp}-{place}"] - outcome.began_at - place * pace for place in range(number)
    ]


def add_members(url: str, number: int) -> None:
    """Members with 250 points each, made in bulk."""
    database = Database(url)
    now = datetime.now(UTC)
    people = []
    for place in range(number):
        digits = f"{10_000_000 + place:08d}"
        people.append(
            {
                "public_id": f"{place:032x}",
                "state": MemberState.MEMBER,
                "member_no": digits + check_digit(digits),
                "line_user_id": line_id(f"c{place}"),
                "created_at": now,
                "joined_at": now,
                "is_following": True,
                "locale": "th",
            }
        )
    with database.write() as session:
        session.execute(insert(Member), people)
        ids = list(session.scalars(select(Member.id)))
        session.execute(
            insert(MemberTotals),
            [
                {"member_id": one, "balance": 250, "purchase_days": [], "level_why": {}}
                for one in ids
            ],
        )
        session.execute(insert(LedgerEntry), [entry(one, now) for one in ids])
        entries = session.execute(select(LedgerEntry.id, LedgerEntry.member_id)).tuples().all()
        session.execute(insert(Lot), [lot(entry_id, one, now) for entry_id, one in entries])
    database.dispose()


def entry(member_id: int, now: datetime) -> dict[str, Any]:
    """250 points earned."""
    return {
        "member_id": member_id,
        "kind": EntryKind.EARN,
        "points": 250,
        "source": "bench",
        "source_id": str(member_id),
        "created_at": now,
        "effective_at": now,
        "facts": {},
    }


def lot(entry_id: int, member_id: int, now: datetime) -> dict[str, Any]:
    """All of them still there."""
    return {
        "member_id": member_id,
        "entry_id": entry_id,
        "points": 250,
        "remaining": 250,
        "earned_at": now,
    }


def reply_body() -> bytes:
    """The reply that these members get, for the bare loop to send as well."""
    card = points.balance_card(250, 0, 0, [], None, "th")
    return json.dumps({"messages": [card]}, ensure_ascii=False).encode()


def bare_loop(url: str, line: SimulatedLine, body: bytes, number: int) -> float:
    """Events a second of the least that could be called an answer."""
    if make_url(url).get_backend_name() == "sqlite":
        plain: Any = sqlite3.connect(make_url(url).database or "", isolation_level=None)
        plain.execute("PRAGMA synchronous=FULL")
        sign_, begin = "?", "BEGIN IMMEDIATE"
    else:
        plain = psycopg.connect(plain_url(url), autocommit=True)
        sign_, begin = "%s", "BEGIN"
    plain.execute("CREATE TABLE IF NOT EXISTS bare (body TEXT)")
    parts = urlsplit(line.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port)
    headers = {
        "Authorization": f"Bearer {CHANNEL_TOKEN}",
        "Content-Type": "application/json",
    }
    stamp = time.monotonic_ns()
    event = json.dumps(text_event("แต้ม"))
    started = time.perf_counter()
    for place in range(number):
        plain.execute(begin)
        plain.execute(f"INSERT INTO bare VALUES ({sign_})", (event,))
        plain.execute(
            f"SELECT balance FROM member_totals WHERE member_id = {sign_}", (place % 1000 + 1,)
        ).fetchone()
        plain.execute("COMMIT")
        reply = b'{"replyToken":"%d-bare-%d",' % (stamp, place) + body[1:]
        connection.request("POST", "/v2/bot/message/reply", reply, headers)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200, answer.status
    seconds = time.perf_counter() - started
    connection.close()
    plain.close()
    return number / seconds
