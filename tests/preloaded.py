"""What a process of ours would import or work out once it runs; only the fork server imports it."""

from __future__ import annotations

import importlib

from sqlalchemy.orm import configure_mappers

for _name in (
    "app",
    "bot.gateway",
    "bot.tokens",
    "cli",
    "engagement.notices",
    "flask_bootstrap",
    "granian.server",
    "jinja2.ext",
    "linebot.v3.insight",
    "linebot.v3.messaging",
    "linebot.v3.oauth",
    "pydantic.v1",
    "scheduler.runner",
    "uvloop",
    "waitress.server",
    "web.admin",
    "web.api",
    "web.assets",
    "web.cashier",
    "web.demo",
    "web.health",
    "web.liff",
    "worker.desk",
    "worker.loops",
    "worker.sender",
    "worker.serve",
    "tests.factories",
    "tests.handlers.crashing",
    "tests.lives",
    "tests.loyalty.grinders",
    "tests.loyalty.players",
    "tests.loyalty.racers",
    "tests.scheduler.claimers",
    "tests.scheduler.short_leases",
    "tests.worker.nursery",
):
    importlib.import_module(_name)
configure_mappers()
