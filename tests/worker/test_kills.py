"""Senders killed at any moment: nothing is lost, nothing is sent twice (Z5, Z25)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engagement import outbox
from models.outbox import CallState, MessageClass
from tests.factories import environment
from tests.processes import Processes, bare_environment, free_port, wait_until
from tests.worker.conftest import Post

FAULTS: dict[str, Any] = {
    "push": {"status": "500", "rate": 0.1, "seed": 3},
    "multicast": {"status": "500", "rate": 0.1, "seed": 3},
    "delivered_then_500": {"rate": 0.1, "seed": 5},
    "drop_after_delivery": {"rate": 0.1, "seed": 9},
    "latency_seconds": 0.1,
}


@pytest.fixture
def nursery(post: Post, processes: Processes) -> Callable[..., Any]:
    """Start short-lived senders on the database of `post`; returns where they tell of deaths."""

    def start(kills: int, *, workers: int = 2, in_flight: int = 4, **more: str) -> Path:
        settings = bare_environment() | environment(post.runtime.settings)
        _, log = processes.fork_module(
            *("tests.worker.nursery", "--kills", str(kills)),
            *("--workers", str(workers), "--in-flight", str(in_flight)),
            environment=settings | {"TAEM_TESTING": "1", **more},
        )
        return log

    return start


def deaths(log: Path) -> int:
    lines = [line for line in log.read_text().split() if line.isdigit()]
    return int(lines[-1]) if lines else 0


@pytest.mark.soak
def test_Z5_no_push_is_sent_twice_and_none_is_lost(
    post: Post, nursery: Callable[..., Any], scale: Any
):
    count, kills = max(scale(1500), 30), max(scale(300), 6)
    users = post.crowd(count)
    post.queue(users)
    post.line.switch(**FAULTS)
    log = nursery(kills, in_flight=3)
    post.wait(sent=count, within=120 + 2 * kills)
    wait_until(lambda: deaths(log) >= kills, within=120 + 2 * kills)
    received = post.line.received()
    lost = [user for user in users if user not in received]
    doubled = [user for user, number in received.items() if number > 1]
    assert (lost, doubled) == ([], [])


@pytest.mark.soak
def test_Z5_a_fresh_key_for_each_attempt_is_worthless(post: Post, nursery: Callable[..., Any]):
    """The positive control: the same run without the stored key sends some twice."""
    users = post.crowd(60)
    post.queue(users)
    post.line.switch(**FAULTS)
    nursery(4, TAEM_SABOTAGE="retry_key_per_attempt")
    wait_until(lambda: max(post.line.received().values(), default=0) > 1, within=120)


@pytest.mark.parametrize(
    "point, nth",
    [("outbox.claimed", 1), ("outbox.answered", 1), ("outbox.answered", 5), ("outbox.recorded", 1)],
)
def test_Z5_dying_at_every_step_costs_nothing(
    post: Post,
    nursery: Callable[..., Any],
    point: str,
    nth: int,
):
    users = post.crowd(12)
    post.queue(users)
    log = nursery(0, workers=1, in_flight=2, TAEM_CRASH_AT=f"{point}:{nth}")
    wait_until(lambda: deaths(log) == 1, within=60)
    post.wait(sent=12, within=60)
    assert post.line.received() == dict.fromkeys(users, 1)


@pytest.mark.soak
def test_Z25_a_multicast_campaign_reaches_each_recipient_once_and_reports_all(
    post: Post, nursery: Callable[..., Any], scale: Any
):
    count, kills = max(scale(20_000), 900), max(scale(100), 6)
    users = post.crowd(count, knows=False)
    post.line.befriend(users[1:])
    post.line.switch(multicast_unknown_400=True, **FAULTS)
    post.queue(users, klass=MessageClass.PROMOTIONAL, words="วันนี้ลดทั้งร้าน", is_groupable=True)
    nursery(kills, in_flight=2)
    for _ in range(10):  # pause and resume by hand while it runs
        with post.database.write() as session:
            outbox.pause_sending(session, "held", post.runtime.clock.now())
        with post.database.write() as session:
            outbox.resume_sending(session)
    post.wait(sent=count - 1, failed=1, within=120 + 2 * kills)
    assert post.counts().total == count
    assert post.line.received() == dict.fromkeys(users[1:], 1)


@pytest.mark.soak
def test_FS15_z26_a_campaign_that_is_stopped_again_and_again_reaches_each_once(
    post: Post, processes: Processes, scale: Any, engine_kind: str
):
    """SIGTERM in the middle: what is under way ends, nothing is left over, nobody hears twice."""
    users = post.crowd(max(scale(20_000), 400))
    post.line.switch(latency_seconds=0.3)
    post.queue(users, klass=MessageClass.PROMOTIONAL)
    role = "all" if engine_kind == "sqlite" else "worker"
    settings = post.runtime.settings.model_copy(update={"port": free_port()})
    product = bare_environment() | environment(settings) | {"TAEM_TESTING": "1"}

    def arrived() -> int:
        return sum(post.line.received().values())

    for _ in range(max(scale(100), 2)):
        if (before := arrived()) == len(users):
            break  # a process with nothing to send would be stopped before it listens
        process = processes.fork(role, product)
        wait_until(lambda seen=before: arrived() > seen, within=60)
        process.terminate()
        assert process.wait(30) == 0
        assert [call for call in post.calls() if call.state == CallState.SENDING] == []
    processes.fork(role, product)
    post.wait(sent=len(users), within=300)
    assert post.line.received() == dict.fromkeys(users, 1)
