"""What every call of the API shares: keys and scopes, bodies, and the idempotency key."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from datetime import timedelta
from functools import wraps
from typing import Annotated, Any, TypeVar

import structlog
from flask import Blueprint, Response, after_this_request, g, jsonify, request
from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints, ValidationError
from sqlalchemy import select, update
from sqlalchemy.exc import SQLAlchemyError

from core.errors import Invalid, Refused
from core.ids import token_hash
from core.text import parse_satang
from loyalty import audit, operations
from models.staff import ApiKey
from web.auth import Access, Forbidden, SignInNeeded, resolver
from web.errors import problem_of
from web.ground import SAFE_METHODS, db, runtime
from web.limits import note_good_key

log = structlog.get_logger("api")
blueprint = Blueprint("api", __name__, url_prefix="/api/v1")
MAX_KEY = 200
BEARER = "bearer"
NOTE_USE_EVERY = timedelta(minutes=5)


class Body(BaseModel):
    """A request body: unknown fields are refused, nothing is coerced."""

    model_config = ConfigDict(extra="forbid", strict=True)


def _as_satang(text: str) -> str:
    if parse_satang(text) is None or "," in text:
        raise ValueError("an amount such as 250.00")
    return text


Amount = Annotated[
    str,
    StringConstraints(pattern=r"^[0-9]{1,9}(\.[0-9]{1,2})?$"),
    AfterValidator(_as_satang),
]
Short = Annotated[str, StringConstraints(min_length=1, max_length=64)]
Code = Annotated[str, StringConstraints(min_length=1, max_length=500)]
Model = TypeVar("Model", bound=Body)


def satang(amount: str) -> int:
    """An `Amount` in satang."""
    value = parse_satang(amount)
    assert value is not None
    return value


def baht(value: int) -> str:
    """Satang as the API writes money: `250.00`."""
    sign = "-" if value < 0 else ""
    return f"{sign}{abs(value) // 100}.{abs(value) % 100:02d}"


def holder() -> str:
    """Who holds a code that this key has scanned."""
    return f"api:{g.api_key.id}"


@resolver("api")
def _admit(access: Access) -> None:
    """Bearer key -> `g.api_key`; unknown and revoked look alike."""
    g.locale = request.accept_languages.best_match(["th", "en"]) or None
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != BEARER:  # in any letters (RFC 9110 section 11.1)
        raise SignInNeeded
    hashed = token_hash(given.strip())
    key = db().scalar(select(ApiKey).where(ApiKey.key_hash == hashed))
    if key is None or key.revoked_at is not None or not hmac.compare_digest(key.key_hash, hashed):
        raise SignInNeeded
    if access.permission and access.permission not in key.scopes:
        raise Forbidden
    g.api_key = key
    note_good_key()
    _note_use(key)


def _note_use(key: ApiKey) -> None:
    """Remember the last use, now and then. Looking commits nothing, so its use is written once the
    answer is made; a database that cannot take it costs the answer nothing."""
    real = runtime().clock.real_now()
    if key.last_used_at is not None and real - key.last_used_at < NOTE_USE_EVERY:
        return
    used = update(ApiKey).where(ApiKey.id == key.id).values(last_used_at=real)
    if request.method not in SAFE_METHODS:
        db().execute(used)
        return

    @after_this_request
    def write(response: Response) -> Response:
        if request.method == "HEAD":
            return response
        try:
            with runtime().database.write() as session:
                session.execute(used)
        except SQLAlchemyError as error:
            log.warning("use_not_kept", error=type(error).__name__)
        return response


def body_of(model: type[Model]) -> Model:
    """The request's JSON as `model`; Invalid names the first field that is wrong."""
    given = request.get_json(silent=True)
    if not isinstance(given, dict):
        raise Invalid("errors.invalid_field", field="body", status=400)
    try:
        return model.model_validate_json(request.get_data())
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "body"
        raise Invalid("errors.invalid_field", field=where, status=422) from None


def has_body() -> bool:
    """Whether there is a body to read. One in chunks that is empty was lost on its way."""
    return bool(request.get_data()) or "Transfer-Encoding" in request.headers


class Nothing(Body):
    """The body of a call that needs none."""


def no_fields() -> None:
    """Refuse fields where there are none to give (AC7); an empty body or `{}` will do."""
    if request.get_data():
        body_of(Nothing)


def once(status: int) -> Callable[[Callable[..., dict[str, Any]]], Callable[..., Response]]:
    """A write: the same Idempotency-Key and body get the first status and body again (48 h).

    Refusals are answers too and are kept; faults (5xx), unreadable bodies and "too often" are not.
    The effect runs in a savepoint, so that a refusal leaves nothing behind but its stored answer.
    """

    def wrap(view: Callable[..., dict[str, Any]]) -> Callable[..., Response]:
        @wraps(view)
        def answer(**arguments: Any) -> Response:
            operation = f"api:{g.api_key.id}:{_key()}"
            now = runtime().clock.real_now()
            stored = operations.once(db(), operation, _fingerprint(), now)
            if stored is not None:
                response = _response(stored.status, stored.answer)
                response.headers["Idempotency-Replayed"] = "true"
                return response
            # The body's own mark: a key that is free again after 48 h may name another bill.
            g.operation_id = f"{operation}:{_fingerprint()[:12]}"
            code, result = _run(view, status, arguments)
            operations.finish(db(), operation, code, result, now)
            return _response(code, result)

        return answer

    return wrap


def _run(
    view: Callable[..., dict[str, Any]], status: int, arguments: dict[str, Any]
) -> tuple[int, dict[str, Any]]:
    savepoint = db().begin_nested()
    try:
        result = view(**arguments)
        savepoint.commit()
    except Refused as error:
        savepoint.rollback()
        db().info.pop("activities", None)  # what was refused did not happen
        # Half a body may have come: the whole one shall do it. And 429 says when to come back.
        if error.status in (400, 429):
            raise
        for act, facts in g.pop("refused_acts", []):
            audit.record(db(), holder(), act, facts, runtime().clock.real_now())
        return error.status, problem_of(error)
    return status, result


def note_refused(act: str, **facts: Any) -> None:
    """Write this act of the key down if the call is refused, though its effect is undone."""
    g.setdefault("refused_acts", []).append((act, facts))


def _key() -> str:
    key = request.headers.get("Idempotency-Key", "")
    if not key or len(key) > MAX_KEY or not key.isascii() or not key.isprintable():
        raise Invalid("operations.key_missing", status=400)
    return key


def _fingerprint() -> str:
    """Method, path and body: the same key with anything else is a mistake of the caller."""
    head = f"{request.method} {request.path}\n".encode()
    return hashlib.sha256(head + request.get_data()).hexdigest()


def _response(status: int, body: dict[str, Any]) -> Response:
    response = jsonify(body)
    response.status_code = status
    if status >= 400:
        response.mimetype = "application/problem+json"
    return response
