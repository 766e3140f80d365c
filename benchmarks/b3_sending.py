"""B3: different Flex pushes through the outbox to a server 50 ms away with TLS, all recorded.

Three things side by side in each round: our sender with no limit in its way, the SDK as its
documentation has it, and our sender under LINE's own limit before a stand-in that refuses anything
above it.
"""

from __future__ import annotations

import json
import os
import ssl
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import delete, insert, select, text

from benchmarks.ground import Bench, Result, count, environment, median
from core.db import Database
from engagement import outbox
from models.members import Member, MemberState
from models.outbox import Call, Message, MessageClass, SendLimit
from tests.processes import free_port, wait_until
from tests.servers import is_listening, make_certificate

LINE_LIMIT = 2000
NO_LIMIT = 1_000_000
PUSHES = 20_000  # in each of five rounds: 100,000
SDK_PUSHES = 600
SDK_THREADS = 16
CORE_GOAL, MEMORY_GOAL = 0.6, 60


@dataclass
class Round:
    """One phase of one round."""

    per_second: float
    #: Processor seconds per second.
    cores: float
    refused: int
    megabytes: float


def run(bench: Bench) -> Iterator[Result]:
    certificate = make_certificate(bench.folder, datetime.now(UTC))
    open_url = serve(bench, certificate, 0)
    strict_url = serve(bench, certificate, LINE_LIMIT)
    url = bench.database("postgresql")
    database = Database(url)
    members = add_members(database, bench.scaled(PUSHES))
    free, sdk, strict = [], [], []
    for number in range(bench.rounds):
        queue(database, members, f"free-{number}", NO_LIMIT)
        free.append(send(bench, database, open_url, certificate, len(members)))
        sdk.append(by_sdk(open_url, certificate, bench.scaled(SDK_PUSHES)))
        queue(database, members, f"strict-{number}", LINE_LIMIT)
        strict.append(send(bench, database, strict_url, certificate, len(members)))
    database.dispose()
    rate, sdk_rate = median([one.per_second for one in free]), median([one[0] for one in sdk])
    yield Result(
        "B3  pushes/s recorded, against the SDK's",
        rate,
        sdk_rate,
        "≥ 5 × the SDK (and 2,000/s on two cores of their own)",
        rate >= 5 * sdk_rate,
    )
    paced = median([one.per_second for one in strict])
    refused = sum(one.refused for one in strict)
    yield Result(
        "B3+ pushes/s under LINE's limit",
        paced,
        LINE_LIMIT,
        f"≥ 0.95 and not one 429 (there were {refused})",
        paced >= 0.95 * LINE_LIMIT and not refused,
    )
    cores = median([one.cores for one in strict])
    yield Result(
        "B3+ cores used at that pace", cores, CORE_GOAL, f"≤ {CORE_GOAL}", cores <= CORE_GOAL
    )
    per_core = median([one.per_second / one.cores for one in strict])
    sdk_per_core = median([one[0] / one[1] for one in sdk])
    yield Result(
        "B3+ pushes/s per core, against the SDK's",
        per_core,
        sdk_per_core,
        "≥ 12 ×",
        per_core >= 12 * sdk_per_core,
    )
    megabytes = max(one.megabytes for one in strict)
    yield Result(
        "B3+ memory of the sender, MB",
        megabytes,
        MEMORY_GOAL,
        f"≤ {MEMORY_GOAL}",
        megabytes <= MEMORY_GOAL,
    )


def serve(bench: Bench, certificate: Path, per_second: int) -> str:
    """Start a far LINE; its URL."""
    port = free_port()
    bench.processes.spawn(
        *("python", "-m", "benchmarks.far_line", str(port), str(certificate)),
        *(str(bench.folder / "key.pem"), "--per-second", str(per_second)),
        ready=lambda: is_listening(port),
    )
    return f"https://localhost:{port}"


def add_members(database: Database, number: int) -> list[tuple[int, str]]:
    now = datetime.now(UTC)
    with database.write() as session:
        for start in range(0, number, 5000):
            session.execute(
                insert(Member),
                [
                    {
                        "public_id": f"{one:032x}",
                        "state": MemberState.FRIEND,
                        "line_user_id": f"U{one:032x}",
                        "created_at": now,
                        "is_following": True,
                    }
                    for one in range(start, min(start + 5000, number))
                ],
            )
        rows = session.execute(select(Member.id, Member.line_user_id).order_by(Member.id)).all()
        return [(row.id, str(row.line_user_id)) for row in rows]


def queue(database: Database, members: list[tuple[int, str]], name: str, limit: int) -> None:
    """Fill the outbox with a push for everybody, each with words of its own."""
    now = datetime.now(UTC)
    with database.write() as session:
        for model in (Message, Call, SendLimit):
            session.execute(delete(model))
        session.execute(
            insert(SendLimit).values(endpoint="push", per_second=limit, leased_until_us=0)
        )
    for start in range(0, len(members), 5000):
        with database.write() as session:
            outbox.queue_many(
                session,
                [
                    outbox.Draft(
                        key=f"{name}:{member_id}",
                        member_id=member_id,
                        line_user_id=user,
                        klass=MessageClass.SERVICE,
                        kind="bench.card",
                        messages=[card(member_id)],
                    )
                    for member_id, user in members[start : start + 5000]
                ],
                now,
            )
    with database.engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT").execute(
            text("VACUUM ANALYZE calls, messages")
        )


def send(bench: Bench, database: Database, line: str, certificate: Path, number: int) -> Round:
    """Have one sender empty the outbox; how quickly, at what cost."""
    ask(line, certificate, "/begin", {})
    url = database.url
    started = bench.start(
        *("python", "-m", "benchmarks.sender_process"),
        env=environment(url, free_port(), LINE_API_URL=line, SSL_CERT_FILE=str(certificate)),
        ready=lambda: ask(line, certificate, "/figures")["accepted"] > 0,
    )
    used, at = processor_seconds(started.pid), time.monotonic()
    begun = ask(line, certificate, "/figures")["accepted"]
    wait_until(
        lambda: ask(line, certificate, "/figures")["accepted"] >= number, within=300, every=0.25
    )
    unsent = "SELECT count(*) FROM messages WHERE state <> 'sent'"
    wait_until(lambda: count(url, unsent) == 0, within=30, every=0.05)
    seconds = time.monotonic() - at
    cores = (processor_seconds(started.pid) - used) / seconds
    megabytes = resident_megabytes(started.pid)
    bench.stop_ours()
    figures = ask(line, certificate, "/figures")
    assert figures["distinct"] == figures["accepted"] == number, figures
    return Round((number - begun) / seconds, cores, figures["refused"], megabytes)


def by_sdk(line: str, certificate: Path, number: int) -> tuple[float, float]:
    """(pushes a second, cores used) by the SDK's models on one shared client."""
    from linebot.v3.messaging import (
        ApiClient,
        Configuration,
        FlexContainer,
        FlexMessage,
        MessagingApi,
        PushMessageRequest,
    )

    configuration = Configuration(host=line, access_token="x", ssl_ca_cert=str(certificate))
    configuration.connection_pool_maxsize = SDK_THREADS
    api = MessagingApi(ApiClient(configuration))

    def push(one: int) -> None:
        words = card(one)
        contents = FlexContainer.from_dict(words["contents"])
        message = FlexMessage(alt_text=words["altText"], contents=contents)
        api.push_message(PushMessageRequest(to=f"U{one:032x}", messages=[message]))

    push(0)  # connect and warm up
    at, used = time.monotonic(), time.process_time()
    with ThreadPoolExecutor(SDK_THREADS) as pool:
        for _ in pool.map(push, range(1, number + 1)):
            pass
    seconds = time.monotonic() - at
    return number / seconds, (time.process_time() - used) / seconds


def card(number: int) -> dict[str, Any]:
    """A bubble of about 2 KB, different for everybody."""

    def line(label: str, value: str) -> dict[str, Any]:
        words = {"type": "text", "size": "sm", "color": "#555555", "wrap": True}
        return {
            "type": "box",
            "layout": "horizontal",
            "contents": [{**words, "text": label}, {**words, "text": value, "align": "end"}],
        }

    rows = [line(f"แต้มจากบิลที่ {one}", f"+{number % 97 + one} แต้ม") for one in range(7)]
    button = {
        "type": "button",
        "style": "primary",
        "action": {"type": "postback", "label": "ดูแต้ม", "data": f"points.show?of={number}"},
    }
    return {
        "type": "flex",
        "altText": f"แต้มของคุณ {number}",
        "contents": {
            "type": "bubble",
            "header": {
                "type": "box",
                "layout": "vertical",
                "contents": [
                    {"type": "text", "text": f"คุณ {number}", "weight": "bold", "size": "lg"}
                ],
            },
            "body": {"type": "box", "layout": "vertical", "spacing": "sm", "contents": rows},
            "footer": {"type": "box", "layout": "vertical", "contents": [button]},
        },
    }


def ask(line: str, certificate: Path, path: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    context = ssl.create_default_context(cafile=certificate)
    with urllib.request.urlopen(line + path, data, timeout=10, context=context) as answer:
        return json.loads(answer.read())


def processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_megabytes(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    return 0.0
