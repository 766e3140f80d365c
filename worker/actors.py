"""Dramatiq's part: carries "look at your rows" to workers on other machines, nothing else.

Messages hold no data, expire after seconds and are never retried; whoever receives one claims
rows as the sweep does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dramatiq import Actor, Broker, Worker
from dramatiq.middleware import AgeLimit, Middleware

QUEUE = "taem"
MAX_AGE_MS = 5_000
STOP_MS = 2_000
HEARTBEAT_MS = 15_000


def make_broker(url: str) -> Broker:
    """A connection to Redis or RabbitMQ, by the scheme of `url`."""
    middleware: list[Middleware] = [AgeLimit()]
    if url.startswith("amqp"):
        from dramatiq.brokers.rabbitmq import RabbitmqBroker

        return RabbitmqBroker(url=url, middleware=middleware)
    from dramatiq.brokers.redis import RedisBroker

    return RedisBroker(  # type: ignore[no-untyped-call]
        url=url,
        middleware=middleware,
        heartbeat_timeout=HEARTBEAT_MS,
        dead_message_ttl=MAX_AGE_MS,
        socket_timeout=5,
        socket_connect_timeout=2,
    )


class Words:
    """The two things one can say, as actors of one broker."""

    def __init__(
        self,
        broker: Broker,
        on_events: Callable[[], object] = lambda: None,
        on_calls: Callable[[], object] = lambda: None,
    ) -> None:
        """`on_events` and `on_calls` run in whatever worker process gets the word."""
        self._actors: dict[str, Actor[Any, Any]] = {
            "events": _declare(broker, "events", on_events),
            "calls": _declare(broker, "calls", on_calls),
        }

    def say(self, what: str) -> None:
        """Send one word."""
        self._actors[what].send()


class Listener:
    """Hears words from the broker in threads of this process."""

    def __init__(
        self, url: str, on_events: Callable[[], object], on_calls: Callable[[], object]
    ) -> None:
        self._broker = make_broker(url)
        self._words = Words(self._broker, on_events, on_calls)
        self._worker = Worker(self._broker, queues={QUEUE}, worker_threads=1)

    def start(self) -> None:
        """Begin to listen; a broker that is away is tried again by Dramatiq itself."""
        self._worker.start()

    def stop(self) -> None:
        """Stop listening; unheard words go to somebody else, or expire."""
        self._worker.stop(timeout=STOP_MS)
        self._broker.close()


def _declare(broker: Broker, name: str, work: Callable[[], object]) -> Actor[Any, Any]:
    def act() -> None:
        work()

    return Actor(
        act,
        broker=broker,
        actor_name=f"look_at_{name}",
        queue_name=QUEUE,
        priority=0,
        options={"max_age": MAX_AGE_MS},
    )
