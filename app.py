"""Builds and wires everything; holds no logic. `python app.py [all|web|worker|scheduler]`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import core.logs  # noqa: F401  (the first to load structlog: it keeps the colours out)
from config import Settings, load_settings
from core.clock import SystemClock
from core.crypto import Vault
from core.db import Database
from core.runtime import NoWake, Runtime, Wake

if TYPE_CHECKING:
    from flask import Flask

    from scheduler.runner import Scheduler

ROLES = ("all", "web", "worker", "scheduler")


def build_runtime(settings: Settings, wake: Wake | None = None) -> Runtime:
    """The runtime of one process: database, clock, keys, and every reaction."""
    from engagement import journey_engine, merges, notices
    from loyalty import draws, feed, lifecycle, referrals, shop, tier_gifts
    from rich_menus import assign

    # The demo's data is made up, and a year of it is played in two minutes.
    try:
        database = Database(settings.database_url, survives_power_cut=not settings.demo)
    except OSError as error:  # the folder of an SQLite file; whose name is part of the value
        print(f"taem: DATABASE_URL: {error.strerror}", file=sys.stderr)
        raise SystemExit(2) from None
    read_offset = (lambda: shop.clock_offset(database)) if settings.demo else None
    return Runtime(
        settings=settings,
        database=database,
        clock=SystemClock(settings.tz, read_offset),
        vault=Vault(settings.data_key, settings.index_key),
        wake=wake or NoWake(),
        reactions=(
            lifecycle.react,
            tier_gifts.react,
            referrals.react,
            draws.react,
            merges.react,
            journey_engine.react,
            notices.react,
            assign.react,
            feed.react,
        ),
    )


def create_app(settings: Settings | None = None, runtime: Runtime | None = None) -> Flask:
    """The Flask application with its intake in front. Raises nothing at a missing database."""
    import cli
    import web
    from bot.webhook import Intake, IntakeMiddleware
    from worker.wake import wake_for

    settings = settings or (runtime.settings if runtime else load_settings())
    runtime = runtime or build_runtime(settings, wake_for(settings))
    app = web.create(runtime)
    intake = Intake(
        settings.database_url, settings.line_channel_secret, on_stored=runtime.wake.events
    )
    app.extensions["taem_intake"] = intake
    app.wsgi_app = IntakeMiddleware(app.wsgi_app, intake)  # type: ignore[method-assign]
    if settings.demo:
        from scheduler import demo_clock

        app.extensions["taem_advance"] = demo_clock.advance
    cli.register(app)
    return app


def make_clock(runtime: Runtime) -> Scheduler:
    """The tick of the roles that have one."""
    from scheduler.runner import Scheduler

    return Scheduler(runtime)


def main(arguments: list[str]) -> int:
    """Run one role until SIGTERM or Ctrl-C."""
    role = arguments[0] if arguments else "all"
    if role not in ROLES or len(arguments) > 1:
        print(f"usage: python app.py [{'|'.join(ROLES)}]", file=sys.stderr)
        return 2
    settings = load_settings()
    from worker import serve

    return serve.run(role, settings, build_runtime, create_app, make_clock)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
