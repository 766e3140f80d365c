"""The demo's clock control: exists only in `DEMO`, which only runs on loopback."""

from __future__ import annotations

from flask import Blueprint, Flask, Response, abort, current_app, jsonify, request

from core.errors import Invalid
from web.auth import public
from web.ground import runtime

blueprint = Blueprint("demo", __name__)


def register(app: Flask) -> None:
    """Offer the route in `DEMO` alone."""
    if app.extensions["taem"].settings.demo:
        app.extensions["taem_open"].add("demo.clock")  # it keeps transactions of its own
        app.register_blueprint(blueprint)
        from web import csrf

        csrf.exempt(blueprint)


@blueprint.post("/demo/clock")
@public
def clock() -> Response:
    """Move the demo shop's time: {"advance": seconds}. Answers when what was due is done."""
    if not runtime().settings.demo:
        abort(404)
    body = request.get_json(silent=True)
    seconds = body.get("advance") if isinstance(body, dict) else None
    if type(seconds) is not int:
        raise Invalid(field="advance")
    moved = current_app.extensions["taem_advance"](runtime(), seconds)
    return jsonify(now=moved.now.isoformat(), stops=moved.stops)
