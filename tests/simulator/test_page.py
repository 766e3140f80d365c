"""What the phone page and tests use: state, chats, clock, stream, and a state file."""

from __future__ import annotations

import json
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from tests.simulator.harness import new_key, text, wait_until
from tests.simulator.test_menus import create, shown, upload


def test_starts_with_three_strangers(simulator):
    customers = simulator.state["customers"]
    assert [one["name"] for one in customers] == ["สมชาย ใจดี", "มาลี รักกาแฟ", "Anan Smith"]
    assert [one["language"] for one in customers] == ["th", "th", "en"]
    assert not any(one["friend"] for one in customers)


def test_the_same_channel_gives_the_same_user_ids(start_simulator):
    assert start_simulator().user_id("c1") == start_simulator().user_id("c1")


def test_another_channel_gives_other_user_ids(start_simulator):
    assert start_simulator().user_id("c1") != start_simulator(channel_id="2").user_id("c1")


def test_adds_and_renames_customers(simulator):
    added = simulator.sim("POST", "/customers", {"name": "นก", "language": "en"})
    assert (added["id"], added["name"], added["language"]) == ("c4", "นก", "en")
    changed = simulator.sim("PATCH", "/customers/c4", {"name": "นกน้อย"})
    assert changed["name"] == "นกน้อย"


def test_unread_counts_until_the_chat_is_read(simulator, friend):
    simulator.push(friend, text(), text())
    assert simulator.state["customers"][0]["unread"] == 2
    simulator.sim("GET", "/customers/c1")
    assert simulator.state["customers"][0]["unread"] == 0


def test_chat_tells_who_said_what(simulator, friend):
    simulator.act("c1", "text", text="แต้ม")
    simulator.push(friend, {**text("5 แต้ม"), "sender": {"name": "น้องแต้ม"}})
    assert [line["from"] for line in simulator.chat()] == ["system", "customer", "shop"]
    assert simulator.chat()[-1]["sender"] == {"name": "น้องแต้ม"}


def test_a_blocking_customer_cannot_write(simulator, friend):
    simulator.act("c1", "block")
    answer = simulator.line("POST", "/sim/customers/c1/text", {"text": "x"}, token=None)
    assert answer.status == 409


def test_following_again_after_a_block_unblocks(simulator, friend):
    simulator.act("c1", "block")
    simulator.act("c1", "follow")
    customer = simulator.state["customers"][0]
    assert (customer["friend"], customer["blocked"]) == (True, False)


def test_unknown_customers_are_not_found(simulator):
    assert simulator.line("GET", "/sim/customers/c99", token=None).status == 404


def test_the_clock_is_moved_in_the_shop(simulator, shop, friend):
    before = simulator.state["now"]
    assert simulator.sim("POST", "/clock", {"advance": 86_400}) == {"jobs": 3}
    assert shop.clock_moves == [{"advance": 86_400}]
    assert simulator.state["clockOffsetSeconds"] == 86_400
    simulator.push(friend)
    assert simulator.chat()[-1]["at"] > before


def test_a_month_later_the_quota_is_fresh_and_retry_keys_are_not(simulator, friend):
    key = new_key()
    simulator.push(friend, key=key)
    simulator.sim("POST", "/clock", {"advance": 32 * 86_400})
    assert simulator.state["quota"]["used"] == 0
    assert simulator.push(friend, key=key).status == 409


def test_a_shop_that_does_not_answer_leaves_the_clock(start_simulator):
    simulator = start_simulator(taem_url="http://127.0.0.1:9")
    answer = simulator.line("POST", "/sim/clock", {"advance": 60}, token=None)
    assert answer.status == 502
    assert simulator.state["clockOffsetSeconds"] == 0


def test_a_move_that_failed_midway_is_made_good_by_the_next(simulator, shop):
    shop.clock_answer = (500, {"error": "after three of seven days"})
    answer = simulator.line("POST", "/sim/clock", {"advance": 7 * 86_400}, token=None)
    assert (answer.status, simulator.state["clockOffsetSeconds"]) == (500, 0)
    there = datetime.now(UTC) + timedelta(days=4)
    shop.clock_answer = (200, {"now": there.isoformat(), "stops": 5})
    simulator.sim("POST", "/clock", {"advance": 86_400})
    assert abs(simulator.state["clockOffsetSeconds"] - 4 * 86_400) <= 2


@pytest.mark.parametrize("told", [[], {"now": None}, {"now": "soon"}])
def test_a_shop_that_does_not_say_its_time_is_thought_to_have_moved(simulator, shop, told):
    shop.clock_answer = (200, told)
    assert simulator.sim("POST", "/clock", {"advance": 60}) == told
    assert simulator.state["clockOffsetSeconds"] == 60


@pytest.mark.parametrize("advance", [0, -5, 0.5, "1", True, None])
def test_the_clock_goes_forward_only(simulator, advance):
    answer = simulator.line("POST", "/sim/clock", {"advance": advance}, token=None)
    assert answer.status == 400


def test_stream_tells_of_new_messages(simulator, friend):
    with urllib.request.urlopen(f"{simulator.url}/sim/stream", timeout=5) as stream:
        assert stream.readline() == b"retry: 1000\n"
        simulator.push(friend)
        lines = [stream.readline() for _ in range(2)]
        assert json.loads(lines[1].removeprefix(b"data: ")) == {"customer": "c1", "what": "message"}


def test_avatars_differ_by_customer(simulator):
    first, second = (
        simulator.line("GET", f"/sim/pictures/{one}.png", token=None).raw for one in ("c1", "c3")
    )
    assert first.startswith(b"\x89PNG")
    assert first != second


def test_serves_sarabun(simulator):
    answer = simulator.line("GET", "/fonts/sarabun-600.ttf", token=None)
    assert answer.status == 200
    assert answer.raw[:4] == b"\x00\x01\x00\x00"


def test_reset_begins_anew(simulator, friend):
    simulator.push(friend)
    simulator.faults(push="500")
    simulator.sim("POST", "/reset")
    assert simulator.journal == []
    assert simulator.state["faults"] == {}
    assert not simulator.state["customers"][0]["friend"]


def test_reset_from_the_page_keeps_what_a_shop_that_goes_on_relies_on(simulator, friend):
    menu_id = create(simulator)
    upload(simulator, menu_id)
    simulator.line("POST", f"/v2/bot/user/{friend}/richmenu/{menu_id}")
    simulator.sim("POST", "/clock", {"advance": 86_400})
    simulator.push(friend)
    simulator.faults(push="500")
    simulator.sim("POST", "/reset", {"keepAccount": True})
    state = simulator.state
    assert (state["clockOffsetSeconds"], state["quota"]["used"]) == (86_400, 1)
    assert (state["faults"], state["customers"][0]["friend"]) == ({}, False)
    assert simulator.chat() == []
    simulator.act("c1", "follow")
    assert shown(simulator)["richMenuId"] == menu_id


def test_reset_forgets_what_is_still_to_be_delivered(start_simulator):
    simulator = start_simulator(taem_url="http://127.0.0.1:9", redelivery_attempts=8)
    simulator.act("c1", "follow")
    assert simulator.state["pendingWebhooks"] == 1
    simulator.sim("POST", "/reset")
    assert simulator.state["pendingWebhooks"] == 0
    assert simulator.state["undeliveredWebhooks"] == 0


@pytest.mark.parametrize("hang", ["hang_seconds", "hang_after_seconds"])
def test_reset_forgets_calls_that_are_still_under_way(simulator, friend, hang):
    simulator.faults(**{hang: 1.0})
    with ThreadPoolExecutor() as pool:
        pushed = pool.submit(simulator.push, friend)
        time.sleep(0.3)
        simulator.sim("POST", "/reset")
        assert pushed.exception(5) or pushed.result().status
    assert simulator.journal == []
    assert simulator.sim("GET", "/journal/count")["answers"] == {}


# The state file


def test_a_restart_continues_chats_and_menus(start_simulator, shop, tmp_path):
    path = tmp_path / "simulator.json"
    first = start_simulator(state_path=path)
    first.act("c1", "follow")
    first.act("c1", "image")
    first.sim("POST", "/customers", {"name": "นก"})
    shop.wait_for(2)
    retry_key = new_key()
    first.push(first.user_id("c1"), text("จำได้ไหม"), key=retry_key)
    menu_id = create(first)
    upload(first, menu_id)
    first.line("POST", f"/v2/bot/user/all/richmenu/{menu_id}")
    key = first.line("GET", "/oauth2/v2.1/certs", token=None).json
    first.stop()

    second = start_simulator(state_path=path)
    assert second.said_by_shop() == ["จำได้ไหม"]
    assert [one["name"] for one in second.state["customers"]][3] == "นก"
    assert second.push(second.user_id("c1"), key=retry_key).status == 409
    assert second.state["quota"]["used"] == 1
    shown = second.sim("GET", "/customers/c2")["richMenu"]
    assert shown["richMenuId"] == menu_id
    assert second.line("GET", shown["imageUrl"], token=None).raw.startswith(b"\x89PNG")
    assert second.line("GET", "/oauth2/v2.1/certs", token=None).json == key
    photo = next(line for line in second.chat() if line["message"]["type"] == "image")
    assert second.line("GET", f"/v2/bot/message/{photo['id']}/content").status == 200


def test_state_is_written_while_running(start_simulator, tmp_path):
    path = tmp_path / "simulator.json"
    simulator = start_simulator(state_path=path)
    simulator.act("c1", "text", text="บันทึกหรือยัง")
    wait_until(lambda: path.exists() and "บันทึกหรือยัง" in path.read_text("utf-8"))


def test_an_unreadable_state_file_is_set_aside(start_simulator, tmp_path):
    path = tmp_path / "simulator.json"
    path.write_text("{ broken")
    simulator = start_simulator(state_path=path)
    assert len(simulator.state["customers"]) == 3
    assert (tmp_path / "simulator.json.unreadable").exists()


def test_a_saved_webhook_address_is_dropped_when_the_shop_moved(start_simulator, shop, tmp_path):
    path = tmp_path / "simulator.json"
    first = start_simulator(state_path=path)
    first.line(
        "PUT", "/v2/bot/channel/webhook/endpoint", {"endpoint": "https://old.example/callback"}
    )
    first.stop()
    second = start_simulator(state_path=path, taem_url="http://127.0.0.1:5999")
    assert second.state["webhookEndpoint"] == "http://127.0.0.1:5999/callback"
