"""Outgoing webhooks against a real server: in order, signed, again and again, never inwards."""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import json
import signal
import socket
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from core import outgoing
from loyalty import feed
from models.feed import WebhookTarget
from tests import factories, lives
from tests.forks import Forked
from tests.moments import NOW
from tests.processes import bare_environment
from worker import feed as work


class Receiver(ThreadingHTTPServer):
    """Takes posts, and answers as told: a status, `hang`, `reset` or `drip`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: list[Any] = []
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}/taem?shop=1"

    def ids(self) -> list[str]:
        return [event["id"] for _, body in self.got for event in json.loads(body)["events"]]


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        answer = self.server.answers.pop(0) if self.server.answers else 200
        if answer == "hang":
            time.sleep(1.5)
            return
        if answer == "reset":
            hard = b"\x01\x00\x00\x00\x00\x00\x00\x00"
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, hard)
            self.connection.close()
            return
        if answer == "drip":
            for _ in range(20):
                self.wfile.write(b"H")
                time.sleep(0.2)
            return
        self.server.got.append((dict(self.headers), body))
        self.send_response(answer)
        if answer == 302:
            self.send_header("Location", self.server.url)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        return


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    monkeypatch.setattr(work, "TIMEOUT_SECONDS", 0.5)
    monkeypatch.setattr(work, "DEADLINE_SECONDS", 0.9)


@pytest.fixture
def clock():
    from core.clock import FixedClock
    from tests.moments import BANGKOK

    return FixedClock(NOW, BANGKOK)


@pytest.fixture
def target(runtime, receiver) -> feed.NewTarget:
    with runtime.transaction() as session:
        return feed.add_target(
            session, runtime.vault, name="ERP", url=receiver.url,
            allows_local=True, now=NOW, actor="cli",
        )  # fmt: skip


def happen(runtime, count: int, kind: str = "points.expired") -> None:
    with runtime.transaction() as session:
        feed.write(session, [(kind, NOW, {"member_no": "1", "points": n}) for n in range(count)])
    work.place_events(runtime)


def row(runtime) -> WebhookTarget:
    with runtime.database.read() as session:
        return feed.target_of(session, "ERP")


def test_events_arrive_in_order_and_signed(runtime, receiver, target):
    happen(runtime, 150)
    assert work.deliver(runtime) == 1
    assert work.deliver(runtime) == 1
    assert work.deliver(runtime) == 0
    points = [e["data"]["points"] for _, b in receiver.got for e in json.loads(b)["events"]]
    assert points == list(range(150))
    headers, body = receiver.got[0]
    stamp, made = (part.split("=")[1] for part in headers["Taem-Signature"].split(","))
    right = hmac.new(target.secret.encode(), f"{stamp}.".encode() + body, hashlib.sha256)
    assert hmac.compare_digest(right.hexdigest(), made)
    assert int(stamp) == int(NOW.timestamp())
    assert row(runtime).position == 150


def test_only_wanted_kinds_are_posted_and_the_rest_is_passed(runtime, receiver, target):
    with runtime.transaction() as session:
        feed.target_of(session, "ERP").kinds = ["members.left"]
    happen(runtime, 3)
    happen(runtime, 1, "members.left")
    work.deliver(runtime)
    assert [e["kind"] for e in json.loads(receiver.got[0][1])["events"]] == ["members.left"]
    assert row(runtime).position == 4


@pytest.mark.parametrize(
    "answer, kind",
    [(500, "status_500"), ("hang", "timeout"), ("reset", "reset"), (302, "redirect"), ("drip", "timeout")],
)  # fmt: skip
def test_what_is_not_accepted_comes_again_later(runtime, receiver, target, clock, answer, kind):
    receiver.answers = [answer]
    happen(runtime, 2)
    work.deliver(runtime)
    held = row(runtime)
    assert (held.position, held.attempts, held.error, held.lease_until) == (0, 1, kind, None)
    assert work.deliver(runtime) == 0, "not before its time"
    receiver.got.clear()
    clock.advance(seconds=3)
    work.deliver(runtime)
    assert len(receiver.ids()) == 2
    assert row(runtime).error is None


def test_pauses_grow_to_an_hour_and_no_further(runtime, receiver, target, clock):
    happen(runtime, 1)
    receiver.answers = [503] * 20
    pauses = []
    for _ in range(16):
        work.deliver(runtime)
        pause = row(runtime).next_try_at - clock.now()
        pauses.append(pause.total_seconds())
        clock.advance(seconds=pause.total_seconds())
    assert pauses[0] <= 2
    assert 1800 <= pauses[-1] <= 3600


def test_target_that_is_off_gets_nothing_until_it_is_on(runtime, receiver, target):
    happen(runtime, 1)
    with runtime.transaction() as session:
        held = feed.target_of(session, "ERP")
        feed.switch(session, held, is_on=False, now=NOW, actor="cli")
    assert work.deliver(runtime) == 0
    with runtime.transaction() as session:
        held = feed.target_of(session, "ERP")
        feed.switch(session, held, is_on=True, now=NOW, actor="cli")
    work.deliver(runtime)
    assert len(receiver.ids()) == 1


def test_resending_from_a_position_posts_everything_behind_it(runtime, receiver, target):
    happen(runtime, 5)
    work.deliver(runtime)
    with runtime.transaction() as session:
        feed.resend(session, feed.target_of(session, "ERP"), 3, now=NOW, actor="cli")
    work.deliver(runtime)
    assert receiver.ids()[5:] == receiver.ids()[3:5]


@pytest.mark.parametrize("sabotage", ["", "feed.lease"])
def test_two_workers_never_post_to_one_target_at_once(
    runtime, receiver, target, monkeypatch, sabotage
):
    """The control shows that without the lease both would."""
    monkeypatch.setenv("TAEM_TESTING", "1")
    monkeypatch.setenv("TAEM_SABOTAGE", sabotage)
    happen(runtime, 1)
    inside, most, guard = 0, 0, threading.Lock()

    def slow_post(*_: Any) -> None:
        nonlocal inside, most
        with guard:
            inside += 1
            most = max(most, inside)
        time.sleep(0.4)
        with guard:
            inside -= 1

    monkeypatch.setattr(work, "_post", slow_post)
    workers = [threading.Thread(target=work.deliver, args=(runtime,)) for _ in range(3)]
    for one in workers:
        one.start()
    for one in workers:
        one.join()
    assert (most > 1) == bool(sabotage)


def test_kill_between_post_and_commit_posts_the_same_events_again(
    runtime, receiver, target, clock, settings
):
    happen(runtime, 2)
    with runtime.transaction() as session:
        feed.target_of(session, "ERP").next_try_at = NOW - timedelta(days=3650)
    environment = bare_environment() | factories.environment(settings)
    environment |= {"TAEM_TESTING": "1", "TAEM_CRASH_AT": "feed.posted"}
    assert Forked(lives.deliver_feed, environment).wait(60) == -signal.SIGKILL
    held = row(runtime)
    assert held.position == 0
    assert held.lease_until is not None
    clock.moment = held.lease_until - timedelta(seconds=1)
    assert work.deliver(runtime) == 0, "its lease is still running"
    clock.moment = held.lease_until + timedelta(seconds=1)
    work.deliver(runtime)
    ids = receiver.ids()
    assert ids[:2] == ids[2:]
    assert row(runtime).position == 2


def test_secret_is_sealed_and_a_changed_one_opens_nothing(runtime, target):
    assert target.secret.encode() not in row(runtime).secret_sealed
    with pytest.raises(ValueError, match="webhook"):
        runtime.vault.unseal(feed.SECRET_PLACE, row(runtime).secret_sealed[:-1] + b"x")


BAD = [
    "http://example.com/", "ftp://example.com/", "https://127.0.0.1/", "https://10.0.0.1/",
    "https://192.168.1.1/", "https://172.16.0.1/", "https://169.254.169.254/latest/meta-data",
    "https://100.64.0.1/", "https://0.0.0.0/", "https://[::1]/", "https://[::ffff:10.0.0.1]/",
    "https://[fe80::1]/", "https://[fec0::1]/", "https://[fd00::1]/", "https://[2002:0a00:0001::]/",
    "https://[64:ff9b::a00:1]/", "https://user:pw@example.com/", "https://example.com/#x",
    "https://exa mple.com/", "https://example.com\\@10.0.0.1/", "https:///x", "https://224.0.0.1/",
    "https://example.com:99999/", "", "javascript:alert(1)",
]  # fmt: skip


@pytest.mark.parametrize("url", BAD)
def test_fx03_addresses_that_are_never_posted_to(url):
    with pytest.raises(outgoing.BadAddress):
        outgoing.parse(url, allows_local=False)


@pytest.mark.parametrize("address", ["10.0.0.7", "127.0.0.1", "169.254.169.254", "::1", "100.64.1.1"])  # fmt: skip
def test_fx03_name_that_leads_inwards_is_not_connected_to(monkeypatch, address):
    """Even when another of its addresses is public."""
    found = [(0, 0, 0, "", ("93.184.216.34", 443)), (0, 0, 0, "", (address, 443))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    connected: list[Any] = []
    monkeypatch.setattr(socket, "create_connection", lambda *a, **_: connected.append(a))
    with pytest.raises(outgoing.Failed) as failed:
        outgoing.post("https://evil.example/", b"", {}, allows_local=False, timeout=1, deadline=1)
    assert failed.value.kind == "refused_address"
    assert connected == []


def test_fx03_name_is_resolved_once_and_that_address_is_connected_to(monkeypatch):
    """A name that answers differently the second time leads nowhere else."""
    asked: list[Any] = []

    def resolve(host: str, *_: Any, **__: Any) -> Any:
        asked.append(host)
        return [(0, 0, 0, "", ("93.184.216.34" if len(asked) == 1 else "127.0.0.1", 443))]

    connected: list[Any] = []

    def connect(where: Any, **_: Any) -> Any:
        connected.append(where)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(socket, "create_connection", connect)
    with pytest.raises(outgoing.Failed):
        outgoing.post("https://rebind.example/", b"", {}, allows_local=False, timeout=1, deadline=1)
    assert (asked, connected) == (["rebind.example"], [("93.184.216.34", 443)])


def test_only_an_installation_for_trying_out_may_post_to_itself(runtime):
    def of(**more: Any) -> bool:
        settings = factories.make_settings(runtime.settings.database_url, **more)
        return work.allows_local(dataclasses.replace(runtime, settings=settings))

    assert of(public_url="http://127.0.0.1:5000")
    assert not of(public_url="https://taem.example")
