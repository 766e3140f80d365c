"""Headers, cookies, hosts and proxies, next=, hostile names, and what the logs never say."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from app import create_app
from core import ids
from core.i18n import t
from loyalty import doors, people
from models.members import MemberTotals
from tests import factories
from tests.moments import NOW
from tests.web.conftest import PASSWORD, PASSWORD_HASH, Browser

HTTPS = "https://loyalty.example"


@pytest.fixture
def build(runtime) -> Callable:
    """`build(public_url=…)` is a client of the product with other settings."""
    import dataclasses

    made = []

    def make(**more):
        settings = factories.make_settings(runtime.settings.database_url, **more)
        app = create_app(runtime=dataclasses.replace(runtime, settings=settings))
        app.extensions["taem_intake"].close()
        made.append(app)
        return app.test_client()

    return make


@pytest.fixture
def prem(runtime):
    with runtime.transaction() as session:
        return factories.prem(session, password_hash=PASSWORD_HASH, role="auditor")


def sign_in(client, **form):
    browser = Browser(client)
    values = {"email": "prem@taem.example", "password": PASSWORD} | form
    return browser.send("/admin/sign-in", **values)


PAGES = ["/admin/sign-in", "/cashier", "/cashier/enrol", "/nothing", "/api/openapi.json"]


def test_every_answer_carries_the_headers(client):
    answers = [client.get(path) for path in PAGES]
    assert {answer.headers["X-Content-Type-Options"] for answer in answers} == {"nosniff"}
    assert {answer.headers["X-Frame-Options"] for answer in answers} == {"DENY"}
    assert {answer.headers["Referrer-Policy"] for answer in answers} == {"same-origin"}
    policies = [answer.headers["Content-Security-Policy"] for answer in answers]
    assert all("default-src 'none'" in one for one in policies)
    assert all("frame-ancestors 'none'" in one for one in policies)
    assert not [one for one in policies if "unsafe" in one]


def test_no_page_holds_inline_script_or_style(client, till, owner):
    pages = [client.get(path).text for path in PAGES]
    signed_in = [till.get("/cashier"), owner.get("/admin"), owner.get("/admin/health")]
    assert [answer.status_code for answer in signed_in] == [200] * 3
    pages += [answer.text for answer in signed_in]
    scripts = [tag for page in pages for tag in re.findall(r"<script\b[^>]*>", page)]
    assert not [tag for tag in scripts if "src=" not in tag and "application/json" not in tag]
    assert not [page for page in pages if re.search(r"\son\w+=|\sstyle=", page)]
    nonces = re.findall(r"<style\b([^>]*)>", "".join(pages))
    assert all("nonce=" in one for one in nonces)


def test_pages_with_personal_data_are_not_kept(owner, till):
    answers = [owner.get("/admin"), owner.get("/admin/members"), till.get("/cashier")]
    assert {answer.headers["Cache-Control"] for answer in answers} == {"no-store"}


def test_secret_addresses_are_not_passed_on(client):
    assert client.get("/s/x").headers["Referrer-Policy"] == "no-referrer"


def test_cookies_are_host_only_secure_and_hidden_on_https(build, prem):
    client = build(public_url=HTTPS)
    page = client.get("/admin/sign-in", base_url=HTTPS).text
    token = re.search(r'name="csrf_token" value="([^"]+)"', page)[1]
    form = {"email": "prem@taem.example", "password": PASSWORD, "csrf_token": token}
    answer = client.post("/admin/sign-in", data=form, base_url=HTTPS)
    cookies = {line.partition("=")[0]: line for line in answer.headers.getlist("Set-Cookie")}
    mine = cookies["__Host-taem_staff"]
    assert answer.status_code == 303
    assert all(part in mine for part in ("Secure", "HttpOnly", "SameSite=Lax", "Path=/"))
    assert "Domain" not in mine
    assert "max-age" in answer.headers["Strict-Transport-Security"]


def test_a_chat_link_opens_behind_tls_although_its_page_lets_no_referrer_out(build, runtime):
    with runtime.transaction() as session:
        token = doors.make_link(session, factories.somchai(session), "/m/home", NOW)
    client = build(public_url=HTTPS, trusted_proxies=1)
    proxied = {"base_url": "http://loyalty.example", "headers": {"X-Forwarded-Proto": "https"}}
    page = client.get(f"/l/{token}", **proxied)
    known = re.search(r'name="csrf_token" value="([^"]+)"', page.text)[1]
    without = client.post(f"/l/{token}", **proxied)
    opened = client.post(f"/l/{token}", data={"csrf_token": known}, **proxied)
    assert page.headers["Referrer-Policy"] == "no-referrer"
    assert without.status_code == 403
    assert (opened.status_code, opened.headers["Location"]) == (303, "/m/home")


def test_FX06_planted_cookies_are_replaced_at_sign_in(client, prem):
    client.set_cookie("taem_staff", "planted")
    browser = Browser(client)
    before = browser.token()
    sign_in(client)
    assert client.get_cookie("taem_staff").value != "planted"
    assert client.post("/admin/language", data={"csrf_token": before}).status_code == 403


def test_what_fails_before_anybody_is_admitted_is_said_in_the_readers_language(
    client, runtime, sign_in, till
):
    with runtime.transaction() as session:
        malee = factories.malee(session, locale="en")
        client.set_cookie("taem_member", doors.open_session(session, malee, "link", NOW))
    till.get("/cashier/language/en")
    old_page, thai = t("en", "auth.old_page"), {"Accept-Language": "th"}
    assert old_page in sign_in("owner", locale="en").client.post("/admin/language").text
    assert old_page in till.client.post("/cashier/leave").text
    assert old_page in client.post("/m/topics", headers=thai).text
    assert t("en", "errors.not_found") in client.get("/m/nothing", headers=thai).text
    assert t("th", "errors.not_found") in till.client.get("/m/nothing", headers=thai).text


def test_sign_out_ends_the_session_itself(client, prem):
    sign_in(client)
    kept = client.get_cookie("taem_staff").value
    Browser(client).send("/admin/sign-out")
    client.set_cookie("taem_staff", kept)
    assert client.get("/admin").status_code == 303


EVIL = ["//evil.com", "/\\evil.com", "https:evil.com", "https://evil.com", "/admin/../x",
        "/admin//evil.com", "javascript:alert(1)", "/cashier", "/admin\n/x", "/administrator",
        "%2F%2Fevil.com", "/admin/.%2e/", " /admin"]  # fmt: skip


def test_FX07_next_leads_nowhere_else(owner):
    places = {
        path: owner.get("/admin/sign-in", query_string={"next": path}).headers["Location"]
        for path in EVIL
    }
    assert places == dict.fromkeys(EVIL, "/admin")


def test_FX07_next_leads_on_inside_the_console(owner):
    answer = owner.get("/admin/sign-in?next=/admin/members")
    assert answer.headers["Location"] == "/admin/members"


def test_wrong_passwords_are_delayed_and_look_alike(client, prem, clock):
    known = sign_in(client, password="wrong")
    unknown = sign_in(client, email="nobody@taem.example", password="wrong")
    again = [sign_in(client, password="wrong").status_code for _ in range(5)]
    right = sign_in(client)
    clock.advance(seconds=31)
    later = sign_in(client)
    assert (known.status_code, unknown.status_code) == (401, 401)
    assert again == [401, 401, 401, 401, 429]
    assert (right.status_code, later.status_code) == (429, 303)


def test_set_up_link_chooses_the_first_password_once(client, runtime):
    with runtime.transaction() as session:
        code = people.invite_staff(session, "new@taem.example", "marketer", name="", now=NOW,
                                   actor="cli")  # fmt: skip
    browser = Browser(client)
    weak = browser.send("/admin/welcome", code=code, password="password1234")
    good = browser.send("/admin/welcome", code=code, password=PASSWORD)
    again = Browser(client)
    client.delete_cookie("taem_staff")
    used = again.send("/admin/welcome", code=code, password=PASSWORD)
    assert (weak.status_code, good.status_code, used.status_code) == (422, 303, 404)
    assert sign_in(client, email="new@taem.example").status_code == 303


def test_late_set_up_link_is_dead(client, runtime, clock):
    with runtime.transaction() as session:
        code = people.invite_staff(session, "new@taem.example", "marketer", name="", now=NOW,
                                   actor="cli")  # fmt: skip
    clock.advance(hours=24)
    browser = Browser(client)
    assert browser.send("/admin/welcome", code=code, password=PASSWORD).status_code == 404


def test_FX18_unknown_hosts_are_refused(client):
    hosts = ["evil.com", "127.0.0.1.evil.com", "loyalty.example", "evil.com:5000", ""]
    answers = [client.get("/admin/sign-in", headers={"Host": host}) for host in hosts]
    assert {answer.status_code for answer in answers} == {400}
    assert not [answer for answer in answers if "evil" in answer.text]


def test_FX18_forged_addresses_do_not_widen_a_limit(client, prem):
    browser = Browser(client)
    token = browser.token()
    statuses = [
        client.post(
            "/admin/sign-in",
            data={"csrf_token": token, "email": f"a{number}@b.example", "password": "x"},
            headers={"X-Forwarded-For": f"10.0.0.{number}", "X-Forwarded-Host": "evil.com"},
        ).status_code
        for number in range(11)
    ]
    assert statuses == [401] * 10 + [429]


def test_FX18_trusted_proxy_tells_callers_apart(build, prem):
    client = build(trusted_proxies=1)
    token = Browser(client).token()
    statuses = [
        client.post(
            "/admin/sign-in",
            data={"csrf_token": token, "email": f"a{number}@b.example", "password": "x"},
            headers={"X-Forwarded-For": f"6.6.6.6, 10.9.0.{number}"},
        ).status_code
        for number in range(11)
    ]
    assert statuses == [401] * 11


HOSTILE = [
    "<img src=x onerror=alert(1)>", '"><svg/onload=alert(1)>', "javascript:alert(1)",
    "{{7*7}}", "%s%n", "</script><script>alert(1)</script>", "' OR 1=1 --",
]  # fmt: skip


def test_FX01_FX02_hostile_names_are_text_on_every_console_page(owner, runtime):
    with runtime.transaction() as session:
        made = [factories.make_member(session, f"m{n}", vault=runtime.vault) for n in range(7)]
        for member, name in zip(made, HOSTILE, strict=True):
            member.name = member.line_name = name
            member.picture_url = "https://example.com/x.jpg"
            session.get_one(MemberTotals, member.id)
        factories.make_coupon(session, name_th=HOSTILE[0], name_en=HOSTILE[1])
    paths = ["/admin/members", "/admin/offers", "/admin/conversations", "/admin/outbox"]
    paths += [f"/admin/members/{member.public_id}" for member in made]
    pages = [owner.get(path).text for path in paths]
    assert {owner.get(path).status_code for path in paths} == {200}
    assert not [page for page in pages if "<img src=x" in page or "<svg/onload" in page]
    assert not [page for page in pages if "<script>alert" in page]
    assert "49" not in re.findall(r"<h1>([^<]*)", "".join(pages))
    assert "&lt;img src=x" in pages[0]


def test_FX16_error_pages_and_logs_hold_no_secret(app, client, capsys, sign_in):
    planted = "planted-secret-0812345678"
    client.get(f"/nothing/{planted}?token={planted}")
    client.set_cookie("taem_staff", planted)
    page = client.get("/admin", headers={"Authorization": f"Bearer {planted}"})
    browser = sign_in("owner")
    failing = app.view_functions["admin.dashboard"].__globals__["figures"].counts
    app.view_functions["admin.dashboard"].__globals__["figures"].counts = _fail_with(planted)
    try:
        fault = browser.get("/admin")
    finally:
        app.view_functions["admin.dashboard"].__globals__["figures"].counts = failing
    heard = capsys.readouterr()
    assert fault.status_code == 500
    assert planted not in page.text + fault.text + heard.out + heard.err
    assert "Traceback" not in fault.text
    assert ids.token_hash(planted) not in heard.out


def _fail_with(text):
    def fail(*_):
        raise RuntimeError(text)

    return fail
