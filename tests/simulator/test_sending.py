"""Reply, push and multicast: what LINE accepts, refuses, remembers and counts."""

from __future__ import annotations

import pytest

from tests.simulator.harness import new_key, text

NOBODY = "U" + "0" * 32


def test_push_reaches_the_friends_chat(simulator, friend):
    answer = simulator.push(friend, text("ได้แต้มแล้ว"))
    assert answer.status == 200
    assert simulator.said_by_shop() == ["ได้แต้มแล้ว"]


def test_push_answers_one_sent_message_each(simulator, friend):
    sent = simulator.push(friend, text("หนึ่ง"), text("สอง")).json["sentMessages"]
    assert [sorted(one) for one in sent] == [["id", "quoteToken"], ["id", "quoteToken"]]
    assert sent[0]["id"].isdigit()
    assert sent[0]["id"] != sent[1]["id"]


def test_every_answer_carries_a_request_id_of_its_own(simulator, friend):
    accepted = simulator.push(friend).headers["x-line-request-id"]
    refused = simulator.push("nobody").headers["x-line-request-id"]
    unknown = simulator.line("GET", "/v2/bot/nothing").headers["x-line-request-id"]
    assert len({accepted, refused, unknown}) == 3


def test_refuses_a_wrong_token(simulator, friend):
    body = {"to": friend, "messages": [text()]}
    answer = simulator.line("POST", "/v2/bot/message/push", body, token="stolen")
    assert answer.status == 401
    assert answer.message.startswith("Authentication failed")
    assert simulator.journal == []


def test_refuses_a_missing_token(simulator, friend):
    body = {"to": friend, "messages": [text()]}
    assert simulator.line("POST", "/v2/bot/message/push", body, token=None).status == 401


@pytest.mark.parametrize("to", ["@taem", "0812345678", "U123", None, 7, "u" + "0" * 32])
def test_refuses_an_invalid_recipient(simulator, to):
    answer = simulator.push(to)
    assert answer.status == 400
    assert answer.message.startswith("The property, 'to', in the request body is invalid")


def test_refuses_a_user_of_another_channel(simulator):
    answer = simulator.push(NOBODY)
    assert (answer.status, answer.message) == (400, "Failed to send messages")


def test_accepts_a_friend_without_a_phone(simulator):
    simulator.sim("POST", "/silent-friends", {"userIds": [NOBODY]})
    assert simulator.push(NOBODY).status == 200


def test_accepts_but_does_not_deliver_to_a_customer_who_blocks(simulator, friend):
    simulator.act("c1", "block")
    assert simulator.push(friend).status == 200
    assert simulator.said_by_shop() == []
    assert [one["delivered"] for one in simulator.journal] == [False]


def test_blocked_recipients_cost_no_quota(simulator, friend):
    simulator.act("c1", "block")
    simulator.push(friend)
    assert simulator.line("GET", "/v2/bot/message/quota/consumption").json == {"totalUsage": 0}


def test_a_stranger_who_wrote_this_week_gets_pushes(simulator):
    simulator.act("c2", "text", text="ร้านเปิดกี่โมง")
    simulator.push(simulator.user_id("c2"), text("แปดโมงค่ะ"))
    assert simulator.said_by_shop("c2") == ["แปดโมงค่ะ"]


def test_a_stranger_who_never_wrote_gets_nothing(simulator):
    assert simulator.push(simulator.user_id("c2")).status == 200
    assert simulator.said_by_shop("c2") == []


# Retry keys


def test_refuses_the_same_retry_key_and_names_the_first_request(simulator, friend):
    key = new_key()
    first = simulator.push(friend, key=key)
    second = simulator.push(friend, key=key)
    assert (second.status, second.message) == (409, "The retry key is already accepted")
    accepted = second.headers["x-line-accepted-request-id"]
    assert accepted == first.headers["x-line-request-id"]
    assert second.json["sentMessages"] == first.json["sentMessages"]
    assert len(simulator.said_by_shop()) == 1


def test_a_retry_key_is_the_same_in_capitals(simulator, friend):
    key = new_key()
    simulator.push(friend, key=key)
    assert simulator.push(friend, key=key.upper()).status == 409


def test_multicast_remembers_its_key_without_sent_messages(simulator, friend):
    key = new_key()
    assert simulator.multicast([friend], key=key).json == {}
    answer = simulator.multicast([friend], key=key)
    assert answer.status == 409
    assert "sentMessages" not in answer.json


def test_forgets_a_retry_key_after_24_hours(simulator, friend):
    key = new_key()
    simulator.push(friend, key=key)
    simulator.faults(time_offset_seconds=86_399)
    assert simulator.push(friend, key=key).status == 409
    simulator.faults(time_offset_seconds=86_401)
    assert simulator.push(friend, key=key).status == 200
    assert len(simulator.said_by_shop()) == 2


def test_a_refused_call_leaves_its_key_unused(simulator, friend):
    key = new_key()
    assert simulator.push(friend, text(""), key=key).status == 400
    assert simulator.push(friend, key=key).status == 200


def test_refuses_a_retry_key_that_is_no_uuid(simulator, friend):
    assert simulator.push(friend, key="order-17").status == 400
    assert simulator.journal == []


def test_refuses_a_retry_key_on_reply(simulator, friend, shop):
    simulator.act("c1", "text", text="แต้ม")
    token = shop.wait_for(1)[0].events[0]["replyToken"]
    assert simulator.reply(token, headers={"X-Line-Retry-Key": new_key()}).status == 400
    assert simulator.reply(token).status == 200


# Reply tokens


@pytest.fixture
def reply_token(simulator, friend, shop):
    simulator.act("c1", "text", text="แต้ม")
    return shop.wait_for(1)[0].events[0]["replyToken"]


def test_replies_once(simulator, reply_token):
    assert simulator.reply(reply_token, text("คุณมี 5 แต้ม")).status == 200
    answer = simulator.reply(reply_token, text("อีกครั้ง"))
    assert (answer.status, answer.message) == (400, "Invalid reply token")
    assert simulator.said_by_shop() == ["คุณมี 5 แต้ม"]


def test_refuses_an_invented_reply_token(simulator):
    assert simulator.reply("f" * 32).message == "Invalid reply token"


def test_a_reply_token_dies_after_a_minute(simulator, reply_token):
    simulator.world.reply_tokens[reply_token].valid_until -= 60
    assert simulator.reply(reply_token).message == "Invalid reply token"


def test_a_moved_clock_does_not_age_a_reply_token(simulator, reply_token):
    simulator.faults(time_offset_seconds=86_400)
    assert simulator.reply(reply_token).status == 200


def test_a_refused_reply_leaves_the_token_usable(simulator, reply_token):
    assert simulator.reply(reply_token, text("")).status == 400
    assert simulator.reply(reply_token).status == 200


def test_replies_are_free(simulator, reply_token):
    simulator.reply(reply_token)
    assert simulator.line("GET", "/v2/bot/message/quota/consumption").json == {"totalUsage": 0}


# Multicast


def test_multicast_reaches_each_friend_once(simulator, friend):
    simulator.act("c2", "follow")
    other = simulator.user_id("c2")
    assert simulator.multicast([friend, other, friend], text("ลดราคา")).status == 200
    assert simulator.said_by_shop("c1") == ["ลดราคา"]
    assert simulator.said_by_shop("c2") == ["ลดราคา"]


def test_multicast_is_all_or_nothing(simulator, friend):
    answer = simulator.multicast([friend, "U-invalid"])
    assert answer.status == 400
    assert answer.properties == ["to[1]"]
    assert simulator.said_by_shop() == []


def test_multicast_skips_unknown_users_silently(simulator, friend):
    assert simulator.multicast([friend, NOBODY]).status == 200
    assert simulator.journal[0]["deliveredTo"] == [friend]


def test_multicast_may_refuse_unknown_users(simulator, friend):
    simulator.faults(multicast_unknown_400=True)
    assert simulator.multicast([friend, NOBODY]).status == 400


@pytest.mark.parametrize("count", [0, 501])
def test_multicast_takes_1_to_500_users(simulator, count):
    users = [f"U{number:032x}" for number in range(count)]
    assert simulator.multicast(users).properties == ["to"]


def test_multicast_takes_500_users(simulator):
    assert simulator.multicast([f"U{number:032x}" for number in range(500)]).status == 200


def test_broadcast_reaches_all_friends(simulator, friend):
    answer = simulator.line("POST", "/v2/bot/message/broadcast", {"messages": [text("ข่าว")]})
    assert answer.json == {}
    assert simulator.said_by_shop() == ["ข่าว"]


# Quota


def test_monthly_quota_stops_pushes_but_not_replies(simulator, reply_token, friend):
    simulator.faults(quota_limit=1)
    assert simulator.push(friend).status == 200
    answer = simulator.push(friend)
    assert (answer.status, answer.message) == (429, "You have reached your monthly limit.")
    assert simulator.reply(reply_token).status == 200


def test_quota_begins_anew_in_the_next_month(simulator, friend):
    simulator.faults(quota_limit=1)
    simulator.push(friend)
    simulator.faults(time_offset_seconds=32 * 86_400)
    assert simulator.push(friend).status == 200


def test_quota_endpoint_tells_the_limit(simulator):
    simulator.faults(quota_limit=200)
    answer = simulator.line("GET", "/v2/bot/message/quota")
    assert answer.json == {"type": "limited", "value": 200}


def test_quota_endpoint_tells_of_no_limit(simulator):
    simulator.faults(quota_limit="none")
    assert simulator.line("GET", "/v2/bot/message/quota").json == {"type": "none"}


def test_five_messages_to_one_user_count_once(simulator, friend):
    simulator.push(friend, *[text()] * 5)
    assert simulator.line("GET", "/v2/bot/message/quota/consumption").json == {"totalUsage": 1}


def test_a_refused_multicast_beyond_the_quota_reaches_nobody(simulator, friend):
    simulator.act("c2", "follow")
    simulator.faults(quota_limit=1)
    assert simulator.multicast([friend, simulator.user_id("c2")]).status == 429
    assert simulator.journal == []


# Aggregation units


@pytest.mark.parametrize("units", [["a", "b"], [], ["ชื่อ"], ["x" * 31], "promo"])
def test_refuses_wrong_aggregation_units(simulator, friend, units):
    assert simulator.push(friend, customAggregationUnits=units).status == 400


def test_aggregation_units_are_listed(simulator, friend):
    simulator.push(friend, customAggregationUnits=["promo_1"])
    answer = simulator.line("GET", "/v2/bot/message/aggregation/list")
    assert answer.json == {"customAggregationUnits": ["promo_1"]}


def test_figures_of_fewer_than_20_people_stay_private(simulator, friend):
    for _ in range(20):
        simulator.push(friend, customAggregationUnits=["promo_1"])
    path = "/v2/bot/insight/message/event/aggregation"
    answer = simulator.line(
        "GET", f"{path}?customAggregationUnit=promo_1&from=20260101&to=20260131"
    )
    assert answer.json["overview"]["uniqueImpression"] is None
    assert answer.json["messages"] == [{"seq": 1, "impression": None, "uniqueImpression": None}]


@pytest.mark.parametrize("last", ["20251231", "20260201", "20260230"])
def test_figures_are_asked_for_31_days_at_most(simulator, last):
    path = "/v2/bot/insight/message/event/aggregation"
    asked = f"{path}?customAggregationUnit=promo_1&from=20260101&to={last}"
    assert simulator.line("GET", asked).status == 400


# Body


def test_refuses_a_body_over_2_mb(simulator, friend):
    assert simulator.push(friend, text("x" * 2_200_000)).status == 413


def test_refuses_a_body_that_is_no_json(simulator):
    headers = {"Content-Type": "application/json"}
    answer = simulator.line("POST", "/v2/bot/message/push", b'{"to":', headers=headers)
    assert answer.status == 400


def test_refuses_another_media_type(simulator):
    headers = {"Content-Type": "text/plain"}
    answer = simulator.line("POST", "/v2/bot/message/push", b"{}", headers=headers)
    assert answer.status == 415


# Rate limits


def test_answers_429_when_the_bucket_is_empty(start_simulator):
    simulator = start_simulator(burst_seconds=0.001)
    answers = [simulator.multicast([NOBODY]) for _ in range(8)]
    refused = [one for one in answers if one.status == 429]
    assert refused
    assert refused[0].message == "The API rate limit has been exceeded. Try again later."
    assert len(simulator.journal) == len(answers) - len(refused)


def test_each_endpoint_has_a_bucket_of_its_own(start_simulator):
    simulator = start_simulator(burst_seconds=0.001)
    assert {simulator.multicast([NOBODY]).status for _ in range(8)} == {200, 429}
    assert simulator.validate(text()).status == 200


def test_rate_limits_can_be_switched_off(start_simulator):
    simulator = start_simulator(burst_seconds=0.001, has_rate_limits=False)
    assert {simulator.multicast([NOBODY]).status for _ in range(8)} == {200}


# Validation endpoints and the journal


def test_validate_checks_without_sending(simulator, friend):
    assert simulator.validate(text()).status == 200
    assert simulator.validate(text("")).properties == ["messages[0].text"]
    assert simulator.journal == []


def test_journal_tells_who_got_what_under_which_key(simulator, friend):
    key = new_key()
    answer = simulator.push(friend, text("ครบ"), key=key)
    (entry,) = simulator.journal
    assert entry["kind"] == "push"
    assert entry["to"] == friend
    assert entry["messages"] == [text("ครบ")]
    assert entry["retryKey"] == key
    assert entry["requestId"] == answer.headers["x-line-request-id"]


def test_journal_can_be_read_from_an_index(simulator, friend):
    simulator.push(friend, text("หนึ่ง"))
    simulator.push(friend, text("สอง"))
    (entry,) = simulator.sim("GET", "/journal?since=1")
    assert entry["messages"] == [text("สอง")]


def test_journal_forgets_the_oldest_but_counts_all(start_simulator):
    simulator = start_simulator(journal_limit=2, accepts_unknown_users=True)
    for _ in range(3):
        simulator.push(NOBODY)
    assert [one["index"] for one in simulator.journal] == [1, 2]
    assert simulator.sim("GET", "/journal/count")["accepted"] == {"push": 3}


def test_journal_counts_the_answers_of_each_endpoint(simulator, friend):
    simulator.push(friend)
    simulator.push("nobody")
    assert simulator.sim("GET", "/journal/count")["answers"]["push"] == {"200": 1, "400": 1}


def test_journal_counts_how_often_each_user_was_reached(simulator, friend):
    simulator.push(friend)
    simulator.multicast([friend, NOBODY])
    assert simulator.sim("GET", "/journal/recipients") == {friend: 2}


# Fast mode


def test_fast_mode_accepts_what_load_generators_send(start_simulator):
    simulator = start_simulator(
        is_fast=True, accepts_unknown_users=True, accepts_unknown_reply_tokens=True
    )
    assert simulator.push(NOBODY).status == 200
    assert simulator.reply("0" * 32).status == 200
    assert simulator.reply("0" * 32).status == 400
    assert [one["messages"] for one in simulator.journal] == [None, None]


def test_fast_mode_still_refuses_what_has_no_messages(start_simulator):
    simulator = start_simulator(is_fast=True, accepts_unknown_users=True)
    body = {"to": NOBODY, "messages": []}
    assert simulator.line("POST", "/v2/bot/message/push", body).status == 400
