"""The rest of the matrix made from the URL map: cashiers, wrong methods, and every route as declared
(FX05, AA6)."""

from __future__ import annotations

import pytest
from flask import Blueprint
from werkzeug.exceptions import HTTPException

from models.staff import Role
from tests.web.test_auth import OPEN, call, path_of, routes
from web.admin.ground import PERMISSIONS
from web.auth import Access, access_of

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
KINDS = {"public", "member", "cashier", "staff", "api"}


def declared(app):
    """(path, methods, access) of every route but read-only figures and files."""
    return [
        (rule, path_of(rule), rule.methods, access_of(app, rule.endpoint))
        for rule in app.url_map.iter_rules()
        if rule.endpoint not in OPEN
    ]


def is_another_route(app, path: str, method: str) -> bool:
    """Whether a wider route takes this address, e.g. `/m/coupons/<voucher>` takes `…/code`."""
    try:
        app.url_map.bind("127.0.0.1").match(path, method=method)
    except HTTPException:
        return False
    return True


def test_FX05_every_route_declares_a_kind_we_know(app):
    odd = [
        rule.rule for rule, _, _, access in declared(app) if not access or access.kind not in KINDS
    ]
    assert odd == []


def test_FX05_a_route_without_a_declaration_would_be_seen(app):
    """The positive control: the same look at an application that has one."""
    from web.ground import TaemFlask

    careless = TaemFlask("web")
    page = Blueprint("careless", __name__)
    page.add_url_rule("/careless", "page", lambda: "hello")
    page.add_url_rule("/odd", "odd", lambda: "hello")
    careless.register_blueprint(page)
    careless.view_functions["careless.odd"].__dict__["taem_access"] = Access("anybody")
    found = [
        one.rule
        for one, _, _, access in declared(careless)
        if not access or access.kind not in KINDS
    ]
    assert sorted(found) == ["/careless", "/odd"]


def test_FX05_every_permission_a_route_asks_for_is_somebodys(app):
    known = set().union(*PERMISSIONS.values())
    asked = {access.permission for _, _, _, access in declared(app) if access.kind == "staff"}
    assert asked - known == set()
    assert known - asked <= {"journeys.read"} | {one for one in known if one.endswith(".read")} | {
        "codes.export_again", "alarms.owners", "surveys.words",
    }  # fmt: skip


def test_FX05_a_method_that_is_not_declared_is_refused_everywhere(app, sign_in):
    """Signed in as the owner, with the form token: only what is declared goes through."""
    browser = sign_in("owner")
    token = browser.token()
    by_path: dict[str, set[str]] = {}
    for _, path, methods, _ in declared(app):
        by_path.setdefault(path, set()).update(methods)
    headers = {"Accept": "application/json", "X-CSRFToken": token}
    let_through = [
        (path, method)
        for path, methods in by_path.items()
        for method in METHODS
        if method not in methods
        and not is_another_route(app, path, method)
        and browser.client.open(path, method=method, headers=headers).status_code not in (404, 405)
    ]
    assert len(by_path) > 150
    assert let_through == []


@pytest.mark.parametrize("kind", ["staff", "api", "member"])
def test_FX05_a_cashier_reaches_nothing_but_the_till(app, till, kind):
    token = till.token()
    headers = {"Accept": "application/json", "X-CSRFToken": token}
    reached = [
        (path, method)
        for path, method, _ in routes(app, kind)
        if till.client.open(path, method=method, headers=headers).status_code != 401
    ]
    assert reached == []


def test_FX05_a_cashier_reaches_the_till(app, till):
    """The positive control of the test above: the same browser, and it is let in."""
    headers = {"Accept": "application/json", "X-CSRFToken": till.token()}
    pages = [path for path, method, _ in routes(app, "cashier") if method == "GET"]
    statuses = {till.client.get(path, headers=headers).status_code for path in pages}
    assert len(pages) > 3
    assert 200 in statuses
    assert 401 not in statuses


@pytest.mark.parametrize("role", list(Role))
def test_FX05_the_console_opens_no_till_no_member_page_and_no_api(app, sign_in, role):
    browser = sign_in(role.value)
    token = browser.token()
    headers = {"Accept": "application/json", "X-CSRFToken": token}
    reached = [
        (path, method)
        for kind in ("cashier", "api", "member")
        for path, method, _ in routes(app, kind)
        if browser.client.open(path, method=method, headers=headers).status_code != 401
    ]
    assert reached == []


@pytest.mark.parametrize("role", list(Role))
def test_FX05_no_role_writes_without_the_form_token(app, sign_in, role):
    browser = sign_in(role.value)
    written = [
        (path, method)
        for path, method, _ in routes(app, "staff")
        if method != "GET" and call(browser.client, path, method).status_code != 403
    ]
    assert written == []
