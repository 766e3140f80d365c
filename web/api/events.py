"""What happened, for other systems: read on from a position, none is passed over."""

from __future__ import annotations

from typing import Any

from flask import Response, jsonify, request

from core.errors import Invalid
from core.text import parse_whole
from loyalty import feed
from web.api.ground import blueprint
from web.auth import api_scope
from web.ground import db

LIMIT, MAX_LIMIT = 100, 500
MAX_POSITION = 10**15 - 1  # what `parse_whole` reads


@blueprint.get("/events")
@api_scope("events.read")
def events() -> Response:
    """Events behind `after`, in order; go on from `next`."""
    position = _whole("after", 0, 0, MAX_POSITION)
    limit = _whole("limit", LIMIT, 1, MAX_LIMIT)
    found = feed.after(db(), position, limit + 1)
    page = found[:limit]
    answer: dict[str, Any] = {
        "events": [feed.as_json(event) for event in page],
        "next": page[-1].position if page else position,
        "has_more": len(found) > limit,
    }
    return jsonify(answer)


def _whole(name: str, default: int, least: int, most: int) -> int:
    text = request.args.get(name)
    if text is None:
        return default
    value = parse_whole(text)
    if value is None or not least <= value <= most:
        raise Invalid("errors.invalid_field", field=name, status=400)
    return value
