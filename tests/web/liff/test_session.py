"""Signing in: chat links that burn once, ID tokens that open one session, sessions that end."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import OctKey
from sqlalchemy import func, select

from loyalty import doors, erasure
from models.members import Member, MemberSession
from tests.factories import line_id
from tests.moments import NOW
from tests.web.liff.conftest import LOGIN_CHANNEL, LOGIN_SECRET


def id_token(name="แพรว", *, secret=LOGIN_SECRET, alg="HS256", **claims: Any) -> str:
    at = int(NOW.timestamp())
    said = {
        "iss": "https://access.line.me",
        "sub": line_id(name),
        "aud": LOGIN_CHANNEL,
        "iat": at,
        "exp": at + 3600,
        "name": name,
    } | claims
    return jwt.encode({"alg": alg}, said, OctKey.import_key(secret), algorithms=[alg])


def unsigned_token() -> str:
    def part(value):
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    at = int(NOW.timestamp())
    said = {
        "iss": "https://access.line.me", "sub": line_id("แพรว"), "aud": LOGIN_CHANNEL,
        "iat": at, "exp": at + 3600,
    }  # fmt: skip
    return f"{part({'alg': 'none'})}.{part(said)}."


@pytest.fixture
def link(runtime, somebody):
    """`link(path)` is a fresh chat link of แพรว's."""

    def make(path="/m/coupons"):
        member = somebody("แพรว")
        with runtime.transaction() as session:
            token = doors.make_link(session, member, path, runtime.clock.real_now())
        return f"/l/{token}"

    return make


# Chat links


def test_looking_at_a_link_burns_nothing(open_phone, link):
    phone, path = open_phone(), link()
    for _ in range(3):
        assert phone.get(path).status_code == 200
    assert phone.get("/m/coupons").status_code == 401
    assert phone.send(path).headers["Location"] == "/m/coupons"
    assert phone.get("/m/coupons").status_code == 200


def test_a_link_opens_once(open_phone, link):
    phone, path = open_phone(), link()
    phone.send(path)
    other = open_phone()
    assert other.get(path).status_code == 410
    answer = other.send(path)
    assert answer.status_code == 410
    assert "กลับไปที่แชท" in answer.text


def test_a_link_lives_ten_minutes_of_real_time(open_phone, link, clock):
    phone, path = open_phone(), link()
    clock.advance(minutes=9, seconds=59)
    assert phone.get(path).status_code == 200
    clock.advance(seconds=1)
    assert phone.get(path).status_code == 410
    assert phone.send(path).status_code == 410


def test_a_made_up_link_looks_like_a_dead_one(open_phone, link):
    phone, path = open_phone(), link()
    phone.send(path)
    used, unknown = open_phone().get(path), open_phone().get("/l/none")
    assert used.status_code == unknown.status_code
    assert without_token(used.text) == without_token(unknown.text)


def test_a_link_page_lets_no_referrer_out(open_phone, link):
    answer = open_phone().get(link())
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["Cache-Control"] == "no-store"


def test_the_cookie_is_for_this_site_alone(open_phone, link):
    cookie = open_phone().send(link()).headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert "Path=/" in cookie


@pytest.mark.parametrize(
    "path",
    [
        "//evil.example", "/\\evil.example", "https:evil.example", "https://evil.example",
        "javascript:alert(1)", "/m/../../admin", "/admin", "/m//evil.example", "", "/m/a b",
        "/m/home\r\nSet-Cookie: x=1", "/m/" + "a" * 400, None,
    ],
)  # fmt: skip
def test_FX07_no_path_leads_outside_the_member_pages(path):
    assert doors.safe_path(path) == "/m/home"


@pytest.mark.parametrize("path", ["/m/coupons/0123456789abcdef", "/m/me", "/m/invite?code=AB12"])
def test_paths_inside_are_kept(path):
    assert doors.safe_path(path) == path


# ID tokens


def without_token(page):
    return re.sub(r'(csrf[-_]token" (?:content|value)=)"[^"]+"', r"\1", page)


def trade(phone, token, **more):
    return phone.client.post("/liff/session", json={"id_token": token, **more})


def test_an_id_token_opens_a_session(open_phone, somebody):
    somebody("แพรว")
    phone = open_phone()
    answer = trade(phone, id_token())
    assert answer.get_json() == {"is_member": True, "has_noted_code": False}
    assert "แพรว" in phone.get("/m/home").text


def test_somebody_new_becomes_a_friend_with_name(open_phone, database):
    assert trade(open_phone(), id_token("ใหม่")).status_code == 200
    with database.read() as session:
        assert session.scalars(select(Member)).one().line_name == "ใหม่"


def test_FQ08_a_token_opens_one_session(open_phone):
    token = id_token()
    assert trade(open_phone(), token).status_code == 200
    assert trade(open_phone(), token).status_code == 401


FORGED = {
    "alg none": unsigned_token,
    "other channel": lambda: id_token(aud="1650000009"),
    "channel among others": lambda: id_token(aud=[LOGIN_CHANNEL, "1650000009"]),
    "other issuer": lambda: id_token(iss="https://access.line.me.evil.example"),
    "expired 31 s ago": lambda: id_token(exp=int(NOW.timestamp()) - 31),
    "from the future": lambda: id_token(iat=int(NOW.timestamp()) + 120),
    "other secret": lambda: id_token(secret="x" * 40),
    "no subject": lambda: id_token(sub=""),
    "an access token": lambda: "eyJhbGciOiJIUzI1NiJ9",
    "two tokens": lambda: f"{id_token()} {id_token()}",
    "a list": lambda: [id_token()],
    "nothing": lambda: None,
}


@pytest.mark.parametrize("kind", FORGED)
def test_FQ06_every_other_token_is_refused_alike(open_phone, kind):
    answer = trade(open_phone(), FORGED[kind]())
    plain = trade(open_phone(), "nonsense")
    assert answer.status_code == plain.status_code == 401
    assert answer.data == plain.data
    assert "Set-Cookie" not in answer.headers


def test_FQ07_nothing_in_the_body_but_the_token_counts(open_phone, somebody):
    other = somebody("มาลี")
    somebody("แพรว")
    phone = open_phone()
    forged = {
        "userId": other.line_user_id, "member_id": other.id, "shop_id": 2,
        "line_user_id": other.line_user_id,
    }  # fmt: skip
    assert trade(phone, id_token("แพรว"), **forged).status_code == 200
    page = phone.get(f"/m/home?userId={other.line_user_id}&member_id={other.id}").text
    assert "แพรว" in page
    assert "มาลี" not in page


def test_FL18_when_line_cannot_be_asked_nobody_gets_in(open_phone):
    header = base64.urlsafe_b64encode(b'{"alg":"ES256","kid":"unknown"}').rstrip(b"=").decode()
    answer = trade(open_phone(), f"{header}.{id_token().split('.')[1]}.AAAA")
    assert answer.status_code == 503
    assert "Set-Cookie" not in answer.headers


@pytest.mark.parametrize("origin", ["https://evil.example", "http://[", "null", ""])
def test_AO5_another_site_cannot_sign_anybody_in(open_phone, origin):
    phone = open_phone()
    answer = phone.client.post(
        "/liff/session", json={"id_token": id_token()}, headers={"Origin": origin}
    )
    assert answer.status_code == 403
    form = phone.client.post("/liff/session", data={"id_token": id_token()})
    assert form.status_code == 401


def test_AO6_signing_in_makes_a_new_session_and_ends_the_old(open_phone, somebody, database):
    phone = open_phone(somebody("มาลี"))
    before = phone.client.get_cookie("taem_member").value
    trade(phone, id_token("แพรว"))
    after = phone.client.get_cookie("taem_member").value
    assert before != after
    with database.read() as session:
        assert doors.session_of(session, before, NOW) is None


# Sessions


def test_a_session_ends_after_twelve_hours(open_phone, somebody, clock):
    phone = open_phone(somebody("แพรว"))
    clock.advance(hours=11, minutes=59)
    assert phone.get("/m/home").status_code == 200
    clock.advance(minutes=1)
    assert phone.get("/m/home").status_code == 401


def test_signing_out_ends_it(open_phone, somebody):
    phone = open_phone(somebody("แพรว"))
    phone.send("/m/sign-out", page="/m/me")
    assert phone.get("/m/home").status_code == 401


def test_dead_links_and_sessions_are_swept_away(open_phone, somebody, runtime, database, clock):
    open_phone(somebody("แพรว"))
    with runtime.transaction() as session:
        assert doors.sweep(session, clock.real_now(), 100) == 0
    clock.advance(days=2)
    with runtime.transaction() as session:
        assert doors.sweep(session, clock.real_now(), 100) == 1


def test_only_hashes_of_secrets_are_stored(open_phone, somebody, database):
    phone = open_phone(somebody("แพรว"))
    secret = phone.client.get_cookie("taem_member").value
    with database.read() as session:
        assert session.scalars(select(MemberSession.token_hash)).one() != secret


def test_an_erased_members_session_is_dead(open_phone, somebody, runtime):
    member = somebody("แพรว")
    phone = open_phone(member)
    with runtime.transaction() as session:
        merged = session.merge(member, load=True)
        erasure.erase(session, runtime.vault, merged, asked_by="cli", now=NOW)
    assert phone.get("/m/home").status_code == 401


def test_FQ05_a_page_without_a_session_is_its_own_sign_in(open_phone, settings):
    answer = open_phone().get("/m/points")
    assert answer.status_code == 401
    assert f'data-liff-id="{settings.liff_id}"' in answer.text
    assert 'data-path="/m/points"' in answer.text
    assert "member_liff.js" in answer.text


def test_a_form_sent_too_late_leads_to_a_page_that_opens_after_the_sign_in(open_phone, somebody):
    phone = open_phone(somebody("แพรว"))
    token = phone.token("/m/me")
    phone.send("/m/sign-out", page="/m/me")
    late = phone.client.post("/m/me/language", data={"csrf_token": token, "locale": "en"})
    assert (late.status_code, late.headers["Location"]) == (303, "/m/home")
    assert 'data-path="/m/home"' in phone.get(late.headers["Location"]).text


def test_a_script_without_a_session_is_told_so(open_phone):
    answer = open_phone().get("/m/coupons/x/status", headers={"Accept": "application/json"})
    assert (answer.status_code, answer.get_json()["code"]) == (401, "auth.sign_in_needed")


def test_the_liff_entry_runs_lines_script_before_it_moves_on(open_phone, somebody):
    phone = open_phone(somebody("แพรว"))
    assert phone.get("/m").headers["Location"] == "/m/home"
    answer = phone.get("/m?liff.state=%2Fcoupons")
    assert answer.status_code == 200
    assert "sdk.js" in answer.text


def test_a_liff_invitation_is_noted_with_the_verified_person(open_phone, somebody, database):
    referrer = somebody("แพรว")
    answer = trade(open_phone(), id_token("เพื่อน"), code=referrer.referral_code)
    assert answer.get_json()["has_noted_code"] is True
    with database.read() as session:
        friend = session.scalar(select(Member).where(Member.line_user_id == line_id("เพื่อน")))
        assert friend.source_code == referrer.referral_code
        assert session.scalar(select(func.count()).select_from(Member)) == 2
