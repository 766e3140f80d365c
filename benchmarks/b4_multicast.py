"""B4: the same words to 1 M members by multicast, each recipient recorded.

The messages lie in the outbox as a campaign leaves them. One sender groups them into calls of 500
and posts these to a strict stand-in 50 ms away with TLS, whose 200 calls/s are LINE's own limit and
the limit here. The clock stops when the last recipient is written down as sent.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime

from sqlalchemy import text

from benchmarks.b3_sending import ask, card, serve
from benchmarks.ground import Bench, Result, count, environment, median
from core.db import Database
from engagement import outbox
from models.members import Member, MemberState
from models.outbox import MessageClass
from tests.processes import free_port, wait_until
from tests.servers import make_certificate
from worker.limits import LINE_LIMITS

RECIPIENTS = 1_000_000
GOAL = 60_000
PEOPLE = """
INSERT INTO members (public_id, state, line_user_id, created_at, locale, is_following, is_test)
SELECT lpad(to_hex(one), 32, '0'), 'friend', 'U' || lpad(to_hex(one), 32, '0'), now(), 'th', true,
  false FROM generate_series(1, :number) AS numbers(one)
"""
OPEN = "SELECT count(*) FROM messages WHERE state IN ('waiting', 'calling')"
#: As `queue_many` writes a message that may share a call, for everybody but the first.
OTHERS = """
INSERT INTO messages (key, member_id, klass, kind, content, content_hash, state, created_at, due_at)
SELECT :name || members.id, members.id, klass, kind, content, content_hash, messages.state,
  messages.created_at, due_at FROM members, messages
WHERE messages.key = :first AND members.id <> messages.member_id
"""


def run(bench: Bench) -> Iterator[Result]:
    """One campaign a round, to everybody."""
    certificate = make_certificate(bench.folder, datetime.now(UTC))
    line = serve(bench, certificate, LINE_LIMITS["multicast"])
    url = bench.database("postgresql")
    database = Database(url)
    number = bench.scaled(RECIPIENTS)
    with database.write() as session:
        session.execute(text(PEOPLE), {"number": number})
    rates, refused = [], 0
    for place in range(bench.rounds):
        queue(database, f"round-{place}:")
        ask(line, str(certificate), "/begin", {})
        began = time.monotonic()
        bench.start(
            *("python", "-m", "benchmarks.sender_process"),
            env=environment(
                url, free_port(), LINE_API_URL=line, SSL_CERT_FILE=str(certificate)
            ),
            ready=lambda: ask(line, str(certificate), "/figures")["accepted"] > 0,
        )  # fmt: skip

        wait_until(lambda: count(url, OPEN) == 0, within=600, every=0.25)
        rates.append(number / (time.monotonic() - began))
        bench.stop_ours()
        figures = ask(line, str(certificate), "/figures")
        refused += figures["refused"]
        sent = count(url, "SELECT count(*) FROM messages WHERE state = 'sent'")
        assert figures["recipients"] == sent == number, (figures, sent)
    database.dispose()
    ceiling = LINE_LIMITS["multicast"] * outbox.MAX_RECIPIENTS
    yield Result(
        "B4  recipients/s by multicast, recorded",
        median(rates),
        ceiling,
        f">= {GOAL:,} on two cores of their own, and not one 429 (there were {refused})",
        median(rates) >= GOAL and not refused,
    )


def queue(database: Database, name: str) -> None:
    """Fill the outbox with the same words for everybody."""
    now = datetime.now(UTC)
    with database.write() as session:
        session.execute(text("TRUNCATE messages, calls CASCADE"))
        session.execute(text("DELETE FROM send_limits"))
        first = session.query(Member).filter(Member.state == MemberState.FRIEND).first()
        assert first is not None
        draft = outbox.Draft(
            key=f"{name}{first.id}", member_id=first.id, line_user_id=first.line_user_id,
            klass=MessageClass.PROMOTIONAL, kind="bench.card", messages=[card(7)],
            is_groupable=True,
        )  # fmt: skip
        outbox.queue_many(session, [draft], now)
        session.execute(text(OTHERS), {"name": name, "first": draft.key})
    with database.engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT").execute(
            text("VACUUM ANALYZE members, calls, messages")
        )
