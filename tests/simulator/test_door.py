"""The quick door: the same answers as the framework, whatever comes over the connection."""

from __future__ import annotations

import json
import socket
import urllib.request

import pytest

from tests.processes import free_port
from tests.simulator.harness import TOKEN, text

NOBODY = "U" + "0" * 32


def head(body, path="/v2/bot/message/push", extra=""):
    return (
        f"POST {path} HTTP/1.1\r\nHost: line\r\nAuthorization: Bearer {TOKEN}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n{extra}\r\n"
    ).encode()


def push_body(to, words="สวัสดี"):
    return json.dumps({"to": to, "messages": [text(words)]}).encode()


class Wire:
    """One connection, written and read byte by byte."""

    def __init__(self, simulator):
        port = int(simulator.url.rsplit(":", 1)[1])
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=5)
        self.file = self.socket.makefile("rb")

    def send(self, data):
        self.socket.sendall(data)

    def answer(self):
        status = int(self.file.readline().split()[1])
        length = 0
        while (line := self.file.readline()) != b"\r\n":
            if line.lower().startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        return status, self.file.read(length)

    def close(self):
        self.file.close()
        self.socket.close()


@pytest.fixture
def wire(simulator):
    wire = Wire(simulator)
    yield wire
    wire.close()


def test_answers_many_sends_on_one_connection(simulator, friend, wire):
    for _ in range(3):
        wire.send(head(push_body(friend)) + push_body(friend))
        assert wire.answer()[0] == 200
    assert len(simulator.said_by_shop()) == 3


def test_answers_sends_that_come_at_once_in_their_order(simulator, friend, wire):
    first, second = push_body(friend, "หนึ่ง"), push_body(friend, "สอง")
    wire.send(head(first) + first + head(second) + second)
    assert [wire.answer()[0], wire.answer()[0]] == [200, 200]
    assert simulator.said_by_shop() == ["หนึ่ง", "สอง"]


def test_waits_for_the_rest_of_a_send(simulator, friend, wire):
    whole = head(push_body(friend)) + push_body(friend)
    for byte in range(len(whole)):
        wire.send(whole[byte : byte + 1])
    assert wire.answer()[0] == 200


def test_goes_on_with_other_requests_on_the_same_connection(simulator, friend, wire):
    body = push_body(friend)
    wire.send(head(body) + body)
    assert wire.answer()[0] == 200
    wire.send(
        f"GET /v2/bot/info HTTP/1.1\r\nHost: line\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode()
    )
    status, raw = wire.answer()
    assert (status, json.loads(raw)["chatMode"]) == (200, "bot")
    wire.send(head(body) + body)
    assert wire.answer()[0] == 200


def test_reads_a_chunked_send(simulator, friend, wire):
    body = push_body(friend)
    lines = head(body).replace(b"Content-Length: %d" % len(body), b"Transfer-Encoding: chunked")
    wire.send(lines + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))
    assert wire.answer()[0] == 200


def test_closes_when_asked(simulator, friend, wire):
    body = push_body(friend)
    wire.send(head(body, extra="Connection: close\r\n") + body)
    assert wire.answer()[0] == 200
    assert wire.file.read() == b""


def test_a_fault_switched_on_later_strikes_an_open_connection(simulator, friend, wire):
    body = push_body(friend)
    wire.send(head(body) + body)
    assert wire.answer()[0] == 200
    simulator.faults(push="503")
    wire.send(head(body) + body)
    assert wire.answer()[0] == 503


@pytest.mark.parametrize(
    "body",
    [push_body("nobody"), push_body(NOBODY), push_body(NOBODY, ""), b"{", b"[]", b'{"to": 1}'],
)
def test_both_ways_answer_alike(simulator, wire, body):
    wire.send(head(body) + body)
    quick = wire.answer()
    simulator.faults(latency_seconds=0.001)  # any fault leads past the quick door
    wire.send(head(body) + body)
    assert wire.answer() == quick


def test_refuses_what_is_no_http(simulator, wire):
    wire.send(b"\x16\x03\x01 hello\r\n\r\n")
    assert wire.answer()[0] == 400


def test_latency_delays_the_answer_and_not_the_delivery(start_simulator):
    simulator = start_simulator(latency_seconds=0.3, accepts_unknown_users=True)
    wire = Wire(simulator)
    body = push_body(NOBODY)
    wire.send(head(body) + body)
    assert wire.answer()[0] == 200
    wire.close()


def test_works_on_the_faster_event_loop(processes):
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    env = {"LINE_CHANNEL_ACCESS_TOKEN": TOKEN, "SIM_FAST": "1"}
    processes.spawn(
        *("python", "-m", "simulator", "--port", str(port)), env=env, ready=f"{url}/sim/state"
    )
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    request = urllib.request.Request(
        f"{url}/v2/bot/message/push", push_body(NOBODY), headers, method="POST"
    )
    with urllib.request.urlopen(request, timeout=5) as answer:
        assert json.load(answer)["sentMessages"]
    with urllib.request.urlopen(f"{url}/sim/journal/count", timeout=5) as answer:
        assert json.load(answer)["accepted"] == {"push": 1}
