"""ID tokens of every bad kind, and LINE's keys and verify endpoint up and down."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import OctKey

from bot import login
from bot.login import LoginRefused, LoginUnavailable, Verifier
from tests.factories import make_settings
from tests.line import LOGIN_CHANNEL_ID, SimulatedLine, running_line

SECRET = "login-channel-secret-of-the-tests"


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatedLine]:
    with running_line(tmp_path_factory.mktemp("line"), LINE_LOGIN_CHANNEL_SECRET=SECRET) as line:
        yield line


@pytest.fixture
def line(simulated: SimulatedLine) -> Iterator[SimulatedLine]:
    simulated.post("/sim/reset")
    yield simulated
    simulated.clear_faults()


def verifier(line: SimulatedLine, **more: Any) -> Verifier:
    values = {"line_login_channel_id": LOGIN_CHANNEL_ID} | more
    return Verifier(make_settings("sqlite://", line_api_url=line.url, **values))


def real_now() -> datetime:
    return datetime.now(UTC)


def id_token(line: SimulatedLine, **more: Any) -> str:
    claims = more.pop("claims", {})
    token: str = line.post("/sim/id-token", {"customer": "c1", "claims": claims, **more})["idToken"]
    return token


def unsigned(header: dict[str, Any], claims: dict[str, Any]) -> str:
    parts = [
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()
        for part in (header, claims)
    ]
    return f"{parts[0]}.{parts[1]}."


def seconds(**span: float) -> int:
    return int((real_now() + timedelta(**span)).timestamp())


def good_claims(line: SimulatedLine, **more: Any) -> dict[str, Any]:
    return {
        "iss": login.ISSUER,
        "aud": LOGIN_CHANNEL_ID,
        "sub": line.user_id(),
        "iat": seconds(),
        "exp": seconds(hours=1),
    } | more


def test_names_the_user_of_a_good_token(line: SimulatedLine):
    identity = verifier(line).verify(id_token(line), real_now())
    assert identity.line_user_id == line.user_id()
    assert identity.name == "สมชาย ใจดี"
    assert timedelta(minutes=59) < identity.expires_at - real_now() < timedelta(minutes=61)


def test_asks_line_for_its_keys_once(line: SimulatedLine):
    checker = verifier(line)
    before = sum(line.answers("token.certs").values())
    for _ in range(3):
        checker.verify(id_token(line), real_now())
    assert sum(line.answers("token.certs").values()) == before + 1


def access_token(line: SimulatedLine) -> str:
    return "eyJhbGciOiJIUzI1NiJ9opaqueaccesstoken"


def claims_with_public_key_as_secret(line: SimulatedLine) -> str:
    published = line.get("/oauth2/v2.1/certs")["keys"][0]
    key = OctKey.import_key(json.dumps(published))
    header = {"alg": "HS256", "kid": published["kid"]}
    return jwt.encode(header, good_claims(line), key, algorithms=["HS256"])


BAD_TOKENS: dict[str, Callable[[SimulatedLine], str]] = {
    "none": lambda line: unsigned({"alg": "none"}, good_claims(line)),
    "none_with_signature": lambda line: unsigned({"alg": "none"}, good_claims(line)) + "AAAA",
    "hs256_with_the_public_key": claims_with_public_key_as_secret,
    "hs256_with_another_secret": lambda line: jwt.encode(
        {"alg": "HS256"}, good_claims(line), OctKey.import_key("x" * 40), algorithms=["HS256"]
    ),
    "other_channel": lambda line: id_token(line, claims={"aud": "1650000001"}),
    "other_channels_too": lambda line: id_token(
        line, claims={"aud": [LOGIN_CHANNEL_ID, "1650000009"]}
    ),
    "other_issuer": lambda line: id_token(line, claims={"iss": "https://access.line.me.evil"}),
    "expired": lambda line: id_token(line, claims={"exp": seconds(seconds=-31)}),
    "from_the_future": lambda line: id_token(line, claims={"iat": seconds(minutes=2)}),
    "no_expiry": lambda line: id_token(line, claims={"exp": None}),
    "expiry_as_text": lambda line: id_token(line, claims={"exp": str(seconds(hours=1))}),
    "endless": lambda line: id_token(line, claims={"exp": 10**18}),
    "no_user": lambda line: id_token(line, claims={"sub": None}),
    "user_of_another_kind": lambda line: id_token(line, claims={"sub": "somchai"}),
    "forged": lambda line: id_token(line, forged=True),
    "access_token": access_token,
    "empty": lambda _line: "",
    "dots": lambda _line: "..",
    "two_tokens": lambda line: f"{id_token(line)} {id_token(line)}",
    "two_tokens_with_comma": lambda line: f"{id_token(line)},{id_token(line)}",
    "bearer": lambda line: f"Bearer {id_token(line)}",
    "newline": lambda line: id_token(line) + "\n",
    "changed_payload": lambda line: _swapped(id_token(line), id_token(line, customer="c2")),
    "too_long": lambda _line: f"{'A' * 900}.{'B' * 3000}.{'C' * 512}",
    "header_is_a_list": lambda _line: "W10.e30.AAAA",
    "not_json": lambda _line: "AAAA.BBBB.CCCC",
    "thai": lambda _line: "ก.ข.ค",
}


def _swapped(first: str, second: str) -> str:
    head, _, signature = first.split(".")
    return f"{head}.{second.split('.')[1]}.{signature}"


@pytest.mark.parametrize("kind", BAD_TOKENS)
def test_FQ06_refuses_every_bad_token_alike(line: SimulatedLine, kind: str):
    checker = verifier(line, line_login_channel_secret=SECRET)
    with pytest.raises(LoginRefused) as refused:
        checker.verify(BAD_TOKENS[kind](line), real_now())
    assert (refused.value.code, refused.value.status, refused.value.facts) == (
        "login.refused",
        401,
        {},
    )


def test_leaves_thirty_seconds_to_clocks(line: SimulatedLine):
    token = id_token(line, claims={"exp": seconds(seconds=-20), "iat": seconds(seconds=20)})
    assert verifier(line).verify(token, real_now()).line_user_id == line.user_id()


def test_takes_web_login_tokens_only_with_a_secret(line: SimulatedLine):
    token = id_token(line, alg="HS256")
    with_secret = verifier(line, line_login_channel_secret=SECRET)
    assert with_secret.verify(token, real_now()).line_user_id == line.user_id()
    with pytest.raises(LoginRefused):
        verifier(line).verify(token, real_now())


def test_refuses_everybody_without_a_login_channel(line: SimulatedLine):
    with pytest.raises(LoginRefused):
        verifier(line, line_login_channel_id="").verify(id_token(line), real_now())


def test_checks_the_nonce_where_there_is_one(line: SimulatedLine):
    token = id_token(line, claims={"nonce": "abc"})
    assert verifier(line).verify(token, real_now(), nonce="abc")
    with pytest.raises(LoginRefused):
        verifier(line).verify(token, real_now(), nonce="other")


def test_FL18_verifies_locally_while_line_is_down(line: SimulatedLine):
    checker = verifier(line)
    checker.verify(id_token(line), real_now())
    line.switch(verify_down=True, certs_down=True)
    assert checker.verify(id_token(line), real_now()).line_user_id == line.user_id()
    # Old keys still decide after a day, when LINE cannot be asked for new ones.
    tomorrow = real_now() + timedelta(hours=25)
    token = id_token(line, claims={"iat": seconds(hours=25), "exp": seconds(hours=26)})
    assert checker.verify(token, tomorrow).line_user_id == line.user_id()


def test_FL18_asks_line_to_verify_when_its_keys_are_away(line: SimulatedLine):
    line.switch(certs_down=True)
    assert verifier(line).verify(id_token(line), real_now()).line_user_id == line.user_id()
    assert line.answers("token.verify_id")["200"] == 1


def test_FL18_believes_lines_refusal_when_its_keys_are_away(line: SimulatedLine):
    line.switch(certs_down=True)
    with pytest.raises(LoginRefused):
        verifier(line).verify(id_token(line, forged=True), real_now())


@pytest.mark.parametrize("is_forged", [False, True])
def test_FL18_is_never_open_when_nothing_can_be_asked(line: SimulatedLine, is_forged: bool):
    line.switch(certs_down=True, verify_down=True)
    with pytest.raises(LoginUnavailable) as away:
        verifier(line).verify(id_token(line, forged=is_forged), real_now())
    assert (away.value.code, away.value.status) == ("login.unavailable", 503)


def test_FL05_waits_for_no_answer_that_comes_a_byte_at_a_time(
    line: SimulatedLine, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(login, "ANSWER_SECONDS", 0.3)
    token = id_token(line)
    line.switch(slow_bytes=0.25)
    began = time.monotonic()
    with pytest.raises(LoginUnavailable):
        verifier(line).verify(token, real_now())
    assert time.monotonic() - began < 5


def test_is_unavailable_when_nobody_listens(line: SimulatedLine):
    token = id_token(line)
    settings = make_settings("sqlite://", line_login_channel_id=LOGIN_CHANNEL_ID)
    with pytest.raises(LoginUnavailable):
        Verifier(settings).verify(token, real_now())


def test_made_up_key_ids_do_not_make_us_hammer_line(line: SimulatedLine):
    checker = verifier(line)
    checker.verify(id_token(line), real_now())
    before = sum(line.answers("token.certs").values())
    head = {"alg": "ES256", "kid": "made-up"}
    for number in range(20):
        token = unsigned(head | {"n": number}, good_claims(line)) + "AAAA"
        with pytest.raises(LoginRefused):
            checker.verify(token, real_now())
    assert sum(line.answers("token.certs").values()) == before


def test_one_verifier_serves_the_process(line: SimulatedLine):
    settings = make_settings(
        "sqlite://", line_api_url=line.url, line_login_channel_id=LOGIN_CHANNEL_ID
    )
    before = sum(line.answers("token.certs").values())
    for _ in range(3):
        assert login.verify(settings, id_token(line), real_now()).line_user_id == line.user_id()
        time.sleep(0.01)
    assert sum(line.answers("token.certs").values()) == before + 1
