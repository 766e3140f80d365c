"""Faults of the API: each does what its name says, as often as it was told to."""

from __future__ import annotations

import time

import pytest
import urllib3

from tests.simulator.harness import TOKEN, new_key, text


@pytest.mark.parametrize(
    "name, status",
    [
        ("400", 400), ("401", 401), ("403", 403), ("404", 404), ("409plain", 409), ("410", 410),
        ("500", 500), ("502", 502), ("503", 503),
    ],
)  # fmt: skip
def test_a_group_answers_as_it_is_told(simulator, friend, name, status):
    simulator.faults(push=name)
    assert simulator.push(friend).status == status
    assert simulator.journal == []


def test_a_plain_409_names_no_accepted_request(simulator, friend):
    simulator.faults(push="409plain")
    assert "x-line-accepted-request-id" not in simulator.push(friend, key=new_key()).headers


@pytest.mark.parametrize(
    "name, words",
    [
        ("429rate", "The API rate limit has been exceeded. Try again later."),
        ("429month", "You have reached your monthly limit."),
    ],
)
def test_both_429s_have_lines_words(simulator, friend, name, words):
    simulator.faults(push=name)
    answer = simulator.push(friend)
    assert (answer.status, answer.message) == (429, words)


def test_a_redirect_leads_elsewhere(simulator, friend):
    simulator.faults(push="302")
    answer = simulator.push(friend)
    assert answer.status == 302
    simulator.line("POST", answer.headers["Location"].removeprefix(simulator.settings.public_url))
    assert simulator.sim("GET", "/calls")[-1]["hasToken"] is True


@pytest.mark.parametrize("name", ["html200", "empty200", "cutjson"])
def test_an_unreadable_200_was_accepted(simulator, friend, name):
    key = new_key()
    simulator.faults(push=name)
    answer = simulator.push(friend, key=key)
    assert answer.status == 200
    with pytest.raises(ValueError):
        assert answer.json
    simulator.sim("POST", "/faults/clear")
    assert simulator.push(friend, key=key).status == 409
    assert len(simulator.said_by_shop()) == 1


def test_other_groups_are_left_alone(simulator, friend):
    simulator.faults(multicast="500")
    assert simulator.push(friend).status == 200


def test_any_means_every_endpoint(simulator, friend):
    simulator.faults(any="503")
    assert simulator.push(friend).status == 503
    assert simulator.line("GET", "/v2/bot/info").status == 503


def test_a_fault_can_wait_and_end(simulator, friend):
    simulator.faults(push={"status": "500", "after": 2, "count": 1})
    assert [simulator.push(friend).status for _ in range(4)] == [200, 200, 500, 200]


def test_a_fault_can_aim_at_one_user(simulator, friend):
    simulator.act("c2", "follow")
    simulator.faults(push={"status": "400", "to": friend})
    assert simulator.push(friend).status == 400
    assert simulator.push(simulator.user_id("c2")).status == 200


def test_a_share_strikes_the_same_calls_for_the_same_seed(simulator, friend):
    def statuses():
        simulator.faults(push={"status": "500", "rate": 0.5, "seed": 11})
        return [simulator.push(friend).status for _ in range(20)]

    first = statuses()
    assert set(first) == {200, 500}
    assert statuses() == first


def test_delivered_then_500_delivers(simulator, friend):
    key = new_key()
    simulator.faults(delivered_then_500=True)
    assert simulator.push(friend, key=key).status == 500
    simulator.faults(delivered_then_500=False)
    assert simulator.push(friend, key=key).status == 409
    assert len(simulator.said_by_shop()) == 1


def test_a_refused_call_is_not_delivered_then_500(simulator, friend):
    simulator.faults(delivered_then_500=True)
    assert simulator.push(friend, text("")).status == 400


def test_drop_after_delivery_delivers(simulator, friend):
    simulator.faults(drop_after_delivery=True)
    with pytest.raises(urllib3.exceptions.ProtocolError):
        simulator.push(friend)
    simulator.sim("POST", "/faults/clear")
    assert len(simulator.said_by_shop()) == 1


def test_drop_before_delivers_nothing(simulator, friend):
    simulator.faults(drop_before={"count": 1})
    with pytest.raises(urllib3.exceptions.ProtocolError):
        simulator.push(friend)
    assert simulator.push(friend).status == 200
    assert len(simulator.said_by_shop()) == 1


def test_a_hanging_call_is_not_handled_once_the_caller_left(simulator, friend):
    simulator.faults(hang_seconds=0.6)
    body = {"to": friend, "messages": [text()]}
    with pytest.raises(urllib3.exceptions.TimeoutError):
        simulator.line("POST", "/v2/bot/message/push", body, timeout=0.2)
    time.sleep(0.8)
    assert simulator.said_by_shop() == []


def test_hanging_after_delivery_delivers(simulator, friend):
    simulator.faults(hang_after_seconds=0.6)
    body = {"to": friend, "messages": [text()]}
    with pytest.raises(urllib3.exceptions.TimeoutError):
        simulator.line("POST", "/v2/bot/message/push", body, timeout=0.2)
    assert len(simulator.said_by_shop()) == 1


def test_slow_bytes_come_one_by_one(simulator, friend):
    simulator.faults(slow_bytes=0.005)
    began = time.monotonic()
    answer = simulator.push(friend)
    assert answer.json["sentMessages"]
    assert time.monotonic() - began >= 0.005 * len(answer.raw)


def test_refusals_can_carry_retry_after(simulator, friend):
    simulator.faults(push="429rate", retry_after_header=7200)
    assert simulator.push(friend).headers["Retry-After"] == "7200"


def test_revoked_tokens_are_refused_and_new_ones_accepted(simulator, friend):
    old = simulator.form(
        "/oauth2/v3/token",
        grant_type="client_credentials",
        client_id=simulator.settings.channel_id,
        client_secret=simulator.settings.channel_secret,
    ).json["access_token"]
    simulator.faults(token_revoked=True)
    assert simulator.push(friend).status == 401
    assert simulator.line("GET", "/v2/bot/info", token=old).status == 401
    new = simulator.form(
        "/oauth2/v3/token",
        grant_type="client_credentials",
        client_id=simulator.settings.channel_id,
        client_secret=simulator.settings.channel_secret,
    ).json["access_token"]
    assert simulator.line("GET", "/v2/bot/info", token=new).status == 200
    simulator.faults(token_revoked=False)
    assert simulator.line("GET", "/v2/bot/info", token=TOKEN).status == 200


def test_another_token_can_be_let_in(simulator):
    simulator.faults(token_revoked=True, extra_token="second-token")
    assert simulator.line("GET", "/v2/bot/info", token="second-token").status == 200


def test_profiles_can_be_hidden(simulator, friend):
    assert simulator.line("GET", f"/v2/bot/profile/{friend}").status == 200
    simulator.faults(profile_404=True)
    assert simulator.line("GET", f"/v2/bot/profile/{friend}").status == 404


def test_used_quota_can_be_set(simulator, friend):
    simulator.faults(quota_limit=100, quota_used=100)
    assert simulator.push(friend).status == 429
    assert simulator.state["quota"] == {"type": "limited", "value": 100, "used": 100}


def test_state_shows_what_is_switched_on(simulator):
    simulator.faults(push="500", webhook_duplicate=1)
    assert simulator.state["faults"] == {"push": "500", "webhook_duplicate": 1}
    simulator.faults(push=None)
    assert simulator.state["faults"] == {"webhook_duplicate": 1}


@pytest.mark.parametrize("fault", [{"gremlins": True}, {"push": "418"}])
def test_refuses_an_unknown_fault(simulator, fault):
    answer = simulator.line("POST", "/sim/faults", fault, token=None)
    assert answer.status == 400


def test_cut_connections_are_counted(simulator, friend):
    simulator.faults(drop_before=True)
    with pytest.raises(urllib3.exceptions.ProtocolError):
        simulator.push(friend)
    assert simulator.sim("GET", "/journal/count")["answers"]["push"] == {"0": 1}
