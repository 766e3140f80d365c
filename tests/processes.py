"""Real processes for tests: started with their output in a file, ended by id, never orphaned."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.forks import Forked, ForkedRole

ROOT = Path(__file__).resolve().parent.parent
READY_SECONDS = 30.0
STOP_SECONDS = 10.0


class Processes:
    """Starts processes and sees to it that none of them is left."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started: list[subprocess.Popen[bytes]] = []
        self.forked: list[Forked] = []

    def spawn(
        self,
        *command: str,
        env: Mapping[str, str] | None = None,
        ready: str | Callable[[], object] | None = None,
        cwd: Path | str = ROOT,
        within: float = READY_SECONDS,
    ) -> subprocess.Popen[bytes]:
        """Start `command` (a leading "python" is this interpreter) with `env` on top of a bare one.

        `ready` is a URL that must answer below 500, or a function that must become true; its
        failure shows what the process wrote. The output is in `output(process)`.
        """
        if command[0] == "python":
            command = (sys.executable, *command[1:])
        log = (self.folder / f"process-{len(self.started)}.log").open("wb")
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=bare_environment() | dict(env or {}),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        log.close()
        self.started.append(process)
        if ready is not None:
            check = (lambda: answers(ready)) if isinstance(ready, str) else ready
            self._wait(process, check, within)
        return process

    def fork(self, role: str, environment: Mapping[str, str]) -> ForkedRole:
        """Start a role of the product from the fork server; ended with everything else."""
        from tests.forks import ForkedRole

        forked = ForkedRole(role, environment, self._next_log())
        self.forked.append(forked)
        return forked

    def fork_module(
        self, module: str, *arguments: str, environment: Mapping[str, str]
    ) -> tuple[Forked, Path]:
        """Start a module of the tests from the fork server; also where its output is."""
        from tests.forks import ForkedModule

        log = self._next_log()
        self.forked.append(ForkedModule(module, arguments, environment, log))
        return self.forked[-1], log

    def _next_log(self) -> Path:
        return self.folder / f"forked-{len(self.forked)}.log"

    def output(self, process: subprocess.Popen[bytes]) -> str:
        """Everything this process has written so far."""
        place = self.folder / f"process-{self.started.index(process)}.log"
        return place.read_text("utf-8", "replace")

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """SIGKILL, as a power cut would, to the process and what it started."""
        _signal(process, signal.SIGKILL)
        process.wait(STOP_SECONDS)

    def stop(self, process: subprocess.Popen[bytes]) -> int:
        """Ask politely, insist after ten seconds; returns the exit code."""
        if process.poll() is None:
            process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            pass
        _signal(process, signal.SIGKILL)
        return process.wait(STOP_SECONDS)

    def stop_all(self, *, politely: bool = False) -> None:
        """End everything, newest first; politely where a process has others to end."""
        for role in self.forked:
            if role.poll() is None:
                role.kill_all()
        for process in reversed(self.started):
            if politely:
                self.stop(process)
            else:
                self.kill(process)  # its group, too, where it has ended before

    def _wait(
        self, process: subprocess.Popen[bytes], check: Callable[[], object], within: float
    ) -> None:
        deadline = time.monotonic() + within
        while not check():
            if process.poll() is not None:
                raise AssertionError(f"ended with {process.returncode}:\n{self.output(process)}")
            if time.monotonic() > deadline:
                raise AssertionError(f"not ready in {within:g} s:\n{self.output(process)}")
            time.sleep(0.05)


def bare_environment() -> dict[str, str]:
    """What a process needs of the machine, without any setting of Taem's."""
    kept = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TEST_POSTGRES_URL")
    return {name: os.environ[name] for name in kept if name in os.environ}


def free_port() -> int:
    """A loopback port nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(url: str) -> bool:
    """Whether a server answers there with anything but a fault of its own."""
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status < 500)
    except urllib.error.HTTPError as error:
        with error:
            return error.code < 500
    except OSError:
        return False


def wait_until(check: Callable[[], object], within: float = 10.0, every: float = 0.05) -> None:
    """Wait until `check` is true; fail after `within` seconds."""
    deadline = time.monotonic() + within
    while not check():
        assert time.monotonic() < deadline, f"did not happen within {within:g} s"
        time.sleep(every)


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Signal the process's own group; `start_new_session` made its id the group's."""
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):
        pass
