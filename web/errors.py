"""Refusals and faults as people and programs read them: a page, JSON, or a problem document."""

from __future__ import annotations

from typing import Any

import structlog
from flask import Flask, Response, g, jsonify, redirect, render_template, request, url_for
from flask_wtf.csrf import CSRFError
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from werkzeug.exceptions import HTTPException, SecurityError

from core.errors import Refused
from core.i18n import t
from web.ground import locale, opened
from web.limits import seconds_to_wait

log = structlog.get_logger("web")
PROBLEM_BASE = "urn:taem:problem:"


def register(app: Flask) -> None:
    """Turn every exception into an answer without a traceback."""
    app.register_error_handler(Refused, _refused)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(DBAPIError, _database)
    app.register_error_handler(PoolTimeout, _database)
    app.register_error_handler(Exception, _unexpected)


def _refused(error: Refused) -> Any:
    if error.status == 401 and not wants_json():  # a page: on to the door it belongs to
        if request.path.startswith("/admin"):
            path = request.path if request.method == "GET" else None
            return redirect(url_for("admin.sign_in_page", next=path), code=303)
        if request.path.startswith("/cashier"):
            return redirect(url_for("cashier.start"), code=303)
    return answer(error.status, error.code, error.facts)


def _http(error: HTTPException) -> Any:
    _recognise()
    if isinstance(error, CSRFError):  # somebody signed in anew in this browser, say
        return answer(403, "auth.old_page", {})
    status = error.code or 500
    if status < 400:  # redirects of the router
        return error
    if isinstance(error, SecurityError):  # an unknown host: no address of ours can be written
        return Response(t(locale(), "errors.bad_request"), status=400, mimetype="text/plain")
    codes = {
        400: "errors.bad_request",
        403: "auth.forbidden",
        404: "errors.not_found",
        405: "errors.not_found",
        413: "errors.too_large",
        429: "errors.too_many_requests",
    }
    response = answer(status, codes.get(status, "errors.bad_request"), {})
    for name, value in error.get_headers():
        if name in ("Allow", "Retry-After", "WWW-Authenticate"):
            response.headers[name] = value
    if status == 429 and (seconds := seconds_to_wait()) is not None:
        response.headers["Retry-After"] = str(seconds)
    return response


def _recognise() -> None:
    """Speak the reader's language also where nobody has been admitted yet: to an old form, an
    unknown address, too many tries."""
    from web.admin.ground import reader_locale as of_staff
    from web.cashier.ground import till_locale
    from web.liff.ground import reader_locale as of_member

    if g.get("locale") or request.path.startswith("/api/"):
        return
    try:
        with opened(is_reading=True):
            if request.path.startswith("/admin"):
                g.locale = of_staff()
            else:
                g.locale = till_locale() if request.path.startswith("/cashier") else of_member()
    except SQLAlchemyError:
        pass  # the shop's own language, then


def _database(error: Exception) -> Any:
    log.error("database_failed", kind=type(error).__name__)
    response = answer(503, "errors.temporary", {})
    response.headers["Retry-After"] = "5"
    return response


def _unexpected(error: Exception) -> Any:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f"{trace.tb_frame.f_code.co_name}:{trace.tb_lineno}" if trace else ""
    log.error("request_failed", kind=type(error).__name__, place=place, endpoint=request.endpoint)
    return answer(500, "errors.temporary", {})


def wants_json() -> bool:
    """Whether the caller is a script of ours or a program rather than a person's page load."""
    best = request.accept_mimetypes.best_match(["text/html", "application/json"])
    return request.is_json or best == "application/json"


def answer(status: int, code: str, facts: dict[str, Any]) -> Response:
    """The refusal in the caller's form and language."""
    sentence = t(locale(), code, **facts)
    if request.path.startswith("/api/"):
        return problem(status, code, sentence, facts)
    if wants_json():
        response = jsonify(code=code, message=sentence, facts=_plain(facts))
        response.status_code = status
        return response
    page = render_template(
        "errors.html",
        status=status,
        sentence=sentence,
        lang=locale(),
        field=g.get("wrong_field", ""),
    )
    return Response(page, status=status, mimetype="text/html")


def problem(status: int, code: str, sentence: str, facts: dict[str, Any]) -> Response:
    """An RFC 9457 problem document; `code` is the same as in the chat."""
    response = jsonify(_problem(status, code, sentence, facts))
    response.status_code = status
    response.mimetype = "application/problem+json"
    if status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    if code == "operations.in_progress":
        response.headers["Retry-After"] = "1"
    if status == 429 and "minutes" in facts:
        response.headers["Retry-After"] = str(60 * int(facts["minutes"]))
    response.headers["Content-Language"] = locale()
    return response


def problem_of(error: Refused) -> dict[str, Any]:
    """The problem document of a refusal."""
    sentence = t(locale(), error.code, **error.facts)
    return _problem(error.status, error.code, sentence, error.facts)


def _problem(status: int, code: str, sentence: str, facts: dict[str, Any]) -> dict[str, Any]:
    known = {"type": PROBLEM_BASE + code, "title": sentence, "status": status, "code": code}
    return {**_plain(facts), **known}


def _plain(facts: dict[str, Any]) -> dict[str, Any]:
    return {
        k: v if isinstance(v, str | int | bool | type(None)) else str(v) for k, v in facts.items()
    }
