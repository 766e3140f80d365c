"""Tells workers that rows are waiting. The rows are the truth: a lost or doubled word costs
nothing but the second until the next sweep.

In one process it is an event to wait on. With BROKER_URL the word also goes to workers on other
machines, through Dramatiq; a broker that is away is noticed by a thread of its own, never by the
webhook or the till that only wanted to say "look".
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable

from config import Settings

#: Words said within this time of each other travel as one.
GATHER_SECONDS = 0.005
BROKER_PAUSE_SECONDS = 5.0

log = logging.getLogger("taem.wake")


class LocalWake:
    """Wakes the threads of this process."""

    def __init__(self) -> None:
        self._has_events = threading.Event()
        self._on_calls: list[Callable[[], object]] = []

    def events(self) -> None:
        """Webhook events were stored."""
        self.look_at_events()

    def look_at_events(self) -> None:
        """Wake the event loop of this process alone."""
        self._has_events.set()

    def calls(self) -> None:
        """Calls to LINE were committed."""
        for wake in self._on_calls:
            wake()

    def wait_for_events(self, timeout: float) -> None:
        """Sleep until events were stored, at most `timeout` seconds."""
        self._has_events.wait(timeout)
        self._has_events.clear()

    def on_calls(self, wake: Callable[[], object]) -> None:
        """Have `wake` called whenever calls were committed; it must not block."""
        self._on_calls.append(wake)

    def close(self) -> None:
        """Say nothing more."""


class BrokerWake(LocalWake):
    """Also wakes workers elsewhere, through the broker."""

    def __init__(self, broker_url: str) -> None:
        super().__init__()
        self._url = broker_url
        self._waiting = threading.Event()
        self._due: set[str] = set()
        self._pid = 0
        self._is_closed = threading.Event()

    def events(self) -> None:
        super().events()
        self._say("events")

    def calls(self) -> None:
        super().calls()
        self._say("calls")

    def close(self) -> None:
        self._is_closed.set()
        self._waiting.set()

    def _say(self, what: str) -> None:
        self._due.add(what)
        if self._pid != os.getpid():  # also after a fork, which inherits no thread
            self._pid = os.getpid()
            threading.Thread(target=self._run, name="taem-wake", daemon=True).start()
        self._waiting.set()

    def _run(self) -> None:
        from worker import actors

        words = None
        while not self._is_closed.is_set():
            self._waiting.wait()
            self._waiting.clear()
            self._is_closed.wait(GATHER_SECONDS)
            due = list(self._due)
            self._due.difference_update(due)
            try:
                words = words or actors.Words(actors.make_broker(self._url))
                for what in due:
                    words.say(what)
            except Exception as error:
                log.warning("broker is away: %s", type(error).__name__)
                words = None
                self._is_closed.wait(BROKER_PAUSE_SECONDS)


def wake_for(settings: Settings) -> LocalWake:
    """The wake of this configuration."""
    return BrokerWake(settings.broker_url) if settings.broker_url else LocalWake()
