"""Intake as it is really served: granian and waitress, chunked and slow bodies, nginx in front."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest
from sqlalchemy import func, select

from core.db import Database
from models.inbox import Event
from tests import factories
from tests.bot.webhooks import body_of, sign, text_event
from tests.processes import (
    READY_SECONDS,
    Processes,
    answers,
    bare_environment,
    free_port,
    wait_until,
)

LIMIT = 1024 * 1024


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def engine_kind(request):
    return request.param


@pytest.fixture(scope="module", params=["web", "all"])
def role(request):
    return request.param


def start(processes, url, role):
    """Start Taem on this database; returns its port."""
    port = free_port()
    settings = factories.make_settings(url, port=port, public_url=f"http://127.0.0.1:{port}")
    processes.fork(role, bare_environment() | factories.environment(settings))
    wait_until(lambda: answers(f"http://127.0.0.1:{port}/healthz"), within=READY_SECONDS)
    return port


@pytest.fixture(scope="module")
def served(role, engine_kind, new_database, drop_database, tmp_path_factory):
    """(port, database) of one process for the tests that leave it as it was."""
    processes = Processes(tmp_path_factory.mktemp("taem"))
    url = new_database(engine_kind)
    database = Database(url)
    try:
        yield start(processes, url, role), database
    finally:
        processes.stop_all()
        database.dispose()
        drop_database(url)


def post(port, body, *, chunked=False, signature=None):
    """Status of one webhook."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        headers = {"X-Line-Signature": signature or sign(body)}
        sent = iter([body[:1000], body[1000:]]) if chunked else body
        connection.request("POST", "/callback", sent, headers, encode_chunked=chunked)
        return connection.getresponse().status
    finally:
        connection.close()


def post_too_long(port, *, chunked):
    """Status of a webhook over the limit; None when the server hung up on it."""
    try:
        return post(port, body_of(text_event()).ljust(LIMIT + 1), chunked=chunked)
    except (BrokenPipeError, ConnectionResetError):
        return None


def count(database):
    with database.read() as session:
        return session.scalar(select(func.count()).select_from(Event))


def test_takes_in_webhooks_plain_chunked_and_too_long(served):
    port, database = served
    before = count(database)
    assert post(port, body_of(text_event())) == 200
    assert post(port, body_of(text_event()).ljust(5000), chunked=True) == 200
    assert post(port, body_of(text_event()), signature="AAAA") == 401
    assert post(port, body_of()) == 200
    assert count(database) == before + 2
    assert post_too_long(port, chunked=False) in (413, None)
    assert post_too_long(port, chunked=True) in (413, None)
    assert count(database) == before + 2
    assert post(port, body_of(text_event())) == 200


def test_fw08_one_event_in_fifty_connections_at_once_is_stored_once(served):
    """Last-byte synchronisation: every body is complete but for its end, then all ends leave."""
    port, database = served
    before = count(database)
    body = body_of(text_event())
    head = (
        f"POST /callback HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
        f"X-Line-Signature: {sign(body)}\r\n\r\n"
    ).encode()
    connections = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(50)]
    for connection in connections:
        connection.sendall(head)
    barrier = threading.Barrier(50)

    def finish(connection):
        barrier.wait()
        connection.sendall(body)
        with connection:
            return connection.recv(100)[9:12]

    with ThreadPoolExecutor(50) as pool:
        assert list(pool.map(finish, connections)) == [b"200"] * 50
    assert count(database) == before + 1


def test_fw14_one_byte_a_second_is_cut_off_and_holds_nobody_up(processes, nginx_server, database):
    nginx = nginx_server(start(processes, database.url, "web"))
    parts = urlsplit(nginx.url)
    trust = ssl.create_default_context(cafile=str(nginx.certificate))

    def open_slow():
        plain = socket.create_connection(("127.0.0.1", parts.port), timeout=20)
        secure = trust.wrap_socket(plain, server_hostname="localhost")
        secure.sendall(b"POST /callback HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999\r\n\r\n")
        return secure

    slow = [open_slow() for _ in range(60)]
    started = time.monotonic()
    body = body_of(text_event())
    connection = http.client.HTTPSConnection("localhost", parts.port, timeout=10, context=trust)
    connection.request("POST", "/callback", body, {"X-Line-Signature": sign(body)})
    assert connection.getresponse().status == 200
    assert time.monotonic() - started < 1.5
    connection.close()
    assert count(database) == 1
    for one in slow:
        answer = one.recv(1000)
        one.close()
        assert answer == b"" or b" 408 " in answer.split(b"\r\n")[0]
    assert time.monotonic() - started < 15
