"""What every test can ask for: both engines, a fixed clock, real processes, servers, a browser.

`database` is a fresh migrated database of its own, for tests that commit or use several
connections. `session` is one transaction on a shared one, rolled back: quicker, for rules.
Tests that use `engine_kind` (both of those do) run once on SQLite and once on PostgreSQL.
"""

from __future__ import annotations

import dataclasses
import fcntl
import gc
import importlib
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from sqlalchemy.orm import Session

import core.logs  # noqa: F401  (the first to load structlog: it keeps the colours out)
from config import Settings
from core.clock import FixedClock
from core.crypto import Vault
from core.db import Database
from core.runtime import Runtime
from tests import factories, plans, postgres, servers
from tests.moments import BANGKOK, NOW
from tests.processes import Processes

SOAK = os.environ.get("TAEM_SOAK") == "1"
FOLDER = pytest.StashKey[Path]()
#: Bytes that a run may leave lying about until it ends.
ROOM = 6 << 30

# No setting of the developer's own shell reaches a test.
for _name in Settings.model_fields:
    os.environ.pop(_name.upper(), None)

hypothesis.settings.register_profile(
    "taem", deadline=None, max_examples=1000 if SOAK else 50, print_blob=True
)
hypothesis.settings.load_profile("taem")


@pytest.fixture(autouse=True)
def _nobody_waits_for_a_walk() -> Iterator[None]:
    """Fail a test in which somebody waits while a whole table is read (`tests/plans.py`)."""
    plans.found.clear()
    yield
    assert plans.found == []


# One folder for the whole run, shared by the workers, made and removed by the first process.


def pytest_configure(config: pytest.Config) -> None:
    gc.disable()  # until everything is read, all of which stays
    plans.watch()
    if hasattr(config, "workerinput"):
        config.stash[FOLDER] = Path(config.workerinput["taem_folder"])
    else:
        folder = Path(tempfile.mkdtemp(prefix="taem-tests-", dir=_quick_place()))
        config.stash[FOLDER] = folder
        (folder / "owner").write_text(str(os.getpid()))
        if config.option.basetemp is None:  # workers are given a folder below it
            config.option.basetemp = str(folder / "tmp")


def _quick_place() -> str | None:
    """Memory that looks like a disk, where there is enough: a commit waits for no platter there.

    What tests prove by killing processes holds on it too: only a lost machine would forget.
    """
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK) or shutil.disk_usage(memory).free < ROOM:
        return None
    return str(memory)


def pytest_collectstart(collector: pytest.Collector) -> None:
    """Let each worker read a share of all tests first; the others find it rewritten and compiled.

    Every worker needs every test. On a fresh clone each would do all of that work.
    """
    worker = getattr(collector.config, "workerinput", {})
    if not worker.get("taem_whole") or collector.path != Path(__file__).parent:
        return
    files = sorted(collector.path.rglob("test_*.py"))
    number = int(worker["workerid"].removeprefix("gw"))
    for file in files[number :: worker["workercount"]]:
        name = ".".join(file.relative_to(collector.config.rootpath).with_suffix("").parts)
        with suppress(Exception, pytest.skip.Exception):  # collecting it says what is wrong
            importlib.import_module(name)


def pytest_collection_finish() -> None:
    # Modules and tests stay for the whole run: looking through them for garbage again and again
    # would be a tenth of its time.
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)
    gc.enable()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    node.workerinput["taem_folder"] = str(node.config.stash[FOLDER])
    node.workerinput["taem_whole"] = not node.config.option.file_or_dir


def pytest_unconfigure(config: pytest.Config) -> None:
    folder = config.stash.get(FOLDER, None)
    if folder is None or hasattr(config, "workerinput"):
        return
    if (folder / "postgres").exists():
        postgres.stop(folder)
    elif (folder / "postgres.url").exists():
        _drop_our_databases((folder / "postgres.url").read_text(), _run_name(folder))
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def run_folder(pytestconfig: pytest.Config) -> Path:
    """A folder of this run, the same one in every worker."""
    return pytestconfig.stash[FOLDER]


# Time and scale


@pytest.fixture
def now() -> datetime:
    return NOW


@pytest.fixture
def clock() -> FixedClock:
    """Stands still at `now` until the test moves it."""
    return FixedClock(NOW, BANGKOK)


@pytest.fixture(scope="session")
def scale() -> Callable[[int], int]:
    """`scale(10_000)` is 10,000 under `make soak` and 1 % of it otherwise, at least 1."""
    return lambda figure: figure if SOAK else max(1, figure // 100)


# Databases


@pytest.fixture(params=["sqlite", "postgresql"])
def engine_kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def sqlite_template(run_folder: Path) -> Path:
    """A migrated SQLite file, made once in a run and copied for each test."""
    template = run_folder / "template.db"
    with _locked(run_folder):
        if not template.exists():
            making = run_folder / "making.db"
            migrate(f"sqlite:///{making}")
            with closing(sqlite3.connect(making)) as connection:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            making.rename(template)
    return template


@pytest.fixture(scope="session")
def postgres_url(run_folder: Path) -> str:
    """The PostgreSQL server of this run, its template database migrated."""
    noted = run_folder / "postgres.url"
    with _locked(run_folder):
        if not noted.exists():
            server = os.environ.get("TEST_POSTGRES_URL") or postgres.start(
                run_folder, owner_pid=int((run_folder / "owner").read_text())
            )
            template = f"{_run_name(run_folder)}_template"
            postgres.execute(server, f'CREATE DATABASE "{template}"')
            migrate(postgres.database_url(server, template))
            noted.write_text(server)
    return noted.read_text()


@pytest.fixture(scope="session")
def new_database(
    request: pytest.FixtureRequest, run_folder: Path, worker_name: str
) -> Callable[..., str]:
    """`new_database(kind)` makes a fresh migrated database and returns its URL.

    An SQLite one may be given a URL whose file is gone.
    """
    made = 0

    def make(kind: str, url: str | None = None) -> str:
        nonlocal made
        if url is not None:
            template = request.getfixturevalue("sqlite_template")
            shutil.copyfile(template, url.removeprefix("sqlite:///"))
            return url
        made += 1
        name = f"{_run_name(run_folder)}_{worker_name}_{made}"
        if kind == "sqlite":
            template = request.getfixturevalue("sqlite_template")
            shutil.copyfile(template, run_folder / f"{name}.db")
            return f"sqlite:///{run_folder / name}.db"
        server = request.getfixturevalue("postgres_url")
        template = f"{_run_name(run_folder)}_template"
        with _locked(run_folder):  # a template must have no other reader
            postgres.execute(server, f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return postgres.database_url(server, name)

    return make


@pytest.fixture(scope="session")
def drop_database(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Removes what `new_database` made, even while somebody is still connected."""

    def drop(url: str) -> None:
        if url.startswith("sqlite"):
            for ending in ("", "-wal", "-shm", "-turn"):
                Path(url.removeprefix("sqlite:///") + ending).unlink(missing_ok=True)
        else:
            postgres.drop(request.getfixturevalue("postgres_url"), url)

    return drop


@pytest.fixture(scope="session")
def postgres_pool(postgres_url: str, new_database: Callable[..., str]) -> Iterator[postgres.Pool]:
    """Clean PostgreSQL databases of this worker."""
    pool = postgres.Pool(postgres_url, lambda: new_database("postgresql"))
    yield pool
    pool.close()


class Shelf:
    """Closed databases of this worker, to be opened again under the same address.

    SQLAlchemy compiles a statement once for each engine, which is most of what a small test would
    spend on it. PostgreSQL, too, would spend most of its time on a new session, which has to read
    every table's description first: the one session that a test leaves behind is kept.
    """

    def __init__(self) -> None:
        self.closed: dict[str, Database] = {}
        #: The process of the kept session, by address.
        self.kept: dict[str, int] = {}
        #: Addresses of SQLite files that are gone and may be used again.
        self.free: list[str] = []

    def open(self, url: str) -> Database:
        return self.closed.pop(url, None) or Database(url)

    def close(self, database: Database) -> None:
        pool: Any = database.engine.pool
        is_idle = pool.checkedout() == 0
        self.kept.pop(database.url, None)
        if is_idle and pool.checkedin() == 1 and not database.is_sqlite:
            with database.engine.connect() as connection:
                raw: Any = connection.connection.dbapi_connection
                self.kept[database.url] = raw.info.backend_pid
        else:
            database.dispose()
        database.session_info = {}
        if is_idle:
            self.closed[database.url] = database

    def forget(self, url: str) -> None:
        """Let go of an address that will not come back."""
        self.kept.pop(url, None)
        if database := self.closed.pop(url, None):
            database.dispose()


@pytest.fixture(scope="session")
def shelf() -> Iterator[Shelf]:
    shelf = Shelf()
    yield shelf
    for url in list(shelf.closed):
        shelf.forget(url)


@pytest.fixture
def database_url(
    engine_kind: str,
    new_database: Callable[..., str],
    drop_database: Callable[[str], None],
    shelf: Shelf,
    request: pytest.FixtureRequest,
) -> Iterator[str]:
    """A fresh migrated database of this test alone."""
    if engine_kind == "sqlite":
        # A process that outlived its test must not find the next one's file.
        is_alone = "processes" not in request.fixturenames
        url = new_database("sqlite", shelf.free.pop() if shelf.free and is_alone else None)
        yield url
        drop_database(url)
        if is_alone and url in shelf.closed:
            shelf.free.append(url)
        else:
            shelf.closed.pop(url, None)
        return
    pool: postgres.Pool = request.getfixturevalue("postgres_pool")
    url = pool.take()
    yield url
    if not pool.give_back(url, shelf.kept.get(url)):
        shelf.forget(url)


@pytest.fixture
def database(database_url: str, shelf: Shelf) -> Iterator[Database]:
    """The fresh database, opened."""
    database = shelf.open(database_url)
    yield database
    shelf.close(database)


@pytest.fixture(scope="session")
def shared_databases(new_database: Callable[..., str]) -> Iterator[Callable[[str], Database]]:
    """One database per engine for all tests of this worker that leave nothing behind."""
    opened: dict[str, Database] = {}

    def get(kind: str) -> Database:
        if kind not in opened:
            opened[kind] = Database(new_database(kind))
        return opened[kind]

    yield get
    for database in opened.values():
        database.dispose()


@pytest.fixture
def session(engine_kind: str, shared_databases: Callable[[str], Database]) -> Iterator[Session]:
    """A session whose work is rolled back at the end, even what the test commits."""
    with shared_databases(engine_kind).engine.connect() as connection:
        transaction = connection.begin()
        session = Session(
            connection, join_transaction_mode="create_savepoint", expire_on_commit=False
        )
        yield session
        session.close()
        transaction.rollback()


# What the layers are built of


@pytest.fixture
def settings(database_url: str) -> Settings:
    """Settings of the fresh database; `factories.make_settings(url, **more)` for others."""
    return _checked_settings().model_copy(update={"database_url": database_url})


@cache
def _checked_settings() -> Settings:
    """What all tests' settings have alike; reading it anew would cost more than many a test."""
    return factories.make_settings("sqlite:///never-opened.db")


@pytest.fixture(scope="session")
def vault() -> Vault:
    return Vault((factories.DATA_KEY,), (factories.INDEX_KEY,))


@pytest.fixture
def runtime(settings: Settings, database: Database, clock: FixedClock) -> Runtime:
    """Everything wired as in production, on the fresh database, with the fixed clock."""
    return dataclasses.replace(_wired(), settings=settings, database=database, clock=clock)


@cache
def _wired() -> Runtime:
    """A runtime as `app.py` builds it, for what does not depend on the database: keys, reactions."""
    from app import build_runtime

    built = build_runtime(_checked_settings())
    built.database.dispose()
    return built


@pytest.fixture(scope="session")
def templates(run_folder: Path) -> Any:
    """Compiled templates, shared by all applications of all workers."""
    from jinja2 import FileSystemBytecodeCache

    folder = run_folder / "templates"
    folder.mkdir(exist_ok=True)
    return FileSystemBytecodeCache(str(folder))


@pytest.fixture
def app(runtime: Runtime, templates: Any) -> Iterator[Any]:
    """The Flask application of `runtime`, with its intake in front."""
    from app import create_app

    app = create_app(runtime=runtime)
    app.testing = True
    app.jinja_env.bytecode_cache = templates
    yield app
    app.extensions["taem_intake"].close()


@pytest.fixture
def client(app: Any) -> Any:
    """A browser without a page: `client.get("/healthz")`."""
    return app.test_client()


@pytest.fixture(scope="session")
def worker_name() -> str:
    """`gw0`, `gw1`, … under xdist."""
    return os.environ.get("PYTEST_XDIST_WORKER", "main")


def migrate(url: str, revision: str = "head") -> None:
    """Bring the database at `url` to `revision`."""
    from alembic import command

    command.upgrade(alembic_config(url), revision)


def alembic_config(url: str) -> Any:
    """Alembic's configuration for the database at `url`."""
    from migrations.run import configuration

    return configuration(url)


def _run_name(folder: Path) -> str:
    return folder.name.replace("-", "_")


def _drop_our_databases(server: str, run_name: str) -> None:
    import psycopg

    with psycopg.connect(postgres.plain_url(server), autocommit=True) as connection:
        rows = connection.execute("SELECT datname FROM pg_database").fetchall()
    ours = [name for (name,) in rows if name.startswith(run_name)]
    postgres.execute(server, *(f'DROP DATABASE "{name}" WITH (FORCE)' for name in ours))


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One worker at a time."""
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


# Processes, servers, browser


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    """Starts real processes; all of them are ended after the test."""
    processes = Processes(tmp_path)
    yield processes
    processes.stop_all()


@pytest.fixture
def spawn(processes: Processes) -> Callable[..., Any]:
    """`spawn("python", "app.py", "web", env={…}, ready="http://…")`."""
    return processes.spawn


@pytest.fixture
def redis_server(processes: Processes) -> str:
    """The URL of a Redis of this test's own."""
    return servers.start_redis(processes)


@pytest.fixture
def nginx_server(processes: Processes) -> Callable[..., servers.Nginx]:
    """`nginx_server(port)` puts nginx with deploy/nginx.conf in front of that port."""

    def start(upstream_port: int, *, buffering: bool = True) -> servers.Nginx:
        real_now = datetime.now(UTC)  # certificates are judged by the machine's own clock
        return servers.start_nginx(processes, upstream_port, real_now, buffering=buffering)

    return start


# pytest-playwright's own `browser` lives as long as the run and leaves an event loop running in
# this thread, in which no other test could use asyncio. Ours ends with its module.


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium (Playwright, synchronous)."""
    program = servers.find_program(servers.BROWSERS, "TAEM_REQUIRE_BROWSER")
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=15_000)  # ms; its own five seconds are few on a busy machine
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program, args=list(servers.CHROMIUM_FLAGS)
        )
        yield browser
        browser.close()


@pytest.fixture
def new_page(browser: Any) -> Iterator[Callable[..., Any]]:
    """`new_page()` is a page with cookies of its own, as on another telephone."""
    contexts = []

    def open_page(**options: Any) -> Any:
        defaults = {"locale": "th-TH", "timezone_id": "Asia/Bangkok"}
        context = browser.new_context(**(defaults | options))
        contexts.append(context)
        return context.new_page()

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture
def page(new_page: Callable[..., Any]) -> Any:
    """One page, telephone-sized."""
    return new_page(viewport={"width": 412, "height": 860})
