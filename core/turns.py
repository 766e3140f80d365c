"""Takes turns at SQLite's one write lock, within a process and between processes.

SQLite's own waiting is a poll: whoever has just let go takes the lock again while the others
sleep, so a busy worker could keep the webhook and the till waiting for seconds. Writers of one
process queue here, in the order of asking. The first of each queue then passes a turnstile that
all processes share: two bytes of a file beside the database, "next" and "now". Only the holder of
"next" waits for "now", so that the process which has just written cannot slip in before it. The
kernel takes the bytes back from whoever is killed.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections import deque
from pathlib import Path

#: Which bytes of the turnstile's file mean what.
NEXT, NOW = 0, 1
#: How long the turnstile sleeps between two looks.
LOOK_SECONDS = 0.002


class Turnstile:
    """Lets one process at a time through. Used by one thread of a process at a time."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._file: int | None = None
        self._process = 0

    def enter(self, until: float) -> bool:
        """Wait for this process's turn until `until` (monotonic seconds)."""
        if not self._wait(NEXT, until):
            return False
        try:
            return self._wait(NOW, until)
        finally:
            self._free(NEXT)

    def leave(self) -> None:
        """Let the next process in."""
        self._free(NOW)

    def close(self) -> None:
        """Let go of the file; the next turn opens it again. Only while nobody is inside."""
        if self._file is not None and self._process == os.getpid():
            os.close(self._file)
        self._file = None

    def _wait(self, byte: int, until: float) -> bool:
        while True:
            try:
                fcntl.lockf(self._open(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
                return True
            except (BlockingIOError, PermissionError):
                if time.monotonic() >= until:
                    return False
            time.sleep(LOOK_SECONDS)

    def _free(self, byte: int) -> None:
        fcntl.lockf(self._open(), fcntl.LOCK_UN, 1, byte)

    def _open(self) -> int:
        """The file, opened once in a process: closing it would free both bytes."""
        if self._file is None or self._process != os.getpid():
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._process = os.getpid()
        return self._file


class Turns:
    """A lock that is handed on first come, first served, and shared by all processes."""

    def __init__(self, turnstile: Turnstile | None = None) -> None:
        self._guard = threading.Lock()
        self._waiting: deque[threading.Lock] = deque()
        self._is_taken = False
        self._turnstile = turnstile

    def take(self, timeout: float, *, is_urgent: bool = False) -> bool:
        """Wait for one's turn, `timeout` seconds at most; False if it did not come.

        Urgent ones come next: the webhook, whom LINE gives two seconds. They cannot shut the
        others out, because one who asks again after giving finds the next already let in.
        """
        until = time.monotonic() + timeout
        if not self._queue(timeout, is_urgent):
            return False
        if self._turnstile is None:
            return True
        try:
            if self._turnstile.enter(until):
                return True
        except BaseException:
            self._hand_on()
            raise
        self._hand_on()
        return False

    def give(self) -> None:
        """Let the next one in."""
        if self._turnstile is not None:
            self._turnstile.leave()
        self._hand_on()

    def rest(self) -> None:
        """Keep no file open while nobody writes."""
        with self._guard:
            if not self._is_taken and self._turnstile is not None:
                self._turnstile.close()

    def _queue(self, timeout: float, is_urgent: bool) -> bool:
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

    def _hand_on(self) -> None:
        with self._guard:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._is_taken = False


_guard = threading.Lock()
_of_files: dict[str, Turns] = {}


def turns_of(path: str) -> Turns:
    """The turns at one database file, shared by every writer of this process.

    Where no file can stand beside the database, its own lock decides between processes.
    """
    with _guard:
        if path not in _of_files:
            is_real = os.access(Path(path).parent, os.W_OK)
            _of_files[path] = Turns(Turnstile(f"{path}-turn") if is_real else None)
        return _of_files[path]
