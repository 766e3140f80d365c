"""The Flask application class: one transaction per request, access decided before the view.

Returning commits, raising rolls back; reads (GET, HEAD) never commit. `dispatch_request` is
wrapped rather than `after_request`, which Flask also runs for handled errors.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

from flask import Flask, Request, abort, current_app, g, has_request_context, request
from sqlalchemy.orm import Session
from werkzeug.exceptions import BadRequest
from werkzeug.routing import IntegerConverter, Rule

from bot.palette import palette_of
from core.db import forget_all
from core.errors import Invalid
from core.runtime import Runtime
from loyalty import sheets, shop

#: A form of the console that is shown again with what is wrong has done nothing: the view returns
#: a page, and what it wrote before it was refused goes. Doors answer 401 and 429, and count tries.
REFUSED = (409, 422)
View = TypeVar("View", bound=Callable[..., Any])
Found = TypeVar("Found")
#: Where lists of members are uploaded.
LISTS = "/admin/imports"
#: Where a telephone's photograph may come with an answer.
CHATS = re.compile(r"/admin/conversations/\d{1,18}/reply")
PHOTOGRAPH_BYTES = 10_000_000
#: Where the shop's mark is uploaded, and how large it may be.
LOGO = "/admin/settings/logo"
LOGO_BYTES = 2_000_000
FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
#: Letters that PostgreSQL keeps in no text, and those that no UTF-8 can write.
UNKEEPABLE = re.compile("[\x00\ud800-\udfff]")


#: Figures that took longer than this to find are shown again for a while.
SLOW_SECONDS = 1.0
KEPT_SECONDS = 60.0


class TaemRequest(Request):
    """A request whose body is whole, and whose JSON may be anything: one nested beyond reading is
    just unreadable."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        if self.environ.get("CONTENT_LENGTH"):
            # granian ends the body of a connection that was lost as if all of it had come; without
            # this word of its Werkzeug counts, and refuses (`ClientDisconnected`).
            self.environ.pop("wsgi.input_terminated", None)
        if self.path == LISTS:  # may be larger than anything else that is posted
            self.max_content_length = sheets.MAX_BYTES + 65_536
        elif self.path == LOGO:
            self.max_content_length = LOGO_BYTES + 65_536
        elif CHATS.fullmatch(self.path):
            self.max_content_length = PHOTOGRAPH_BYTES + 65_536

    def get_json(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().get_json(*args, **kwargs)
        except RecursionError as error:
            if kwargs.get("silent"):
                return None
            raise BadRequest from error


class TaemRule(Rule):
    """A route that learns to write its address when first asked to.

    Werkzeug compiles two small programs for each route at once; a process that starts would spend
    more on them than on everything else of its routes, and needs few.
    """

    def _compile_builder(self, append_unknown: bool = True) -> Callable[..., tuple[str, str]]:
        compile_now = super()._compile_builder
        made: list[Callable[..., tuple[str, str]]] = []

        def build(rule: Rule, /, **values: Any) -> tuple[str, str]:
            if not made:
                made.append(compile_now(append_unknown))
            return made[0](rule, **values)

        return build


class RowNumber(IntegerConverter):
    """`<int:…>`: a number that a row may have. A longer one is no address, and no database's fault."""

    regex = "[0-9]{1,18}"


class TaemFlask(Flask):
    """Flask, with Taem's transaction and default-deny access around every view."""

    request_class = TaemRequest
    url_rule_class = TaemRule

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.url_map.converters["int"] = RowNumber
        self._plain: dict[str, str] = {}

    def url_for(self, endpoint: str, **values: Any) -> str:
        """As Flask's; an address without any value is built once, and pages hold dozens of them."""
        is_plain = endpoint[0] != "." and all(value is None for value in values.values())
        if not is_plain or not has_request_context() or request.root_path:
            return super().url_for(endpoint, **values)
        if endpoint not in self._plain:
            self._plain[endpoint] = super().url_for(endpoint)
        return self._plain[endpoint]

    def dispatch_request(self) -> Any:
        if request.routing_exception is not None or request.url_rule is None:
            return super().dispatch_request()
        if request.endpoint in self.extensions["taem_open"] or request.method == "OPTIONS":
            return super().dispatch_request()
        held = runtime()
        view = self.view_functions[request.endpoint or ""]
        if getattr(view, "taem_outside", False):
            return self._answer_outside(held)
        if request.method in SAFE_METHODS:
            with held.database.read() as session:
                return self._answer(session)
        with held.transaction() as session:
            answer = self.make_response(self._answer(session))
            if request.blueprint == "admin" and answer.status_code in REFUSED:
                forget_all(session)
            return answer

    def _answer_outside(self, held: Runtime) -> Any:
        """Admit in a transaction of its own; the view talks to LINE and opens what it needs."""
        from web.auth import admit

        with held.transaction() as session:
            g.session = session
            try:
                admit()
            finally:
                g.pop("session", None)
        _refuse_unkeepable()
        view = self.view_functions[request.endpoint or ""]
        return self.ensure_sync(view)(**(request.view_args or {}))

    def _answer(self, session: Session) -> Any:
        from web.auth import admit

        g.session = session
        try:
            admit()
            _refuse_unkeepable()
            return self.ensure_sync(self.view_functions[request.endpoint or ""])(
                **(request.view_args or {})
            )
        finally:
            g.pop("session", None)


def _refuse_unkeepable() -> None:
    """NUL and lone surrogates never reach a rule: no column keeps both on both engines (Z4, FX08).

    Only NUL can come in addresses and forms, whose decoding leaves no surrogate.
    """
    if any("\x00" in str(value) for value in (request.view_args or {}).values()):
        abort(404)
    values = list(request.args.items(multi=True))
    # The API reads no forms, and reading one would take the body away from it.
    if request.mimetype in FORMS and request.blueprint != "api":
        values += request.form.items(multi=True)
    for name, value in values:
        if "\x00" in value:
            raise Invalid("errors.invalid_field", field=name)
    # Looked for in what was read, not in the bytes: JSON may be UTF-16 and escape any letter.
    if request.is_json and not is_keepable(request.get_json(silent=True)):
        raise Invalid("errors.invalid_field", field="body")


def is_keepable(body: Any) -> bool:
    """Whether every text in what a JSON body said can be stored, names of fields too."""
    waiting = [body]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str) and UNKEEPABLE.search(value):
            return False
        if isinstance(value, dict):
            waiting += [*value, *value.values()]
        elif isinstance(value, list):
            waiting += value
    return True


def outside(view: View) -> View:
    """Mark a view that calls LINE: no transaction may be open around a network call."""
    view.__dict__["taem_outside"] = True
    return view


@contextmanager
def opened(*, is_reading: bool = False) -> Iterator[Session]:
    """The session of an `outside` view for a moment: what it did commits at the end of the block."""
    held = runtime()
    with held.database.read() if is_reading else held.transaction() as session:
        g.session = session
        try:
            yield session
        finally:
            g.pop("session", None)


def runtime() -> Runtime:
    """The runtime of the application at work."""
    return cast("Runtime", current_app.extensions["taem"])


def db() -> Session:
    """This request's session: of a transaction for unsafe methods, for looking only otherwise."""
    return cast("Session", g.session)


def shop_look() -> dict[str, str]:
    """The shop's own colour and mark as addresses; empty where it has none."""
    session = g.get("session")
    if session is None:
        with runtime().database.read() as own:
            return _look(own)
    return _look(session)


def _look(session: Session) -> dict[str, str]:
    colour, logo = shop.get(session, "shop.colour"), shop.get(session, "shop.logo")
    return {
        "colour": palette_of(colour).main,
        "sheet": f"/p/look/{colour[1:].lower()}.css" if colour else "",
        "logo": f"/p/logo/{logo}.jpg" if logo else "",
    }


def locale() -> str:
    """The language of whoever is asking, as far as known."""
    return cast("str", g.get("locale") or runtime().settings.shop_locale)


def remembered(name: str, find: Callable[[], Found]) -> Found:
    """What `find` finds; a minute old at most where that is slow, as in a shop of a million."""
    kept: dict[str, tuple[float, Any]] = current_app.extensions.setdefault("taem_kept", {})
    until, known = kept.get(name, (0.0, None))
    began = time.monotonic()
    if began < until:
        return cast("Found", known)
    found = find()
    now = time.monotonic()
    if now - began > SLOW_SECONDS:
        kept[name] = (now + KEPT_SECONDS, found)
    return found
