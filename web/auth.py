"""Who may use a route: declared on each view, refused when nothing is declared.

A view carries an `Access`; the resolver of its kind (registered by each audience) signs the
caller in from cookie or header, and raises `Refused` otherwise. `check_declared` stops the
start when a route has no declaration.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from flask import Flask, current_app, request

from core.errors import Refused
from web.ground import TaemFlask

View = TypeVar("View", bound=Callable[..., Any])


@dataclass(frozen=True)
class Access:
    """`kind` is public, member, cashier, staff or api; `permission` is `<noun>.<verb>`."""

    kind: str
    permission: str = ""
    needs_pin: bool = False


Resolver = Callable[[Access], None]
_RESOLVERS: dict[str, Resolver] = {}


class SignInNeeded(Refused):
    """Nobody is signed in, or no longer; pages turn this into their sign-in."""

    code = "auth.sign_in_needed"
    status = 401


class Forbidden(Refused):
    """Signed in, but not allowed to do this."""

    code = "auth.forbidden"
    status = 403


def _declare(access: Access) -> Callable[[View], View]:
    def mark(view: View) -> View:
        view.__dict__["taem_access"] = access
        return view

    return mark


def public(view: View) -> View:
    """Anyone may use this route."""
    return _declare(Access("public"))(view)


def member_only(view: View) -> View:
    """A signed-in member; `g.member` is set."""
    return _declare(Access("member"))(view)


def cashier_only(*, needs_pin: bool = True) -> Callable[[View], View]:
    """An enrolled device (`g.device`), and with `needs_pin` an open PIN (`g.cashier`)."""
    return _declare(Access("cashier", needs_pin=needs_pin))


def staff_only(permission: str) -> Callable[[View], View]:
    """A signed-in member of staff (`g.staff`) whose role holds this permission."""
    return _declare(Access("staff", permission))


def api_scope(scope: str) -> Callable[[View], View]:
    """A bearer key (`g.api_key`) with this scope."""
    return _declare(Access("api", scope))


def resolver(kind: str) -> Callable[[Resolver], Resolver]:
    """Register how callers of this kind are signed in."""

    def keep(function: Resolver) -> Resolver:
        _RESOLVERS[kind] = function
        return function

    return keep


def access_of(app: Flask, endpoint: str) -> Access | None:
    """What a route declares; None when nothing."""
    return getattr(app.view_functions[endpoint], "taem_access", None)


def admit() -> None:
    """Sign the caller in as the route demands. Raises Refused; default deny."""
    access = access_of(current_app, request.endpoint or "")
    if access is None:
        raise Forbidden
    if access.kind != "public":
        _RESOLVERS[access.kind](access)


def check_declared(app: TaemFlask) -> None:
    """Every route says who may use it; the start fails otherwise."""
    open_endpoints = app.extensions["taem_open"]
    missing = [
        endpoint
        for endpoint in app.view_functions
        if endpoint not in open_endpoints and access_of(app, endpoint) is None
    ]
    assert not missing, f"routes without a declared access: {missing}"
