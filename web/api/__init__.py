"""The till API: `/api/v1`, JSON, bearer keys with scopes, problem documents, OpenAPI 3.1."""

from __future__ import annotations

from flask import Flask

from web.api import events, members, purchases, schema, vouchers
from web.api.ground import blueprint
from web.limits import API, bearer, limiter

__all__ = ["events", "members", "purchases", "register", "vouchers"]


def register(app: Flask) -> None:
    """Offer every call of the API and its document."""
    from web import csrf

    limiter.limit(API, key_func=bearer)(blueprint)
    app.register_blueprint(blueprint)
    app.register_blueprint(schema.blueprint)
    csrf.exempt(blueprint)
