"""The OpenAPI 3.1 document, made from the same models and routes that serve the calls."""

from __future__ import annotations

from functools import cache
from typing import Any

from flask import Blueprint, Response, current_app, jsonify
from pydantic import BaseModel

from loyalty.feed import PUBLIC_KINDS
from loyalty.people import API_SCOPES
from web.api.events import MAX_POSITION
from web.api.members import WalkIn
from web.api.purchases import NewPurchase, Reversal
from web.api.vouchers import NewRedemption, Quote
from web.auth import access_of, public

blueprint = Blueprint("api_document", __name__)

#: endpoint -> (request body, query parameters, status of success, schema of the answer)
_MONEY = {"type": "string", "pattern": r"^-?[0-9]+\.[0-9]{2}$", "examples": ["250.00"]}
_INT: dict[str, Any] = {"type": "integer"}
_STR: dict[str, Any] = {"type": "string"}
_MAYBE_MONEY = {"anyOf": [_MONEY, {"type": "null"}]}


def _object(**fields: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": fields, "required": list(fields)}


_MEMBER = _object(
    member_no=_STR,
    name=_STR,
    locale={"enum": ["th", "en"]},
    joined_at={"type": ["string", "null"], "format": "date-time"},
    tier={"anyOf": [_object(key=_STR, percent_off=_INT), {"type": "null"}]},
    points=_object(balance=_INT, available=_INT, pending=_INT, debt=_INT),
    stamps={"type": "array", "items": _object(program=_STR, filled=_INT, size=_INT)},
    vouchers=_INT,
)
_REDEMPTION = _object(
    id=_STR, voucher_id=_STR, name=_STR, amount=_MONEY, discount=_MONEY, left=_MAYBE_MONEY
)
_PURCHASE = {
    "type": "object",
    "properties": {
        "id": _STR,
        "member_no": _STR,
        "amount": _MONEY,
        "points": _INT,
        "carry_satang": _INT,
        "balance": _INT,
        "available": _INT,
        "stamps": _INT,
        "vouchers_issued": {"type": "array", "items": _object(id=_STR, name=_STR)},
        "redemptions": {"type": "array", "items": _REDEMPTION},
        "is_first": {"type": "boolean"},
    },
    "required": ["member_no", "amount", "redemptions"],
}
_RETURN = _object(
    id=_STR,
    purchase_id=_STR,
    amount=_MONEY,
    is_void={"type": "boolean"},
    points=_INT,
    debt=_INT,
    balance=_INT,
    available=_INT,
    stamps=_INT,
    vouchers_voided={"type": "array", "items": _STR},
)
_QUOTE = _object(
    hold_id=_STR,
    hold_expires_at={"type": "string", "format": "date-time"},
    member_no=_STR,
    voucher_id=_STR,
    name=_STR,
    name_en=_STR,
    kind=_STR,
    item={"type": ["string", "null"]},
    discount=_MONEY,
    left=_MAYBE_MONEY,
)
_UNDONE = _object(
    redemption_id=_STR,
    voucher_id=_STR,
    voucher_state=_STR,
    is_voucher_back={"type": "boolean"},
    points=_INT,
)
_EVENT = _object(
    id=_STR,
    position=_INT,
    kind={"type": "string", "enum": list(PUBLIC_KINDS)},
    at={"type": "string", "format": "date-time"},
    data={"type": "object", "description": "Numbers, amounts and ids; never names or phones."},
)
_EVENTS = _object(
    events={"type": "array", "items": _EVENT}, next=_INT, has_more={"type": "boolean"}
)
_PROBLEM = {
    "type": "object",
    "description": "RFC 9457. `code` is stable; `title` is a sentence in the asked language.",
    "properties": {"type": _STR, "title": _STR, "status": _INT, "code": _STR},
    "required": ["type", "title", "status", "code"],
}
_QUERIES: dict[str, dict[str, Any]] = {
    "after": {"type": "integer", "minimum": 0, "maximum": MAX_POSITION, "default": 0},
    "limit": {"type": "integer", "minimum": 1, "maximum": 500, "default": 100},
}
_RETRY = {"Retry-After": {"description": "Seconds to wait.", "schema": _INT}}
_REPLAYED = {
    "Idempotency-Replayed": {
        "description": "`true` when this is the stored answer of an earlier request.",
        "schema": {"type": "string", "const": "true"},
    }
}
_CALLS: dict[str, tuple[type[BaseModel] | None, tuple[str, ...], int, dict[str, Any]]] = {
    "api.events": (None, ("after", "limit"), 200, _EVENTS),
    "api.by_number": (None, (), 200, _MEMBER),
    "api.look_up": (None, ("phone", "code"), 200, _MEMBER),
    "api.create": (WalkIn, (), 201, _MEMBER),
    "api.record": (NewPurchase, (), 201, _PURCHASE),
    "api.reverse": (Reversal, (), 201, _RETURN),
    "api.quote": (Quote, (), 201, _QUOTE),
    "api.release": (None, (), 200, _object(hold_id=_STR, released={"type": "boolean"})),
    "api.redeem": (NewRedemption, (), 201, _REDEMPTION),
    "api.reverse_redemption": (None, (), 201, _UNDONE),
}
_REFUSALS = {
    400: "Unreadable, or a write without Idempotency-Key.",
    401: "No key, an unknown one, or a revoked one.",
    403: "The key lacks the scope, or a rule forbids it to this caller.",
    404: "Nobody and nothing by this name.",
    409: "A rule says no; or the same operation is still under way (Retry-After).",
    413: "The body is too large.",
    422: "A field is wrong; or the Idempotency-Key came with another body.",
    429: "Too often.",
    503: "Try again with the same Idempotency-Key; nothing was done.",
}


@blueprint.get("/api/openapi.json")
@public
def document() -> Response:
    """The whole document."""
    return jsonify(openapi())


@cache
def openapi() -> dict[str, Any]:
    """Every call with its body, answers and scope."""
    schemas: dict[str, Any] = {"Problem": _PROBLEM}
    paths: dict[str, dict[str, Any]] = {}
    for rule in current_app.url_map.iter_rules():
        if rule.endpoint not in _CALLS:
            continue
        path = rule.rule.replace("<string:", "{").replace(">", "}")
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            paths.setdefault(path, {})[method.lower()] = _operation(
                rule.endpoint, method, sorted(rule.arguments), schemas
            )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Taem till API",
            "version": "1",
            "description": "Points, stamps and coupons at the till. Amounts are baht as text.",
        },
        "security": [{"bearer": []}],
        "paths": dict(sorted(paths.items())),
        "components": {
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": f"An API key. Scopes: {', '.join(API_SCOPES)}.",
                }
            },
            "schemas": schemas,
        },
    }


def _operation(
    endpoint: str, method: str, arguments: list[str], schemas: dict[str, Any]
) -> dict[str, Any]:
    model, queries, status, answer = _CALLS[endpoint]
    view = current_app.view_functions[endpoint]
    access = access_of(current_app, endpoint)
    assert access is not None
    parameters: list[dict[str, Any]] = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "string", "minLength": 1, "maxLength": 64},
        }
        for name in arguments
    ]
    parameters += [
        {
            "name": name,
            "in": "query",
            "required": False,
            "schema": _QUERIES.get(name, {"type": "string", "maxLength": 500}),
        }
        for name in queries
    ]
    if method != "GET":
        parameters.append(
            {
                "name": "Idempotency-Key",
                "in": "header",
                "required": True,
                "description": "Made by the caller; the same key and body get the first answer.",
                "schema": {
                    "type": "string",
                    "minLength": 1,
                    "maxLength": 200,
                    "pattern": "^[\\x20-\\x7e]+$",
                },
            }
        )
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    operation: dict[str, Any] = {
        "operationId": endpoint.removeprefix("api."),
        "summary": (view.__doc__ or "").strip().partition("\n")[0],
        "description": f"Scope: `{access.permission}`.",
        "parameters": parameters,
        "responses": {
            str(status): {
                "description": "Done.",
                "content": {"application/json": {"schema": answer}},
                **({"headers": _REPLAYED} if method != "GET" else {}),
            },
            **{
                str(code): {
                    "description": words,
                    "content": problem,
                    **({"headers": _RETRY} if code in (409, 429, 503) else {}),
                }
                for code, words in _REFUSALS.items()
            },
        },
    }
    if model is not None:
        made = model.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas.update(made.pop("$defs", {}))
        schemas[model.__name__] = made
        operation["requestBody"] = {
            "required": True,
            "content": {
                "application/json": {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}}
            },
        }
    return operation
