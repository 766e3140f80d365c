"""What benchmarks share: fresh databases on both engines, our own processes, results."""

from __future__ import annotations

import os
import statistics
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.db import Database
from tests import factories, postgres
from tests.processes import Processes

ROUNDS = 5
ROUNDS_QUICK = 1

#: PostgreSQL as it comes, but for memory: every commit waits for the disk, as in a shop.
DURABLE = "fsync = on\nfull_page_writes = on\nsynchronous_commit = on\nshared_buffers = 256MB\n"


@dataclass(frozen=True)
class Result:
    """One line of the table; `goal` is its wording, `is_met` its judgement."""

    name: str
    ours: float
    limit: float | None
    goal: str
    is_met: bool

    @property
    def ratio(self) -> float | None:
        return self.ours / self.limit if self.limit else None


class Bench:
    """The surroundings of one benchmark; everything it starts ends with it."""

    def __init__(self, folder: Path, *, is_quick: bool) -> None:
        self.folder = folder
        self.is_quick = is_quick
        self.rounds = ROUNDS_QUICK if is_quick else ROUNDS
        self.processes = Processes(folder)
        self._ours: list[subprocess.Popen[bytes]] = []
        self._databases = 0
        self._postgres: str | None = None

    def scaled(self, figure: int) -> int:
        """`figure`, or a tenth of it for a quick try."""
        return figure // 10 if self.is_quick else figure

    def database(self, kind: str) -> str:
        """The URL of a fresh, empty database with every table."""
        self._databases += 1
        name = f"bench_{self._databases}"
        if kind == "sqlite":
            url = f"sqlite:///{self.folder / name}.db"
        else:
            postgres.execute(self.postgres(), f'CREATE DATABASE "{name}"')
            url = postgres.database_url(self.postgres(), name)
        make_tables(url)
        return url

    def postgres(self) -> str:
        """A PostgreSQL of this benchmark's own, with every commit on disk."""
        if self._postgres is None:
            self._postgres = postgres.start(self.folder, os.getpid())
            for line in DURABLE.splitlines():
                name, _, value = line.partition(" = ")
                if name != "shared_buffers":
                    postgres.execute(self._postgres, f"ALTER SYSTEM SET {name} = '{value}'")
            postgres.execute(self._postgres, "SELECT pg_reload_conf()")
        return self._postgres

    def start(
        self, *command: str, env: Mapping[str, str], ready: str | Callable[[], object]
    ) -> subprocess.Popen[bytes]:
        """A process of ours that answers before this returns."""
        self._ours.append(self.processes.spawn(*command, env=env, ready=ready))
        return self._ours[-1]

    def stop_ours(self) -> None:
        """End what `start` started so far."""
        for process in self._ours:
            self.processes.stop(process)
        self._ours.clear()

    def close(self) -> None:
        """End everything."""
        self.processes.stop_all()
        if self._postgres is not None:
            postgres.stop(self.folder)


def make_tables(url: str) -> None:
    """Migrate the database at `url`."""
    from tests.conftest import migrate

    migrate(url)


def environment(url: str, port: int, **more: str) -> dict[str, str]:
    """The variables of a Taem process with this database on this port."""
    settings = factories.make_settings(url, port=port)
    return (
        factories.environment(settings)
        | {
            "PORT": str(port),
            "PUBLIC_URL": f"http://127.0.0.1:{port}",
            "LOG_LEVEL": "error",
        }
        | more
    )


def count(url: str, statement: str) -> int:
    """What one plain `SELECT count(*)` says."""
    database = Database(url)
    try:
        with database.read() as session:
            return int(session.connection().exec_driver_sql(statement).scalar_one())
    finally:
        database.dispose()


def median(values: Sequence[float]) -> float:
    """The middle value."""
    return statistics.median(values)


def percentile(values: Sequence[float], percent: float) -> float:
    """The value below which `percent` of them lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]
