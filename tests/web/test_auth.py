"""Who may use which route: the whole matrix, made from the URL map (FX05, AA6)."""

from __future__ import annotations

import re

import pytest
from flask import Blueprint

import web
from models.staff import Role, StaffSession
from tests.moments import NOW
from tests.web.conftest import Browser
from web.admin.ground import PERMISSIONS
from web.auth import access_of, public
from web.ground import TaemFlask

#: Read-only figures and files that say nothing about anybody.
OPEN = {"static", "bootstrap.static", "health.healthz", "health.readyz", "health.figures"}
#: What is public on purpose: ways in, and what a stranger's scan or link opens.
PUBLIC = {
    "admin.sign_in", "admin.second", "admin.second_page", "admin.sign_in_page", "admin.welcome", "admin.welcome_page",
    "api_document.document", "assets.font", "cashier.enrol", "cashier.enrol_demo",
    "cashier.enrol_page", "cashier.language", "cashier.start", "cashier.worker",
}  # fmt: skip
SAMPLES = {"int": "1", "string": "x", "path": "x", "default": "x"}


def path_of(rule) -> str:
    first = re.sub(r"<any\((\w+)[^>]*>", r"\1", rule.rule)
    return re.sub(r"<(?:(\w+):)?\w+>", lambda part: SAMPLES[part[1] or "default"], first)


def routes(app, kind: str):
    """(path, method, access) of every route that declares this kind."""
    return [
        (path_of(rule), method, access_of(app, rule.endpoint))
        for rule in app.url_map.iter_rules()
        for method in sorted(rule.methods - {"HEAD", "OPTIONS"})
        if rule.endpoint not in OPEN and access_of(app, rule.endpoint).kind == kind
    ]


def call(client, path, method, **more):
    return client.open(path, method=method, headers={"Accept": "application/json"}, **more)


def test_default_deny_stops_the_start(runtime):
    from web.auth import check_declared

    app = TaemFlask("web")
    app.extensions["taem_open"] = {"static"}
    odd = Blueprint("odd", __name__)
    odd.add_url_rule("/odd", "page", lambda: "hello")
    app.register_blueprint(odd)
    with pytest.raises(AssertionError, match=r"odd\.page"):
        check_declared(app)


def test_undeclared_route_is_refused_even_if_it_got_in(app, client):
    view = app.view_functions["admin.dashboard"]
    declared = view.__dict__.pop("taem_access")
    answer = call(client, "/admin", "GET")
    view.__dict__["taem_access"] = declared
    assert answer.status_code == 403


def test_only_ways_in_are_public_outside_the_member_pages(app):
    found = {
        rule.endpoint
        for rule in app.url_map.iter_rules()
        if rule.endpoint not in OPEN
        and access_of(app, rule.endpoint).kind == "public"
        and rule.endpoint.partition(".")[0] in ("admin", "api", "api_document", "assets", "cashier")
    }
    assert found == PUBLIC


def test_FX05_nobody_without_a_sign_in(app, client):
    kinds = ("staff", "cashier", "api", "member")
    asked = [(path, method) for kind in kinds for path, method, _ in routes(app, kind)]
    token = Browser(client).token()
    statuses = {
        (path, method): client.open(
            path, method=method, headers={"Accept": "application/json", "X-CSRFToken": token}
        ).status_code
        for path, method in asked
    }
    assert len(statuses) > 60
    assert [one for one, status in statuses.items() if status != 401] == []


def test_FX05_unsafe_routes_need_the_form_token(app, client):
    kinds = ("staff", "cashier", "member", "public")
    asked = [
        (path, method)
        for kind in kinds
        for path, method, _ in routes(app, kind)
        if method != "GET" and path != "/liff/session"  # takes a signed token, and no cookie
    ]
    statuses = {one: call(client, *one).status_code for one in asked}
    assert len(statuses) > 30
    assert [one for one, status in statuses.items() if status != 403] == []


@pytest.mark.parametrize("role", list(Role))
def test_FX05_each_role_reaches_exactly_what_it_may(
    app, runtime, sign_in, role, monkeypatch, engine_kind
):
    # Every view does its work. What each role is shown is written on one engine, which makes no
    # difference to it; the owner's pages are written by many other tests.
    if engine_kind == "postgresql" or role == Role.OWNER:
        monkeypatch.setattr("flask.templating._render", lambda *_: "")
    browser = sign_in(role.value)
    token = browser.token()
    asked = [one for one in routes(app, "staff") if not one[0].endswith(("sign-out", "language"))]
    refused = {
        (path, method)
        for path, method, _ in asked
        if browser.client.open(
            path, method=method, headers={"Accept": "application/json", "X-CSRFToken": token}
        ).status_code == 403
    }  # fmt: skip
    expected = {
        (path, method)
        for path, method, access in asked
        if access.permission not in PERMISSIONS[role]
    }
    assert refused == expected


def test_FX05_every_form_carries_the_token(app, owner):
    forms = [
        (path, form)
        for path, method, _ in routes(app, "staff")
        if method == "GET" and (page := owner.get(path)).mimetype == "text/html"
        for form in re.findall(
            r"<form\b[^>]*method=.post.*?</form>", page.text, re.DOTALL | re.IGNORECASE
        )
    ]
    assert len(forms) > 100
    assert [path for path, form in forms if 'name="csrf_token" value="I' not in form] == []


def test_reading_roles_hold_no_writing_permission():
    assert not {one for one in PERMISSIONS[Role.AUDITOR] if not one.endswith(".read")}
    assert "members.read" not in PERMISSIONS[Role.MARKETER]


def test_every_console_write_needs_another_permission_than_its_page(app):
    written = {
        (path, access.permission)
        for path, method, access in routes(app, "staff")
        if method != "GET" and access.permission.endswith(".read")
    }
    assert written == {
        ("/admin/sign-out", "dashboard.read"),
        ("/admin/language", "dashboard.read"),
        ("/admin/columns", "dashboard.read"),
        # Looks only, at a form that is too long for an address.
        ("/admin/menus/x/people", "menus.read"),
        # One's own account alone.
        ("/admin/confirm", "dashboard.read"),
        ("/admin/me/password", "dashboard.read"),
        ("/admin/me/second-factor", "dashboard.read"),
        ("/admin/me/recovery-codes", "dashboard.read"),
        ("/admin/me/sessions/x/end", "dashboard.read"),
    }


def test_GET_never_writes_where_POST_is_declared(app, sign_in):
    browser = sign_in("owner")
    readable = {path for path, method, _ in routes(app, "staff") if method == "GET"}
    only_post = {path for path, method, _ in routes(app, "staff") if method == "POST"} - readable
    statuses = {call(browser.client, path, "GET").status_code for path in only_post}
    assert statuses <= {404, 405}


def test_Z23_revoked_session_and_dismissed_staff_are_refused(app, runtime, sign_in):
    one, other = sign_in("owner"), sign_in("manager")
    with runtime.transaction() as session:
        for held in session.query(StaffSession):
            held.revoked_at = NOW
    statuses = [call(browser.client, "/admin", "GET").status_code for browser in (one, other)]
    assert statuses == [401, 401]


def test_idle_and_old_console_sessions_end(sign_in, clock):
    browser = sign_in("owner")
    clock.advance(hours=2, minutes=1)
    answer = browser.get("/admin/members?q=x")
    assert answer.status_code == 303
    assert answer.headers["Location"] == "/admin/sign-in?next=/admin/members"


def test_demo_clock_exists_only_in_the_demo(client):
    assert client.post("/demo/clock", json={"advance": 1}).status_code == 404


def test_public_marks_and_nothing_else():
    def view() -> str:
        return ""

    assert public(view) is view
    assert web.csrf is not None
