"""Takes turns at SQLite's one write lock, in the order of asking.

SQLite's own waiting is a poll: whoever has just let go takes the lock again while the others
sleep, so a busy worker could keep the webhook and the till waiting for seconds. Writers of one
process queue here first; whoever's turn it is then asks SQLite (`core/db.py`).
"""

from __future__ import annotations

import threading
from collections import deque


class Turns:
    """A lock that is handed on first come, first served."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._waiting: deque[threading.Lock] = deque()
        self._is_taken = False

    def take(self, timeout: float, *, is_urgent: bool = False) -> bool:
        """Wait for one's turn, `timeout` seconds at most; False if it did not come.

        Urgent ones come next: the webhook, whom LINE gives two seconds. They cannot shut the
        others out, because one who asks again after giving finds the next already let in.
        """
        with self._guard:
            if not self._is_taken:
                self._is_taken = True
                return True
            gate = threading.Lock()
            gate.acquire()
            if is_urgent:
                self._waiting.appendleft(gate)
            else:
                self._waiting.append(gate)
        if gate.acquire(timeout=timeout):
            return True
        with self._guard:
            if gate in self._waiting:
                self._waiting.remove(gate)
                return False
        return True  # it came in this very moment

    def give(self) -> None:
        """Let the next one in."""
        with self._guard:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._is_taken = False


_guard = threading.Lock()
_of_files: dict[str, Turns] = {}


def turns_of(path: str) -> Turns:
    """The turns at one database file, shared by every writer of this process."""
    with _guard:
        return _of_files.setdefault(path, Turns())
