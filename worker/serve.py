"""Runs one role of the product until it is told to stop, and stops it without losing anything.

`all` is the embedded form: waitress, workers and clock in one process. `web` runs on granian,
which has a process of its own per worker: ours is forked from this one, so the application is
built once. SIGTERM and Ctrl-C end either politely: requests under way are answered, rows written.
"""

from __future__ import annotations

import logging
import multiprocessing
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from prometheus_client import start_http_server

from config import Settings
from core import logs, metrics
from core.ports import Closed, open_address
from core.runtime import Runtime
from migrations.newest import Standing, standing
from worker.wake import LocalWake, wake_for

if TYPE_CHECKING:
    from flask import Flask

BACKLOG = 1024
#: Connections waitress keeps open, most of them idle; only WEB_THREADS are served at once.
CONNECTIONS = 500
IDLE_SECONDS = 60
#: How long a port may be held by what it is started in place of: a killed process, or granian's
#: worker that has yet to notice it.
PORT_SECONDS = 3.0

BuildRuntime = Callable[[Settings, LocalWake], Runtime]
CreateApp = Callable[[Settings, Runtime], "Flask"]

log = logging.getLogger("taem")


class Clock(Protocol):
    """The scheduler, which is started beside us and not known here."""

    def start(self) -> None: ...
    def stop(self) -> None: ...


def run(
    role: str,
    settings: Settings,
    build_runtime: BuildRuntime,
    create_app: CreateApp,
    make_clock: Callable[[Runtime], Clock],
) -> int:
    """Run `all`, `web`, `worker` or `scheduler`; returns the exit code."""
    logs.set_up(settings.log_level)
    with ending_politely():
        return _run(role, settings, build_runtime, create_app, make_clock)
    return 0  # told to stop


def _run(
    role: str,
    settings: Settings,
    build_runtime: BuildRuntime,
    create_app: CreateApp,
    make_clock: Callable[[Runtime], Clock],
) -> int:
    has_pages = role in ("all", "web")
    port = settings.port if has_pages else settings.metrics_port
    if port and not _can_listen(settings.host, port, "PORT" if has_pages else "METRICS_PORT"):
        return 2
    wake = wake_for(settings)
    runtime = build_runtime(settings, wake)
    # One that cannot be asked, or was never migrated, is no reason to refuse: it may come.
    if standing(runtime.database) is Standing.NEWER:
        sys.stderr.write(
            "The database was migrated by a newer Taem. Start that version, or restore the backup"
            " made before it.\n"
        )
        return 2
    if role == "web":
        app = create_app(settings, runtime)
        # Connections opened before the fork are the parent's: forgotten here, not closed.
        disown = partial(runtime.database.engine.dispose, close=False)
        return serve_web(app, settings, on_fork=disown, on_stop=partial(close, app))
    if role == "all":
        return serve_all(settings, runtime, wake, create_app, make_clock)
    has_work = (
        working(settings, runtime, wake) if role == "worker" else ticking(make_clock(runtime))
    )
    with has_work:
        if settings.metrics_port:  # what these roles count is in no other process
            address = open_address(settings.host, settings.metrics_port)
            start_http_server(settings.metrics_port, address, metrics.registry)
        threading.Event().wait()  # until a signal raises
    return 0


def _can_listen(host: str, port: int, variable: str) -> bool:
    """Whether a server can listen there; if not, it is said why, and which variable to look at."""
    until = time.monotonic() + PORT_SECONDS
    while True:
        try:
            open_address(host, port)
        except Closed as closed:
            if closed.is_taken and time.monotonic() < until:
                time.sleep(0.05)
                continue
            name = variable if closed.variable == "PORT" else closed.variable
            question = " Is Taem running already?" if closed.is_taken else ""
            sys.stderr.write(f"taem: {name}: cannot listen there ({closed}).{question}\n")
            return False
        return True


def serve_web(
    app: Flask,
    settings: Settings,
    *,
    on_fork: Callable[[], object] = lambda: None,
    on_stop: Callable[[], object] = lambda: None,
) -> int:
    """Granian in front of the application. Behind nginx: a half-sent body would hold a thread.

    Both hooks run in the process that serves; its `atexit` never does.
    """
    from granian.constants import Interfaces
    from granian.log import LogLevels
    from granian.server import Server

    multiprocessing.set_start_method("fork", force=True)
    server = Server(
        "app",
        address=open_address(settings.host, settings.port),  # it takes figures only
        port=settings.port,
        interface=Interfaces.WSGI,
        blocking_threads=settings.web_threads,
        backlog=BACKLOG,
        log_level=LogLevels.warning,
        workers_kill_timeout=10,
    )
    serve_worker = Server._spawn_wsgi_worker  # noqa: SLF001  (the place for a stop hook)

    def serve_then_stop(*arguments: Any) -> None:
        on_fork()
        try:
            serve_worker(*arguments)
        finally:
            on_stop()

    try:
        server.serve(spawn_target=serve_then_stop, target_loader=lambda: app, wrap_loader=False)
    except SystemExit:  # granian's process has ended by itself, unless systemd told both to stop
        if not server.interrupt_signal:
            raise
    return 0


def serve_all(
    settings: Settings,
    runtime: Runtime,
    wake: LocalWake,
    create_app: CreateApp,
    make_clock: Callable[[Runtime], Clock],
) -> int:
    """Everything in one process: the web server has the main thread, the rest has its own."""
    from waitress.server import create_server

    app = create_app(settings, runtime)
    server = create_server(
        app,
        host=settings.host or "*",
        port=settings.port,
        threads=settings.web_threads,
        ident=None,
        connection_limit=CONNECTIONS,
        channel_timeout=IDLE_SECONDS,
        max_request_body_size=16 * 1024 * 1024,
        clear_untrusted_proxy_headers=False,
    )
    try:
        with working(settings, runtime, wake), ticking(make_clock(runtime)):
            server.run()
    finally:
        server.close()
        close(app)
    return 0


def close(app: Flask) -> None:
    """The stop hook: everything intake took in is written, connections end."""
    app.extensions["taem_intake"].close()
    app.extensions["taem"].database.dispose()


@contextmanager
def working(settings: Settings, runtime: Runtime, wake: LocalWake) -> Iterator[None]:
    """The worker's loops, its sender, and its ear at the broker."""
    from bot.gateway import SdkLine
    from bot.tokens import TokenSource
    from worker.loops import Workers
    from worker.sender import Sender

    tokens = TokenSource(settings)
    line = SdkLine(settings, tokens)
    sender = Sender(runtime, tokens=tokens, line=line)
    wake.on_calls(sender.wake)
    workers = Workers(runtime, wake, line, sender)
    listener = None
    if settings.broker_url:
        from worker.actors import Listener

        listener = Listener(settings.broker_url, wake.look_at_events, sender.wake)
    workers.start()
    if listener:
        listener.start()
    try:
        yield
    finally:
        if listener:
            listener.stop()
        workers.stop()
        wake.close()


@contextmanager
def ticking(clock: Clock) -> Iterator[None]:
    """The scheduler's tick."""
    clock.start()
    try:
        yield
    finally:
        clock.stop()


@contextmanager
def ending_politely() -> Iterator[None]:
    """SIGTERM ends like Ctrl-C does; without this waitress drops the requests under way."""
    previous = signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(0))
    try:
        yield
    except (SystemExit, KeyboardInterrupt) as told:
        if isinstance(told, SystemExit) and told.code:
            raise  # nobody asked: a setting that is no good, or granian whose process died
        log.info("stopping")
    finally:
        signal.signal(signal.SIGTERM, previous)
