"""Channel tokens, ID tokens, LIFF: who somebody is, and who says so."""

from __future__ import annotations

import base64
import json
import time

import pytest
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from tests.simulator.harness import LIFF_ID, LOGIN_CHANNEL


def issue(simulator, path="/oauth2/v3/token", **more):
    fields = {
        "grant_type": "client_credentials",
        "client_id": simulator.settings.channel_id,
        "client_secret": simulator.settings.channel_secret,
    }
    return simulator.form(path, **(fields | more))


def session(simulator, customer="c1", liff_id=LIFF_ID):
    path = f"/liff/session?customer={customer}&liffId={liff_id}"
    return simulator.line("GET", path, token=None)


def verify(simulator, id_token, **more):
    return simulator.form(
        "/oauth2/v2.1/verify", **({"id_token": id_token, "client_id": LOGIN_CHANNEL} | more)
    )


def forge(simulator, **body):
    return simulator.sim("POST", "/id-token", {"customer": "c1", **body})["idToken"]


# Channel access tokens


def test_issues_stateless_tokens_for_15_minutes(simulator):
    token = issue(simulator).json
    assert token["expires_in"] == 900
    assert simulator.line("GET", "/v2/bot/info", token=token["access_token"]).status == 200
    simulator.faults(time_offset_seconds=901)
    assert simulator.line("GET", "/v2/bot/info", token=token["access_token"]).status == 401


def test_stateless_tokens_outlive_a_restart(start_simulator):
    token = issue(start_simulator()).json["access_token"]
    assert start_simulator().line("GET", "/v2/bot/info", token=token).status == 200


def test_refuses_a_changed_token(simulator):
    token = issue(simulator).json["access_token"]
    text = base64.urlsafe_b64decode(token).decode()
    changed = base64.urlsafe_b64encode(text.replace(".", ".9", 1).encode()).decode()
    assert simulator.line("GET", "/v2/bot/info", token=changed).status == 401


@pytest.mark.parametrize(
    "wrong",
    [{"client_secret": "guess"}, {"client_id": "1"}, {"grant_type": "password"}],
)
def test_issues_nothing_for_wrong_credentials(simulator, wrong):
    answer = issue(simulator, **wrong)
    assert answer.status == 400
    assert answer.json["error"] in {"invalid_client", "unsupported_grant_type"}


def test_the_31st_short_lived_token_revokes_the_oldest(simulator):
    tokens = [issue(simulator, "/v2/oauth/accessToken").json["access_token"] for _ in range(31)]
    statuses = [simulator.line("GET", "/v2/bot/info", token=one).status for one in tokens[:2]]
    assert statuses == [401, 200]


# ID tokens


def test_id_token_is_signed_with_a_published_key(simulator):
    keys = KeySet.import_key_set(simulator.line("GET", "/oauth2/v2.1/certs", token=None).json)
    token = jwt.decode(session(simulator).json["idToken"], keys, algorithms=["ES256"])
    assert token.header["alg"] == "ES256"
    claims = token.claims
    assert claims["iss"] == "https://access.line.me"
    assert claims["aud"] == LOGIN_CHANNEL
    assert claims["sub"] == simulator.user_id("c1")
    assert claims["name"] == "สมชาย ใจดี"
    assert claims["exp"] - claims["iat"] == 3600
    assert abs(claims["iat"] - time.time()) < 5


def test_published_keys_hold_no_secret(simulator):
    (key,) = simulator.line("GET", "/oauth2/v2.1/certs", token=None).json["keys"]
    assert "d" not in key


def test_verifies_an_id_token(simulator):
    answer = verify(simulator, session(simulator).json["idToken"])
    assert answer.status == 200
    assert answer.json["sub"] == simulator.user_id("c1")


@pytest.mark.parametrize(
    "claims, words",
    [
        ({"exp": 1000}, "IdToken expired."),
        ({"aud": "1650009999"}, "Invalid IdToken Audience."),
        ({"iss": "https://example.com"}, "Invalid IdToken Issuer."),
    ],
)
def test_refuses_an_id_token_with_wrong_claims(simulator, claims, words):
    answer = verify(simulator, forge(simulator, claims=claims))
    assert answer.status == 400
    assert answer.json["error_description"] == words


def test_refuses_a_forged_id_token(simulator):
    assert verify(simulator, forge(simulator, forged=True)).status == 400


def test_refuses_an_id_token_of_another_algorithm(simulator):
    assert verify(simulator, forge(simulator, alg="HS256")).status == 400


def test_refuses_an_unsigned_id_token(simulator):
    header = base64.urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=").decode()
    payload = base64.urlsafe_b64encode(json.dumps({"sub": "U1"}).encode()).rstrip(b"=").decode()
    assert verify(simulator, f"{header}.{payload}.").status == 400


def test_checks_nonce_and_user_when_asked(simulator):
    token = forge(simulator, claims={"nonce": "n-1"})
    user = simulator.user_id("c1")
    assert verify(simulator, token, nonce="n-1", user_id=user).status == 200
    assert verify(simulator, token, nonce="n-2").status == 400
    assert verify(simulator, token, user_id="U" + "0" * 32).status == 400


def test_a_forged_token_fails_against_the_published_keys(simulator):
    keys = KeySet.import_key_set(simulator.line("GET", "/oauth2/v2.1/certs", token=None).json)
    with pytest.raises(JoseError):
        jwt.decode(forge(simulator, forged=True), keys, algorithms=["ES256"])


def test_the_check_can_be_down_while_keys_are_published(simulator):
    simulator.faults(verify_down=True)
    assert verify(simulator, session(simulator).json["idToken"]).status == 503
    assert simulator.line("GET", "/oauth2/v2.1/certs", token=None).status == 200
    simulator.faults(certs_down=True)
    assert simulator.line("GET", "/oauth2/v2.1/certs", token=None).status == 503


# User access tokens


def test_access_token_belongs_to_the_login_channel(simulator):
    token = session(simulator).json["accessToken"]
    answer = simulator.line("GET", f"/oauth2/v2.1/verify?access_token={token}", token=None)
    assert answer.json["client_id"] == LOGIN_CHANNEL
    assert answer.json["expires_in"] > 0
    own = simulator.line("GET", "/v2/profile", token=token)
    assert own.json["userId"] == simulator.user_id("c1")


def test_deauthorizing_ends_the_access_token(simulator):
    token = session(simulator).json["accessToken"]
    body = {"userAccessToken": token}
    assert simulator.line("POST", "/user/v1/deauthorize", body).status == 204
    assert simulator.line("GET", "/v2/profile", token=token).status == 401
    assert simulator.state["customers"][0]["deauthorized"] is True
    assert simulator.line("POST", "/user/v1/deauthorize", body).status == 400


def test_friendship_follows_the_follow_button(simulator, shop):
    token = session(simulator).json["accessToken"]
    path = "/friendship/v1/status"
    assert simulator.line("GET", path, token=token).json == {"friendFlag": False}
    simulator.act("c1", "follow")
    assert simulator.line("GET", path, token=token).json == {"friendFlag": True}


# LIFF


def test_the_script_is_served_to_any_page(simulator):
    answer = simulator.line("GET", "/liff/sdk.js", token=None)
    assert answer.headers["Content-Type"].startswith("text/javascript")
    assert b"window.liff" in answer.raw


def test_a_session_may_be_fetched_from_the_customers_host(simulator):
    assert session(simulator).headers["Access-Control-Allow-Origin"] == "*"


def test_a_session_needs_the_right_liff_id_and_customer(simulator):
    assert session(simulator, liff_id="1-other").json["code"] == "INVALID_CONFIG"
    assert session(simulator, customer="c99").json["code"] == "UNAUTHORIZED"


def test_messages_of_a_page_come_from_the_customer(simulator, shop):
    token = session(simulator).json["accessToken"]
    body = {"accessToken": token, "messages": [{"type": "text", "text": "โค้ด ABC"}]}
    assert simulator.line("POST", "/liff/messages", body, token=None).status == 200
    assert shop.wait_for(1)[0].events[0]["message"]["text"] == "โค้ด ABC"


def test_flex_messages_of_a_page_make_no_webhook(simulator, shop):
    token = session(simulator).json["accessToken"]
    bubble = {"type": "bubble", "body": {"type": "box", "layout": "vertical", "contents": []}}
    flex = {"type": "flex", "altText": "ใบเสร็จ", "contents": bubble}
    messages = [flex, {"type": "text", "text": "เสร็จ"}]
    body = {"accessToken": token, "messages": messages}
    simulator.line("POST", "/liff/messages", body, token=None)
    shop.wait_for(1)
    assert [event["message"]["type"] for event in shop.events] == ["text"]
    assert len(simulator.chat()) == 2


def test_a_plain_browser_is_asked_who_it_is(simulator):
    answer = simulator.line("GET", f"/liff/{LIFF_ID}/coupons?offer=3", token=None)
    page = answer.raw.decode()
    assert "http://c2.localhost:" in page
    assert "/m?liff.state=%2Fcoupons%3Foffer%3D3" in page
    assert "มาลี รักกาแฟ" in page


def test_an_unknown_liff_app_is_not_found(simulator):
    assert simulator.line("GET", "/liff/1-other/x", token=None).status == 404


# What links open


def test_links_of_the_shop_open_on_the_customers_own_host(simulator, shop):
    port = shop.url.rsplit(":", 1)[1]
    opened = simulator.act("c2", "open", uri=f"{shop.url}/m/card?x=1#top")
    assert opened == {"url": f"http://c2.localhost:{port}/m/card?x=1#top"}


def test_other_links_stay_as_they_are(simulator):
    uri = "https://example.com/map"
    assert simulator.act("c1", "open", uri=uri) == {"url": uri}


@pytest.mark.parametrize(
    "rest, query",
    [
        ("/coupons?offer=3", "?liff.state=%2Fcoupons%3Foffer%3D3"),
        ("?ref=abc", "?liff.state=%3Fref%3Dabc"),
        ("", ""),
    ],
)
def test_liff_links_open_the_endpoint_with_the_rest_in_state(simulator, shop, rest, query):
    port = shop.url.rsplit(":", 1)[1]
    for base in (
        f"https://liff.line.me/{LIFF_ID}",
        f"{simulator.settings.public_url}/liff/{LIFF_ID}",
    ):
        opened = simulator.act("c1", "open", uri=base + rest)
        assert opened == {"url": f"http://c1.localhost:{port}/m{query}"}


def test_a_chat_link_prefills_the_text(simulator):
    uri = "https://line.me/R/oaMessage/%40taem/?%E0%B9%81%E0%B8%95%E0%B9%89%E0%B8%A1%20A1"
    assert simulator.act("c1", "open", uri=uri) == {"prefill": "แต้ม A1"}


def test_an_account_link_offers_to_add_the_shop(simulator):
    assert simulator.act("c1", "open", uri="https://line.me/R/ti/p/%40taem") == {"addFriend": True}
