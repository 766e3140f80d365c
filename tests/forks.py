"""Real processes that are forked, not started: milliseconds, not seconds.

A fork server has imported the product once; each process is a copy of it that goes on as
`python app.py ROLE` or `python -m MODULE` would, in a session of its own, with its own environment,
input and output.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from subprocess import TimeoutExpired
from typing import IO, Any

_forks = multiprocessing.get_context("forkserver")


class Forked:
    """One running process, as `subprocess.Popen` would show it."""

    def __init__(self, target: Callable[..., None], *arguments: Any) -> None:
        _forks.set_forkserver_preload([__name__, "tests.preloaded"])
        self._process: ForkServerProcess = _forks.Process(target=target, args=arguments)
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
            raise TimeoutExpired(str(self.pid), seconds or 0)
        return self._process.exitcode

    def terminate(self) -> None:
        """SIGTERM, as an operator's stop."""
        self._process.terminate()

    def kill_all(self) -> None:
        """SIGKILL to the process and whatever it has started."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            self._process.kill()  # it had no time to begin a session of its own


class ForkedRole(Forked):
    """`python app.py ROLE`, its output in a file."""

    def __init__(self, role: str, environment: Mapping[str, str], log: Path) -> None:
        super().__init__(_live_as_role, role, dict(environment), str(log))


class ForkedModule(Forked):
    """`python -m MODULE ARGUMENTS` of a module with a `main()`, its output in a file."""

    def __init__(
        self, module: str, arguments: Sequence[str], environment: Mapping[str, str], log: Path
    ) -> None:
        log.touch()
        super().__init__(_live_as_module, module, list(arguments), dict(environment), str(log))


class ForkedTalker(Forked):
    """`python -m MODULE ARGUMENTS`, to talk with through `stdin` and `stdout`."""

    def __init__(
        self, module: str, arguments: Sequence[str], environment: Mapping[str, str], log: Path
    ) -> None:
        heard, told = _forks.Pipe(duplex=False)
        answer, answered = _forks.Pipe(duplex=False)
        super().__init__(
            _live_as_module, module, list(arguments), dict(environment), str(log), heard, answered
        )
        self.stdin: IO[str] = os.fdopen(os.dup(told.fileno()), "w")
        self.stdout: IO[str] = os.fdopen(os.dup(answer.fileno()))
        for end in (heard, told, answer, answered):
            end.close()

    def close(self) -> None:
        """Say no more and hear no more."""
        self.stdin.close()
        self.stdout.close()


def _live_as_role(role: str, environment: dict[str, str], log: str) -> None:
    _begin(environment, log)
    sys.argv = ["app.py", role]
    sys.exit(importlib.import_module("app").main([role]))


def _live_as_module(
    module: str,
    arguments: list[str],
    environment: dict[str, str],
    log: str,
    heard: Connection | None = None,
    answered: Connection | None = None,
) -> None:
    _begin(environment, log)
    if heard is not None and answered is not None:
        os.dup2(heard.fileno(), 0)
        os.dup2(answered.fileno(), 1)
        heard.close()
        answered.close()
        sys.stdin = os.fdopen(0, closefd=False)
    sys.argv = [module, *arguments]
    importlib.import_module(module).main()


def _begin(environment: dict[str, str], log: str) -> None:
    """A session, an output file and an environment of one's own."""
    os.setsid()
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    os.environ.clear()
    os.environ.update(environment)
    # The fork server is nobody's terminal: what it ignored is heard again.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
