"""Stores what intake has read: one thread, one connection, one transaction for all who wait.

A caller hears "stored" only after the commit. When the database refuses a row because of its
own data the group is halved until that row stands alone, so it never costs its neighbours; when
the database cannot be written at all, everybody hears "not stored" in good time and the next
group tries again on a fresh connection.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from bot.events import Oddity
from bot.stores import BadRow, Notes, Row, Store, Unavailable, open_store
from core.sabotage import is_sabotaged, reach

#: LINE gives up after 2 s; whoever waits longer than this is told to come back.
WAIT_SECONDS = 1.2
#: While the database is known to be away, nobody is kept waiting for long.
WAIT_SECONDS_UNHEALTHY = 0.4
MAX_WAITING = 2_000
MAX_GROUP = 500
NOTES_EVERY_SECONDS = 10.0
CLOSE_SECONDS = 5.0

log = logging.getLogger("taem.intake")


@dataclass(slots=True)
class Item:
    """What one request wants stored; its lock opens when the answer is known."""

    rows: list[Row]
    oddities: list[Oddity]
    is_stored: bool = False
    is_abandoned: bool = False
    answered: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.answered.acquire()

    def answer(self, *, is_stored: bool) -> None:
        """Let the request go on."""
        self.is_stored = is_stored
        self.answered.release()


class Committer:
    """The one writer of intake. Safe to call from any thread; starts with the first request."""

    def __init__(self, database_url: str, on_stored: Callable[[], None]) -> None:
        """`on_stored` is called after a commit that brought new events to handle."""
        self._url = database_url
        self._on_stored = on_stored
        self._waiting: queue.SimpleQueue[Item | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._pid = 0
        self._is_closed = False
        self._store: Store | None = None
        self._notes = Notes()
        self._notes_due = 0.0
        self.bot_user_id: str | None = None
        self.is_healthy = True
        #: `new`, `known`, `quarantined`, `not_stored`: for metrics.
        self.counts: Counter[str] = Counter()

    def store(self, rows: list[Row], oddities: list[Oddity]) -> bool:
        """Whether all of this is durably stored, known within 1.3 s."""
        if self._is_closed or self._waiting.qsize() >= MAX_WAITING:
            self.counts["not_stored"] += 1
            return False
        if self._pid != os.getpid():
            self._start()
        item = Item(rows, oddities)
        self._waiting.put(item)
        if is_sabotaged("intake.answer_after_commit"):
            return True
        limit = WAIT_SECONDS if self.is_healthy else WAIT_SECONDS_UNHEALTHY
        if not item.answered.acquire(timeout=limit):
            item.is_abandoned = True
        if not item.is_stored:
            self.counts["not_stored"] += 1
        return item.is_stored

    def note_bad_signature(self, now: datetime) -> None:
        """Count a request that was not LINE's."""
        with self._lock:
            self._notes.bad_signatures += 1
            self._notes.last_bad_signature_at = now
        if self._pid != os.getpid():
            self._start()

    def note_redelivery(self, now: datetime) -> None:
        """Remember that LINE delivered something again: the console switch is on."""
        with self._lock:
            self._notes.last_redelivery_at = now

    def note_unknown_destination(self, now: datetime) -> None:
        """Remember that a webhook named a bot that is not ours."""
        with self._lock:
            self._notes.unknown_destination_at = now

    def close(self) -> None:
        """Store what still waits, write the notes, and end. Later requests are not stored."""
        self._is_closed = True
        thread = self._thread
        if thread is not None and self._pid == os.getpid():
            self._waiting.put(None)
            thread.join(CLOSE_SECONDS)

    def _start(self) -> None:
        with self._lock:
            if self._pid == os.getpid():
                return
            self._waiting = queue.SimpleQueue()  # a fork inherits no thread to empty the old one
            self._store = None
            self._thread = threading.Thread(target=self._run, name="taem-intake", daemon=True)
            self._pid = os.getpid()
            self._thread.start()

    def _run(self) -> None:
        is_closing = False
        while not is_closing:
            group, is_closing = self._next_group()
            if group:
                self._serve(group)
            if is_closing or time.monotonic() >= self._notes_due:
                self._flush_notes()
        if self._store is not None:
            self._store.close()

    def _next_group(self) -> tuple[list[Item], bool]:
        """Whoever waits now, and whether it is time to end. Waits itself when nobody does."""
        try:
            first = self._waiting.get(timeout=NOTES_EVERY_SECONDS)
        except queue.Empty:
            return [], False
        group: list[Item] = []
        while first is not None:
            if not first.is_abandoned:
                group.append(first)
            if len(group) >= MAX_GROUP:
                return group, False
            try:
                first = self._waiting.get_nowait()
            except queue.Empty:
                return group, False
        return group, True

    def _serve(self, group: list[Item]) -> None:
        """Answer everybody in the group, whatever happens."""
        is_stored, has_new = False, False
        try:
            has_new = self._commit(group)
            is_stored = True
        except Unavailable as error:
            self._fall_ill(error)
        except Exception as error:  # the writer outlives every mistake, ours included
            log.exception("intake failed")
            self._drop_store()
            self._fall_ill(Unavailable(type(error).__name__))
        for item in group:
            item.answer(is_stored=is_stored)
        if has_new:
            self._wake_workers()

    def _wake_workers(self) -> None:
        try:
            self._on_stored()
        except Exception:  # they look every second anyway
            log.exception("waking failed")

    def _commit(self, group: list[Item]) -> bool:
        """Store a group; whether any of its events was new."""
        # Sorted, so that two processes storing the same events never wait for each other in a ring.
        rows = sorted(
            (row for item in group for row in item.rows), key=lambda row: row.event.webhook_event_id
        )
        oddities = sorted(
            (oddity for item in group for oddity in item.oddities), key=lambda oddity: oddity.digest
        )
        was_open = self._store is not None
        try:
            new = self._write(rows, oddities)
        except Unavailable:
            if not was_open or self._store is None or self._store.is_usable():
                raise
            # The connection had died since it was last used (a restart, an idle time-out), which
            # must not cost an event: LINE may not deliver again.
            self._drop_store()
            new = self._write(rows, oddities)
        reach("intake.committed")
        self.counts["new"] += new
        self.counts["known"] += len(rows) - new
        self.counts["quarantined"] += len(oddities)
        if not self.is_healthy:
            log.warning("intake stores again")
            self.is_healthy = True
            self._open().hurry(is_healthy=True)
        return new > 0

    def _write(self, rows: Sequence[Row], oddities: Sequence[Oddity]) -> int:
        try:
            return self._open().write(rows, oddities)
        except BadRow as error:
            if len(rows) + len(oddities) > 1:
                half, odd_half = (len(rows) + 1) // 2, len(oddities) // 2
                if not rows:
                    odd_half = (len(oddities) + 1) // 2
                return self._write(rows[:half], oddities[:odd_half]) + self._write(
                    rows[half:], oddities[odd_half:]
                )
            if not rows:  # bytes and short codes: nothing in them can be refused
                raise Unavailable(str(error)) from error
            content = rows[0].event.payload
            return self._open().write((), (Oddity("event", "event.unstorable", content),))

    def _open(self) -> Store:
        if self._store is None:
            self._store = open_store(self._url)
            self._store.hurry(is_healthy=self.is_healthy)
        return self._store

    def _fall_ill(self, error: Unavailable) -> None:
        if self.is_healthy:
            log.error("intake cannot store: %s", error)
        self.is_healthy = False
        if self._store is None:
            return
        if self._store.is_usable():
            self._store.hurry(is_healthy=False)
        else:
            self._drop_store()

    def _drop_store(self) -> None:
        """Let the next group open a connection of its own."""
        if self._store is not None:
            self._store.close()
            self._store = None

    def _flush_notes(self) -> None:
        self._notes_due = time.monotonic() + NOTES_EVERY_SECONDS
        with self._lock:
            notes, self._notes = self._notes, Notes()
        try:
            self.bot_user_id = self._open().write_notes(notes) or self.bot_user_id
        except (Unavailable, BadRow):
            with self._lock:
                self._notes.bad_signatures += notes.bad_signatures
                for name in (
                    "last_bad_signature_at",
                    "last_redelivery_at",
                    "unknown_destination_at",
                ):
                    setattr(self._notes, name, getattr(self._notes, name) or getattr(notes, name))
