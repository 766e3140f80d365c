"""Which console routes write, read from the URL map, and that each of them can leave its row (Z22).

What is really written is watched by `conftest.py` on every successful post of every test here; this
is the other half: no writing route exists whose code reaches no row at all.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import textwrap
from functools import cache
from types import FunctionType, ModuleType
from typing import Any

from tests.web.admin.silent import SILENT
from tests.web.test_auth import OPEN
from web.admin.ground import noted
from web.auth import access_of

ROOTS = ("web", "loyalty", "engagement", "rich_menus", "insights")


def writing(app) -> dict[str, FunctionType]:
    """Endpoint -> view of everything in the console that is posted to."""
    return {
        rule.endpoint: app.view_functions[rule.endpoint]
        for rule in app.url_map.iter_rules()
        if rule.endpoint.startswith("admin.")
        and rule.endpoint not in OPEN
        and rule.methods & {"POST", "PUT", "PATCH", "DELETE"}
        and access_of(app, rule.endpoint).kind == "staff"
    }


def leaves_a_row(view: Any) -> bool:
    """Whether `noted` or `audit.record` can be reached from here through our own functions."""
    waiting, seen = [inspect.unwrap(view)], set()
    while waiting:
        function = inspect.unwrap(waiting.pop())
        if id(function) in seen:
            continue
        seen.add(id(function))
        if function is noted or _is_record(function):
            return True
        waiting += _called_by(function)
    return False


def _is_record(function: Any) -> bool:
    return function.__module__ == "loyalty.audit" and function.__name__ == "record"


@cache
def _called_by(function: Any) -> list[Any]:
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        return []
    known = dict(vars(importlib.import_module(function.__module__)))
    closure = inspect.getclosurevars(function) if inspect.isfunction(function) else None
    known |= closure.nonlocals if closure else {}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            found += _ours(known.get(node.id))
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            owner = known.get(node.value.id)
            if isinstance(owner, ModuleType | type):
                found += _ours(getattr(owner, node.attr, None))
    return found


def _ours(value: Any) -> list[Any]:
    """Functions of ours, those in a table of functions, and the methods of a class of ours."""
    if isinstance(value, dict):
        return [one for part in value.values() for one in _ours(part)]
    if inspect.isclass(value) and value.__module__.partition(".")[0] in ROOTS:
        return [part for part in vars(value).values() if inspect.isfunction(part)]
    is_ours = inspect.isfunction(value) and value.__module__.partition(".")[0] in ROOTS
    return [value] if is_ours else []


def test_Z22_every_writing_route_of_the_console_can_leave_its_row(app):
    found = writing(app)
    assert len(found) > 90
    assert [
        one for one, view in found.items() if one not in SILENT and not leaves_a_row(view)
    ] == []


def test_what_is_silent_is_a_route_that_exists(app):
    assert set(SILENT) - set(writing(app)) == set()


def test_a_view_that_leaves_no_row_would_be_seen():
    def careless() -> str:
        return _helper()

    assert leaves_a_row(careless) is False
    assert leaves_a_row(noted) is True


def _helper() -> str:
    return "done"


def test_a_write_without_a_row_is_caught(owner, monkeypatch, watched):
    """The positive control of the watch: a view that forgets its row."""
    from web.admin import replies

    monkeypatch.setattr(replies, "noted", lambda act, **facts: None)
    owner.send("/admin/replies/saved", title="เวลา", text="8 โมงค่ะ")
    assert watched == ["admin.reply_add"]
    watched.clear()


def test_a_post_that_changes_nothing_needs_no_row(owner, watched):
    owner.send("/admin/me/sessions/0123456789abcdef/end")
    assert watched == []
