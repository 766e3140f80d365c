"""Everything a layer may need, built once in `app.py` and passed on explicitly."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from sqlalchemy.orm import Session

from config import Settings
from core.clock import Clock
from core.crypto import Vault
from core.db import Database

#: Reacts to the facts a transaction has just recorded, inside that transaction:
#: `(runtime, session, activities, now)`. New facts it records are reacted to in turn.
Reaction = Callable[["Runtime", Session, list[Any], datetime], None]
#: A chain of reactions longer than this is a mistake of ours, not a long story.
MAX_ROUNDS = 10


class Wake(Protocol):
    """Says that rows are waiting; losing a call costs nothing but the sweep's second."""

    def events(self) -> None: ...
    def calls(self) -> None: ...


class NoWake:
    """Nobody to wake: tests and one-off commands; the sweep finds the rows."""

    def events(self) -> None:
        return

    def calls(self) -> None:
        return


@dataclass(frozen=True)
class Runtime:
    """Settings, database, time, keys, and what reacts to facts."""

    settings: Settings
    database: Database
    clock: Clock
    vault: Vault
    wake: Wake = field(default_factory=NoWake)
    reactions: tuple[Reaction, ...] = ()

    def __post_init__(self) -> None:
        # The outbox wakes the senders once its rows are committed, whoever opened the session.
        self.database.session_info["wake"] = self.wake
        # Rules that must read what is sealed (a birthday) find the keys here.
        self.database.session_info["vault"] = self.vault
        # Rules that write an address of ours into a message find here where it begins.
        self.database.session_info["public_url"] = self.settings.public_url

    @contextmanager
    def transaction(self, now: datetime | None = None) -> Iterator[Session]:
        """A write transaction whose recorded facts are reacted to before it commits."""
        with self.database.write() as session:
            yield session
            self.settle(session, now or self.clock.now())

    def settle(self, session: Session, now: datetime) -> None:
        """Let every reaction see the facts recorded so far, until no new ones appear."""
        for _ in range(MAX_ROUNDS):
            activities = session.info.pop("activities", None)
            if not activities:
                return
            for react in self.reactions:
                react(self, session, activities, now)
        raise AssertionError("reactions keep causing each other")
