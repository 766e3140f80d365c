"""The account as the product sees it: profiles, followers, counts, courtesies."""

from __future__ import annotations

import pytest


def test_profile_of_a_friend(simulator, friend):
    profile = simulator.line("GET", f"/v2/bot/profile/{friend}").json
    assert profile["displayName"] == "สมชาย ใจดี"
    assert profile["language"] == "th"
    assert profile["pictureUrl"].endswith("/sim/pictures/c1.png")


def test_profile_without_a_picture_has_no_such_key(simulator, friend):
    simulator.sim("PATCH", "/customers/c1", {"picture": ""})
    assert "pictureUrl" not in simulator.line("GET", f"/v2/bot/profile/{friend}").json


def test_profile_of_somebody_who_blocks_is_not_found(simulator, friend):
    simulator.act("c1", "block")
    assert simulator.line("GET", f"/v2/bot/profile/{friend}").status == 404


@pytest.mark.parametrize("user", ["U" + "0" * 32, "nobody"])
def test_profile_of_nobody_is_not_found(simulator, user):
    assert simulator.line("GET", f"/v2/bot/profile/{user}").status == 404


def test_followers_are_refused_to_unverified_accounts(simulator, friend):
    assert simulator.line("GET", "/v2/bot/followers/ids").status == 403


def test_followers_are_listed_page_by_page(start_simulator, shop):
    simulator = start_simulator(is_verified_account=True)
    for customer in ("c1", "c2", "c3"):
        simulator.act(customer, "follow")
    first = simulator.line("GET", "/v2/bot/followers/ids?limit=2").json
    second = simulator.line("GET", f"/v2/bot/followers/ids?start={first['next']}").json
    users = [simulator.user_id(customer) for customer in ("c1", "c2", "c3")]
    assert first["userIds"] + second["userIds"] == users
    assert "next" not in second


def test_account_tells_who_it_is(simulator):
    info = simulator.line("GET", "/v2/bot/info").json
    assert info["displayName"] == "ร้านกาแฟแต้มดี"
    assert info["chatMode"] == "bot"
    assert info["markAsReadMode"] == "auto"


def test_todays_deliveries_are_not_ready_and_yesterdays_are(simulator, friend):
    simulator.push(friend)
    today = simulator.world.clock.line_day()
    path = f"/v2/bot/message/delivery/push?date={today}"
    assert simulator.line("GET", path).json == {"status": "unready"}
    simulator.faults(time_offset_seconds=86_400)
    assert simulator.line("GET", path).json == {"status": "ready", "success": 1}


def test_deliveries_need_a_date(simulator):
    assert simulator.line("GET", "/v2/bot/message/delivery/push").status == 400
    assert simulator.line("GET", "/v2/bot/message/delivery/push?date=today").status == 400


def test_loading_dots_show_until_the_next_message(simulator, friend):
    body = {"chatId": friend, "loadingSeconds": 20}
    assert simulator.line("POST", "/v2/bot/chat/loading/start", body).status == 202
    assert simulator.sim("GET", "/customers/c1")["loadingUntil"]
    simulator.push(friend)
    assert simulator.sim("GET", "/customers/c1")["loadingUntil"] is None


@pytest.mark.parametrize("seconds", [0, 4, 7, 65, "20"])
def test_loading_takes_5_to_60_seconds_in_fives(simulator, friend, seconds):
    body = {"chatId": friend, "loadingSeconds": seconds}
    assert simulator.line("POST", "/v2/bot/chat/loading/start", body).status == 400


def test_an_unknown_endpoint_answers_like_line(simulator):
    answer = simulator.line("GET", "/v2/bot/teapot")
    assert (answer.status, answer.message) == (404, "Not found")
