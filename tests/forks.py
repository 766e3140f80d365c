"""Roles of the product as real processes that are forked, not started: milliseconds, not seconds.

A fork server has imported the product once; each process is a copy of it that goes on as
`python app.py ROLE` would, in a session of its own, with its own environment and output file.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Mapping
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from subprocess import TimeoutExpired

import app

_forks = multiprocessing.get_context("forkserver")
#: What a role imports only once it runs.
_LATER = (
    "worker.serve",
    "worker.desk",
    "worker.sender",
    "worker.loops",
    "scheduler.runner",
    "granian.server",
    "waitress",
    "web",
)


class ForkedRole:
    """One running role, as `subprocess.Popen` would show it."""

    def __init__(self, role: str, environment: Mapping[str, str], log: Path) -> None:
        _forks.set_forkserver_preload([__name__, *_LATER])
        self._process: ForkServerProcess = _forks.Process(
            target=_live, args=(role, dict(environment), str(log))
        )
        self._process.start()
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        return self._process.exitcode

    def wait(self, seconds: float | None = None) -> int:
        """The exit code. Raises subprocess.TimeoutExpired."""
        self._process.join(seconds)
        if self._process.exitcode is None:
            raise TimeoutExpired("app.py", seconds or 0)
        return self._process.exitcode

    def terminate(self) -> None:
        """SIGTERM, as an operator's stop."""
        self._process.terminate()

    def kill_all(self) -> None:
        """SIGKILL to the role and whatever it has started."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            self._process.kill()  # it had no time to begin a session of its own


def _live(role: str, environment: dict[str, str], log: str) -> None:
    os.setsid()
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["app.py", role]
    # The fork server is nobody's terminal: what it ignored is heard again.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    sys.exit(app.main([role]))
