"""Events as LINE sends them: their shape, their signature, and when they come again."""

from __future__ import annotations

import io
import json
import re

import pytest
from PIL import Image

from tests.simulator.harness import SECRET, text, wait_until

ULID = re.compile(r"[0-9A-HJKMNP-TV-Z]{26}")
BY_HAND = {
    "type": "message",
    "webhookEventId": "01J0000000000000000000000A",
    "source": {"type": "user", "userId": "U" + "1" * 32},
}


def first_event(shop):
    return shop.wait_for(1)[0].events[0]


def test_signs_the_exact_bytes(simulator, shop):
    simulator.act("c1", "text", text="สวัสดี 😀")
    (received,) = shop.wait_for(1)
    assert received.is_signed_with(SECRET)
    assert not received.is_signed_with("another secret")


def test_signs_like_lines_published_example(simulator, shop):
    body = '{"destination":"U8e742f61d673b39c7fff3cecb7536ef0","events":[]}'
    simulator.sim("POST", "/webhook/raw", {"body": body})
    assert shop.wait_for(1)[0].signature == "GhRKmvmHys4Pi8DxkF4+EayaH0OqtJtaZxgTD9fMDLs="


def test_escapes_letters_beyond_the_basic_plane(simulator, shop):
    simulator.act("c1", "text", text="ชา 😀")
    raw = shop.wait_for(1)[0].raw
    assert rb"\ud83d\ude00" in raw
    assert "ชา".encode() in raw


def test_names_the_account_as_destination(simulator, shop):
    simulator.act("c1", "follow")
    body = json.loads(shop.wait_for(1)[0].raw)
    assert body["destination"] == simulator.line("GET", "/v2/bot/info").json["userId"]


def test_follow_event_can_be_answered(simulator, shop):
    simulator.act("c1", "follow")
    event = first_event(shop)
    assert event["type"] == "follow"
    assert event["follow"] == {"isUnblocked": False}
    assert event["mode"] == "active"
    assert event["source"] == {"type": "user", "userId": simulator.user_id("c1")}
    assert event["deliveryContext"] == {"isRedelivery": False}
    assert ULID.fullmatch(event["webhookEventId"])
    assert simulator.reply(event["replyToken"], text("ยินดีต้อนรับ")).status == 200
    assert simulator.said_by_shop() == ["ยินดีต้อนรับ"]


def test_unfollow_event_has_no_reply_token(simulator, friend, shop):
    simulator.act("c1", "block")
    event = first_event(shop)
    assert event["type"] == "unfollow"
    assert "replyToken" not in event


def test_unblocking_is_a_follow_that_says_so(simulator, friend, shop):
    simulator.act("c1", "block")
    simulator.act("c1", "unblock")
    assert shop.wait_for(2)[1].events[0]["follow"] == {"isUnblocked": True}


def test_text_event_carries_its_tokens(simulator, shop):
    number = simulator.act("c1", "text", text="แต้ม")["id"]
    message = first_event(shop)["message"]
    assert message["text"] == "แต้ม"
    assert message["id"] == number
    assert message["quoteToken"]
    assert message["markAsReadToken"]


def test_sticker_event_names_the_sticker(simulator, shop):
    simulator.act("c1", "sticker", packageId="446", stickerId="1988")
    message = first_event(shop)["message"]
    assert (message["packageId"], message["stickerId"]) == ("446", "1988")
    assert message["stickerResourceType"] == "STATIC"


def test_image_can_be_fetched_by_the_shop(simulator, shop):
    simulator.act("c1", "image")
    number = first_event(shop)["message"]["id"]
    answer = simulator.line("GET", f"/v2/bot/message/{number}/content")
    assert answer.headers["Content-Type"] == "image/png"
    assert answer.raw.startswith(b"\x89PNG")
    small = simulator.line("GET", f"/v2/bot/message/{number}/content/preview")
    assert max(Image.open(io.BytesIO(small.raw)).size) == 240


def test_content_that_is_gone_is_not_found(simulator):
    assert simulator.line("GET", "/v2/bot/message/1/content").status == 404


def test_location_event_has_a_place(simulator, shop):
    simulator.act("c1", "location")
    message = first_event(shop)["message"]
    assert message["type"] == "location"
    assert isinstance(message["latitude"], float)


def test_postback_event_carries_data_and_params(simulator, shop):
    simulator.act("c1", "postback", data="members.birthday", params={"date": "1990-01-31"})
    expected = {"data": "members.birthday", "params": {"date": "1990-01-31"}}
    assert first_event(shop)["postback"] == expected


def test_display_text_is_shown_but_not_sent(simulator, shop):
    simulator.act("c1", "postback", data="points.show", displayText="ดูแต้ม")
    first_event(shop)
    assert simulator.chat()[-1]["message"]["text"] == "ดูแต้ม"
    assert [event["type"] for event in shop.events] == ["postback"]


def test_unsend_names_the_message_and_takes_it_away(simulator, shop):
    number = simulator.act("c1", "text", text="พิมพ์ผิด")["id"]
    simulator.act("c1", "unsend", messageId=number)
    assert shop.wait_for(2)[1].events[0]["unsend"] == {"messageId": number}
    assert [line["from"] for line in simulator.chat()] == ["system"]


def test_marking_as_read_marks_the_customers_lines(simulator, shop):
    simulator.act("c1", "text", text="มีใครอยู่ไหม")
    token = first_event(shop)["message"]["markAsReadToken"]
    body = {"markAsReadToken": token}
    assert simulator.line("POST", "/v2/bot/chat/markAsRead", body).status == 200
    assert simulator.chat()[-1]["isRead"] is True


def test_events_of_one_customer_keep_their_order(simulator, shop):
    for number in range(20):
        simulator.act("c1", "text", text=str(number))
    shop.wait_for(20)
    assert [event["message"]["text"] for event in shop.events] == [str(n) for n in range(20)]


# Redelivery


def test_a_refused_webhook_comes_again_with_the_same_id(simulator, shop):
    shop.answers = [503, 503]
    simulator.act("c1", "follow")
    shop.wait_for(3)
    assert len({event["webhookEventId"] for event in shop.events}) == 1
    flags = [event["deliveryContext"]["isRedelivery"] for event in shop.events]
    assert flags == [False, True, True]
    wait_until(lambda: simulator.state["pendingWebhooks"] == 0)


def test_a_late_answer_counts_as_refused(start_simulator, shop):
    simulator = start_simulator(webhook_timeout_seconds=1.0)
    shop.delays = [1.5]
    simulator.act("c1", "follow")
    shop.wait_for(2)
    wait_until(lambda: simulator.state["pendingWebhooks"] == 0)
    assert simulator.state["webhookOutcomes"]["request_timeout"] == 1


def test_an_unreachable_shop_is_tried_again(start_simulator):
    simulator = start_simulator(taem_url="http://127.0.0.1:9", redelivery_attempts=3)
    simulator.act("c1", "follow")
    wait_until(lambda: simulator.state["webhookOutcomes"].get("could_not_connect") == 3)
    wait_until(lambda: simulator.state["undeliveredWebhooks"] == 1)


def test_a_redelivered_event_gives_its_token_another_minute(simulator, shop):
    shop.answers = [500]
    simulator.act("c1", "follow")
    token = shop.wait_for(1)[0].events[0]["replyToken"]
    simulator.world.reply_tokens[token].valid_until = 0
    shop.wait_for(2)
    wait_until(lambda: simulator.state["pendingWebhooks"] == 0)
    assert simulator.reply(token).status == 200


def test_a_token_of_an_event_over_20_minutes_old_stays_dead(simulator, shop):
    shop.answers = [500]
    simulator.act("c1", "follow")
    token = shop.wait_for(1)[0].events[0]["replyToken"]
    simulator.world.reply_tokens[token].event_at -= 1201
    simulator.world.reply_tokens[token].valid_until = 0
    shop.wait_for(2)
    wait_until(lambda: simulator.state["pendingWebhooks"] == 0)
    assert simulator.reply(token).status == 400


def test_redelivery_can_be_switched_off(simulator, shop):
    simulator.faults(redelivery_off=True)
    shop.answers = [500]
    simulator.act("c1", "follow")
    wait_until(lambda: simulator.state["undeliveredWebhooks"] == 1)
    assert len(shop.received) == 1


def test_the_undelivered_can_be_sent_by_hand(simulator, shop):
    simulator.faults(redelivery_off=True)
    shop.answers = [500]
    simulator.act("c1", "follow")
    wait_until(lambda: simulator.state["undeliveredWebhooks"] == 1)
    simulator.faults(redelivery_off=False)
    sent = simulator.sim("POST", "/webhook/redeliver", {"what": "undelivered"})
    assert sent == {"redelivered": 1}
    assert shop.wait_for(2)[1].events[0]["deliveryContext"] == {"isRedelivery": True}


def test_the_last_webhook_can_be_sent_again(simulator, friend, shop):
    simulator.act("c1", "text", text="แต้ม")
    shop.wait_for(1)
    simulator.sim("POST", "/webhook/redeliver", {"what": "last"})
    first, second = shop.wait_for(2)
    assert first.events[0]["webhookEventId"] == second.events[0]["webhookEventId"]
    assert second.events[0]["deliveryContext"] == {"isRedelivery": True}


# Faults of the webhook sender


def test_duplicates_are_not_marked_as_redelivered(simulator, shop):
    simulator.faults(webhook_duplicate=2)
    simulator.act("c1", "follow")
    shop.wait_for(3)
    assert len({event["webhookEventId"] for event in shop.events}) == 1
    assert not any(event["deliveryContext"]["isRedelivery"] for event in shop.events)


def test_a_batch_holds_events_of_several_customers(simulator, shop):
    simulator.faults(webhook_batch=True)
    simulator.act("c1", "follow")
    simulator.act("c2", "follow")
    simulator.act("c3", "text", text="hello")
    (received,) = shop.wait_for(1)
    assert len({event["source"]["userId"] for event in received.events}) == 3


def test_disorder_sends_everything_in_another_order(simulator, shop):
    simulator.faults(webhook_reorder=True)
    for number in range(10):
        simulator.act("c1", "text", text=str(number))
    shop.wait_for(10)
    texts = [event["message"]["text"] for event in shop.events]
    assert texts != [str(n) for n in range(10)]
    assert sorted(texts) == [str(n) for n in range(10)]


def test_an_empty_post_can_precede_each_webhook(simulator, shop):
    simulator.faults(webhook_empty_events=True)
    simulator.act("c1", "follow")
    assert [len(one.events) for one in shop.wait_for(2)] == [0, 1]


def test_standby_events_have_no_reply_token(simulator, shop):
    simulator.faults(webhook_standby=True)
    simulator.act("c1", "text", text="แต้ม")
    event = first_event(shop)
    assert event["mode"] == "standby"
    assert "replyToken" not in event


def test_an_unknown_type_travels_along(simulator, shop):
    simulator.faults(webhook_unknown_type=True)
    simulator.act("c1", "follow")
    types = [event["type"] for event in shop.wait_for(1)[0].events]
    assert types == ["teleported", "follow"]


def test_a_wrong_signature_can_be_sent(simulator, shop):
    simulator.faults(webhook_bad_signature=True, redelivery_off=True)
    simulator.act("c1", "follow")
    assert not shop.wait_for(1)[0].is_signed_with(SECRET)


def test_another_secret_can_sign(simulator, shop):
    simulator.faults(signing_secret="the-new-secret")
    simulator.act("c1", "follow")
    assert shop.wait_for(1)[0].is_signed_with("the-new-secret")


def test_events_can_come_without_a_user_id(simulator, shop):
    simulator.faults(webhook_no_user_id=True)
    simulator.act("c1", "follow")
    assert first_event(shop)["source"] == {"type": "user"}


def test_event_times_can_lie_ahead(simulator, shop):
    simulator.act("c1", "text", text="ก่อน")
    simulator.faults(clock_ahead=300)
    simulator.act("c1", "text", text="หลัง")
    before, after = (one.events[0]["timestamp"] for one in shop.wait_for(2))
    assert after - before >= 300_000


# By hand


def test_raw_events_are_signed_and_their_answer_told(simulator, shop):
    shop.answers = [401]
    told = simulator.sim("POST", "/webhook/raw", {"events": [BY_HAND]})
    assert (told["status"], told["reason"]) == (401, "error_status_code")
    (received,) = shop.received
    assert received.is_signed_with(SECRET)
    assert received.events == [BY_HAND]


@pytest.mark.parametrize("signature, sent", [("nonsense", "nonsense"), ("", None)])
def test_a_raw_body_takes_a_given_signature(simulator, shop, signature, sent):
    simulator.sim("POST", "/webhook/raw", {"body": "not json", "signature": signature})
    assert shop.received[0].raw == b"not json"
    assert shop.received[0].signature == sent


# The setting


def test_webhook_address_can_be_changed(simulator, shop):
    path = "/v2/bot/channel/webhook/endpoint"
    url = f"{shop.url}/elsewhere"
    assert simulator.line("PUT", path, {"endpoint": url}).status == 200
    assert simulator.line("GET", path).json == {"endpoint": url, "active": True}
    simulator.act("c1", "follow")
    shop.wait_for(1)


@pytest.mark.parametrize(
    "url", ["http://example.com/callback", "callback", "", "https://" + "a" * 500]
)
def test_webhook_address_must_be_https_and_short(simulator, url):
    path = "/v2/bot/channel/webhook/endpoint"
    assert simulator.line("PUT", path, {"endpoint": url}).status == 400


def test_the_webhook_test_sends_no_events(simulator, shop):
    answer = simulator.line("POST", "/v2/bot/channel/webhook/test").json
    assert (answer["success"], answer["statusCode"], answer["reason"]) == (True, 200, "OK")
    assert shop.received[0].events == []


def test_the_webhook_test_reports_a_refusal(simulator, shop):
    shop.answers = [500]
    answer = simulator.line("POST", "/v2/bot/channel/webhook/test").json
    assert (answer["success"], answer["statusCode"]) == (False, 500)
