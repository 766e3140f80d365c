"""B6: bills through `POST /api/v1/purchases`: points, stamp, stage, activity, feed, outbox.

Every request is a bill of its own with an Idempotency-Key of its own; afterwards the bills are
counted and the ledger is proven.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime

from benchmarks import load
from benchmarks.b2_handling import add_members
from benchmarks.ground import Bench, Result, count, environment, median, percentile
from core import ids
from core.db import Database
from core.ids import check_digit
from loyalty import proof
from models.staff import ApiKey
from tests import factories
from tests.processes import free_port

MEMBERS = 10_000
BURST = 2_000
STEADY = 2_000
KEYS = 20
PER_SECOND = 100
#: Two processes on the two cores of the reference machine; SQLite has one writer anyway.
WEBS = {"postgresql": 2, "sqlite": 1}


def run(bench: Bench) -> Iterator[Result]:
    """Each engine: as many as it can, then 100 a second with its p99."""
    for kind, webs in WEBS.items():
        url = bench.database(kind)
        members = bench.scaled(MEMBERS)
        add_members(url, members)
        keys = open_shop(url)
        ports = [free_port() for _ in range(webs)]
        for port in ports:
            bench.start(
                *("python", "app.py", "web"),
                env=environment(url, port),
                ready=f"http://127.0.0.1:{port}/healthz",
            )
        send(ports, keys, 200, members, 0)  # warm
        rates = []
        for _ in range(bench.rounds):
            outcomes = send(ports, keys, bench.scaled(BURST), members, 0)
            rates.append(bench.scaled(BURST) / max(one.seconds for one in outcomes))
        yield Result(
            f"B6 bills/s through the API, {kind}",
            median(rates),
            300,
            ">= 300/s on two cores",
            median(rates) >= 300,
        )
        steady = send(ports, keys, bench.scaled(STEADY), members, PER_SECOND)
        p99 = percentile([one for outcome in steady for one in outcome.latencies], 99)
        yield Result(f"B6 p99 s at {PER_SECOND}/s, {kind}", p99, 0.15, "<= 0.15 s", p99 <= 0.15)
        bench.stop_ours()
        sent = 200 + bench.rounds * bench.scaled(BURST) + bench.scaled(STEADY)
        assert count(url, "SELECT count(*) FROM purchases") == sent
        prove(url)


def open_shop(url: str) -> list[str]:
    """A branch, a policy, a stamp card, and keys, as one key may ask 1,200 times a minute."""
    database, keys = Database(url), [ids.secret_token() for _ in range(KEYS)]
    with database.write() as session:
        factories.make_policy(session)
        factories.make_branch(session)
        prize = factories.make_coupon(session, "prize", per_member=1000)
        factories.make_stamp_program(session, prize=prize)
        session.add_all(
            ApiKey(
                name=f"bench {place}",
                key_hash=ids.token_hash(key),
                scopes=["purchases.write"],
                created_at=datetime.now(UTC),
            )
            for place, key in enumerate(keys)
        )
    database.dispose()
    return keys


def send(
    ports: list[int], keys: list[str], number: int, members: int, per_second: float
) -> list[load.Outcome]:
    """Bills of different members, shared among the servers."""
    stamp = time.monotonic_ns()
    plans = []
    for place, port in enumerate(ports):
        requests = []
        for n in range(place, number, len(ports)):
            digits = f"{10_000_000 + n % members:08d}"
            body = {
                "member_no": digits + check_digit(digits),
                "branch": "siam",
                "receipt_no": f"{stamp}-{n}",
                "amount": "125.00",
            }
            requests.append(
                load.post(
                    "/api/v1/purchases",
                    json.dumps(body).encode(),
                    Authorization=f"Bearer {keys[n % len(keys)]}",
                    Idempotency_Key=f"{stamp}-{n}",
                    Content_Type="application/json",
                )
            )
        plans.append(load.Plan(port, requests, 32 // len(ports), per_second / len(ports)))
    outcomes = [load.finish(running) for running in [load.start(plan) for plan in plans]]
    for outcome, plan in zip(outcomes, plans, strict=True):
        assert outcome.statuses == {"201": len(plan.requests)}, outcome.statuses
    return outcomes


def prove(url: str) -> None:
    """Nothing is wrong with any balance, lot, card or counter."""
    database = Database(url)
    with database.write() as session:
        assert proof.check_all(session, datetime.now(UTC)) == []
    database.dispose()
