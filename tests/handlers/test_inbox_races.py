"""Many workers at once on one inbox: each event once, each person's in order."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import func, select

from bot.webhook import Intake
from handlers import router
from handlers.inbox import Inbox
from models.conversations import Conversation
from models.inbox import Event, EventState
from tests.bot.webhooks import body_of, sign, text_event
from tests.factories import CHANNEL_SECRET

WORKERS = 4
PEOPLE = 20


@pytest.fixture
def arrive(database):
    """`arrive(number)` stores so many texts of twenty people, in order."""
    intake = Intake(database.url, [CHANNEL_SECRET])
    at = text_event()["timestamp"]

    def arrive(number):
        events = [
            text_event(
                f"ข้อความ {n}",
                name=f"คน{n % PEOPLE}",
                n=n,
                timestamp=at + n,
                message={"type": "text", "id": f"{n + 1:018d}", "text": f"ข้อความ {n}"},
            )
            for n in range(number)
        ]
        body = body_of(*events)
        assert intake.receive(body, sign(body).encode()) == 200

    yield arrive
    intake.close()


def work(runtime, seen, database):
    """Handle everything with several workers; (person, n) of each event as it was handled."""
    boxes = [Inbox(runtime, lambda *reply: None, name=f"w{n}") for n in range(WORKERS)]
    barrier = threading.Barrier(WORKERS)

    def run(box):
        barrier.wait()
        while pending(database):
            if not box.run_batch(10):
                time.sleep(0.01)

    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(run, boxes))


def pending(database):
    with database.read() as session:
        return session.scalar(
            select(func.count()).select_from(Event).where(Event.state == EventState.PENDING)
        )


@pytest.fixture
def seen(monkeypatch):
    """What was handled, in order of handling; a handler takes a moment, as real ones do."""
    handled = []
    free_text = router.FREE_TEXT

    def note(ctx):
        handled.append((ctx.member.id, ctx.event["n"]))
        time.sleep(0.002)
        return free_text(ctx)

    monkeypatch.setattr(router, "FREE_TEXT", note)
    return handled


def test_many_workers_handle_each_event_once_and_each_person_in_order(
    arrive, runtime, database, seen, scale
):
    number = scale(10_000)
    arrive(number)
    work(runtime, seen, database)
    with database.read() as session:
        assert session.scalar(select(func.sum(Conversation.unread_count))) == number
    assert Counter(n for _, n in seen) == Counter(range(number))
    by_person = defaultdict(list)
    for member_id, n in seen:
        by_person[member_id].append(n)
    assert all(ns == sorted(ns) for ns in by_person.values())


def test_control_without_claiming_workers_handle_events_twice(
    arrive, runtime, database, seen, monkeypatch
):
    if database.is_sqlite:
        pytest.skip("SQLite's one writer is the claim; its control is db.immediate")
    monkeypatch.setenv("TAEM_TESTING", "1")
    monkeypatch.setenv("TAEM_SABOTAGE", "inbox.claim")
    arrive(100)
    work(runtime, seen, database)
    assert len(seen) > 100
