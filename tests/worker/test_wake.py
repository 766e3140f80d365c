"""Waking: at once in one process, through a broker elsewhere, and never in anybody's way."""

from __future__ import annotations

import threading
import time

import pytest

from tests.factories import make_settings
from tests.processes import free_port, wait_until
from worker.actors import Listener
from worker.wake import BrokerWake, LocalWake, wake_for


class Heard:
    """Counts what a worker elsewhere hears."""

    def __init__(self):
        self.events = 0
        self.calls = 0

    def hear_events(self):
        self.events += 1

    def hear_calls(self):
        self.calls += 1


@pytest.fixture
def listen():
    """`listen(url)` is a worker's ear at the broker; all of them are closed after the test."""
    started = []

    def start(url):
        heard = Heard()
        listener = Listener(url, heard.hear_events, heard.hear_calls)
        listener.start()
        started.append(listener)
        return heard

    yield start
    for listener in started:
        listener.stop()


@pytest.fixture
def broker_wake(redis_server):
    wake = BrokerWake(redis_server)
    yield wake
    wake.close()


def test_without_a_broker_waking_stays_in_the_process():
    assert type(wake_for(make_settings("sqlite://"))) is LocalWake


def test_with_a_broker_others_are_woken_too():
    settings = make_settings("sqlite://", broker_url="redis://127.0.0.1:1/0")
    assert isinstance(wake_for(settings), BrokerWake)


def test_wakes_whoever_waits_for_events_at_once():
    wake = LocalWake()
    threading.Timer(0.05, wake.events).start()
    started = time.monotonic()
    wake.wait_for_events(10)
    assert time.monotonic() - started < 5


def test_word_said_before_anyone_waits_is_not_lost():
    wake = LocalWake()
    wake.events()
    started = time.monotonic()
    wake.wait_for_events(10)
    assert time.monotonic() - started < 1


def test_waiting_ends_by_itself_for_the_sweep():
    started = time.monotonic()
    LocalWake().wait_for_events(0.1)
    assert 0.05 < time.monotonic() - started < 5


def test_calls_wake_every_sender_of_the_process():
    woken = []
    wake = LocalWake()
    wake.on_calls(lambda: woken.append("one"))
    wake.on_calls(lambda: woken.append("two"))
    wake.calls()
    assert woken == ["one", "two"]


def test_broker_carries_both_words_to_a_worker_elsewhere(redis_server, broker_wake, listen):
    heard = listen(redis_server)
    broker_wake.events()
    wait_until(lambda: heard.events)
    broker_wake.calls()
    wait_until(lambda: heard.calls)
    assert (heard.events, heard.calls) == (1, 1)


def test_many_words_at_once_travel_as_few(redis_server, broker_wake, listen):
    heard = listen(redis_server)
    for _ in range(1000):
        broker_wake.events()
    wait_until(lambda: heard.events)
    time.sleep(0.2)
    assert heard.events < 100


def test_hearing_a_word_says_no_other(redis_server, listen):
    wake = BrokerWake(redis_server)
    heard = listen(redis_server)
    wake.look_at_events()
    time.sleep(0.2)
    wake.close()
    assert heard.events == 0


def test_broker_that_is_away_holds_nobody_up():
    wake = BrokerWake(f"redis://127.0.0.1:{free_port()}/0")
    started = time.monotonic()
    for _ in range(100):
        wake.events()
        wake.calls()
    assert time.monotonic() - started < 1
    wake.wait_for_events(0)  # this process was woken all the same
    wake.close()
