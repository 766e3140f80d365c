"""Every HTTP request but LINE's webhook: pages for members, cashiers and staff, and the till API.

Each audience is a package; its blueprint is registered here, one line each.
"""

from __future__ import annotations

from flask import Flask
from flask_wtf.csrf import CSRFProtect

from core.i18n import LOCALES, day, moment, money, t
from core.runtime import Runtime
from web import assets, errors, ground, limits, security
from web.auth import check_declared

csrf = CSRFProtect()


def create(runtime: Runtime) -> Flask:
    """The Flask application of this runtime, without intake and commands."""
    from flask_bootstrap import Bootstrap5

    from web import admin, api, cashier, demo, health, liff

    app = ground.TaemFlask("web", static_folder="static", template_folder="templates")
    app.extensions["taem"] = runtime
    app.extensions["taem_open"] = {"static", "bootstrap.static"}
    app.config.update(
        SECRET_KEY=runtime.settings.secret_key,
        BOOTSTRAP_SERVE_LOCAL=True,
        WTF_CSRF_TIME_LIMIT=None,  # the token dies with its session
        # The form's token and Lax cookies keep other sites out. A Referer as well would lock people
        # out: chat links answer `no-referrer`, and browsers may be told to send none at all.
        WTF_CSRF_SSL_STRICT=False,
    )
    app.json.ensure_ascii = False  # type: ignore[attr-defined]
    Bootstrap5(app)
    csrf.init_app(app)
    security.secure(app, runtime.settings)
    limits.limit(app, runtime.settings)
    errors.register(app)
    app.jinja_env.globals.update(
        t=t, locales=LOCALES, tz=runtime.settings.tz, lang=ground.locale, shop_look=ground.shop_look
    )
    app.jinja_env.filters.update(money=_money, day=_day, moment=_moment)
    for audience in (assets, health, liff, cashier, api, admin, demo):
        audience.register(app)
    check_declared(app)
    return app


def _money(satang: int) -> str:
    return money(ground.locale(), satang)


def _day(value: object) -> str:
    return day(ground.locale(), value) if value else ""  # type: ignore[arg-type]


def _moment(value: object) -> str:
    return moment(ground.locale(), value, ground.runtime().clock.tz) if value else ""  # type: ignore[arg-type]
