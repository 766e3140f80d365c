"""Rich menus: made, pictured, named, linked, switched, and refused where LINE refuses."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from tests.simulator.harness import wait_until

PNG = {"Content-Type": "image/png"}


def menu(**more):
    area = {
        "bounds": {"x": 0, "y": 0, "width": 400, "height": 270},
        "action": {"type": "postback", "data": "points.show", "label": "แต้ม"},
    }
    body = {
        "size": {"width": 800, "height": 540},
        "selected": True,
        "name": "guest",
        "chatBarText": "เมนู",
        "areas": [area],
    }
    return body | more


def picture(width=800, height=540, form="PNG"):
    buffer = io.BytesIO()
    Image.new("RGB", (width, height)).save(buffer, form)
    return buffer.getvalue()


def create(simulator, **more):
    return simulator.line("POST", "/v2/bot/richmenu", menu(**more)).json["richMenuId"]


def upload(simulator, menu_id, body=None, content_type="image/png"):
    path = f"/v2/bot/richmenu/{menu_id}/content"
    return simulator.line("POST", path, body or picture(), headers={"Content-Type": content_type})


@pytest.fixture
def ready_menu(simulator):
    menu_id = create(simulator)
    assert upload(simulator, menu_id).status == 200
    return menu_id


def shown(simulator, customer="c1"):
    return simulator.sim("GET", f"/customers/{customer}")["richMenu"]


def test_gives_back_what_was_made(simulator):
    menu_id = create(simulator)
    answer = simulator.line("GET", f"/v2/bot/richmenu/{menu_id}")
    assert answer.json == {"richMenuId": menu_id, **menu()}


def test_lists_and_deletes(simulator):
    menu_id = create(simulator)
    assert len(simulator.line("GET", "/v2/bot/richmenu/list").json["richmenus"]) == 1
    assert simulator.line("DELETE", f"/v2/bot/richmenu/{menu_id}").status == 200
    assert simulator.line("GET", "/v2/bot/richmenu/list").json == {"richmenus": []}
    assert simulator.line("DELETE", f"/v2/bot/richmenu/{menu_id}").status == 404


@pytest.mark.parametrize(
    "change, where",
    [
        ({"size": {"width": 799, "height": 300}}, "size.width"),
        ({"size": {"width": 2501, "height": 800}}, "size.width"),
        ({"size": {"width": 800, "height": 249}}, "size.height"),
        ({"size": {"width": 800, "height": 560}}, "size"),
        ({"chatBarText": "ก" * 15}, "chatBarText"),
        ({"chatBarText": ""}, "chatBarText"),
        ({"name": "x" * 301}, "name"),
        ({"selected": "yes"}, "selected"),
        ({"areas": menu()["areas"] * 21}, "areas"),
    ],
)
def test_refuses_a_menu_out_of_bounds(simulator, change, where):
    body = menu(**change)
    body["areas"] = body["areas"] if "areas" in change else []
    answer = simulator.line("POST", "/v2/bot/richmenu/validate", body)
    assert answer.status == 400
    assert answer.properties == [where]


def test_chat_bar_text_has_14_clusters(simulator):
    body = menu(chatBarText="ที่" * 14)
    assert simulator.line("POST", "/v2/bot/richmenu/validate", body).status == 200


def test_refuses_an_area_outside_the_menu(simulator):
    bounds = {"x": 700, "y": 0, "width": 101, "height": 10}
    area = {**menu()["areas"][0], "bounds": bounds}
    answer = simulator.line("POST", "/v2/bot/richmenu", menu(areas=[area]))
    assert answer.properties == ["areas[0].bounds"]


def test_takes_a_tab_in_a_menu(simulator):
    action = {"type": "richmenuswitch", "richMenuAliasId": "tab-b", "data": "tab"}
    area = {**menu()["areas"][0], "action": action}
    assert simulator.line("POST", "/v2/bot/richmenu", menu(areas=[area])).status == 200


def test_serves_the_picture_back(simulator, ready_menu):
    answer = simulator.line("GET", f"/v2/bot/richmenu/{ready_menu}/content")
    assert answer.raw == picture()
    assert answer.headers["Content-Type"] == "image/png"


def test_takes_jpeg(simulator):
    body = picture(form="JPEG")
    assert upload(simulator, create(simulator), body, "image/jpeg").status == 200


def test_refuses_a_picture_over_1_mb(simulator):
    menu_id = create(simulator)
    just_fitting = picture().ljust(1024 * 1024, b"\0")
    assert upload(simulator, menu_id, just_fitting + b"\0").status == 413
    assert upload(simulator, menu_id, just_fitting).status == 200


@pytest.mark.parametrize(
    "body, content_type, status",
    [
        (picture(900, 540), "image/png", 400),
        (picture(), "image/jpeg", 400),
        (b"no picture", "image/png", 400),
        (picture(), "application/octet-stream", 415),
    ],
)
def test_refuses_a_picture_that_does_not_fit(simulator, body, content_type, status):
    assert upload(simulator, create(simulator), body, content_type).status == status


def test_refuses_to_replace_a_picture(simulator, ready_menu):
    assert upload(simulator, ready_menu).status == 400


@pytest.mark.parametrize(
    "path", ["/v2/bot/user/all/richmenu/{menu}", "/v2/bot/user/{user}/richmenu/{menu}"]
)
def test_a_menu_without_a_picture_cannot_be_shown(simulator, friend, path):
    path = path.format(menu=create(simulator), user=friend)
    answer = simulator.line("POST", path)
    assert answer.status == 400
    assert answer.message == "must upload richmenu image before applying it to user"


def test_an_alias_needs_a_menu_with_a_picture(simulator):
    body = {"richMenuAliasId": "tab-a", "richMenuId": create(simulator)}
    assert simulator.line("POST", "/v2/bot/richmenu/alias", body).status == 400


# Default and links


def test_the_default_menu_is_shown_to_everybody(simulator, ready_menu):
    simulator.line("POST", f"/v2/bot/user/all/richmenu/{ready_menu}")
    assert shown(simulator)["richMenuId"] == ready_menu
    simulator.line("DELETE", "/v2/bot/user/all/richmenu")
    assert shown(simulator) is None
    assert simulator.line("GET", "/v2/bot/user/all/richmenu").status == 404


def test_a_link_goes_before_the_default(simulator, friend, ready_menu):
    own = create(simulator)
    upload(simulator, own)
    simulator.line("POST", f"/v2/bot/user/all/richmenu/{ready_menu}")
    assert simulator.line("POST", f"/v2/bot/user/{friend}/richmenu/{own}").status == 200
    assert shown(simulator)["richMenuId"] == own
    answer = simulator.line("GET", f"/v2/bot/user/{friend}/richmenu")
    assert answer.json == {"richMenuId": own}
    simulator.line("DELETE", f"/v2/bot/user/{friend}/richmenu")
    assert shown(simulator)["richMenuId"] == ready_menu


def test_linking_a_stranger_answers_200_and_links_nothing(simulator, ready_menu):
    user = simulator.user_id("c2")
    assert simulator.line("POST", f"/v2/bot/user/{user}/richmenu/{ready_menu}").status == 200
    assert simulator.line("GET", f"/v2/bot/user/{user}/richmenu").status == 404


def test_blocking_ends_the_link(simulator, friend, ready_menu):
    simulator.line("POST", f"/v2/bot/user/{friend}/richmenu/{ready_menu}")
    simulator.act("c1", "block")
    simulator.act("c1", "unblock")
    assert shown(simulator) is None


def test_deleting_a_menu_ends_its_links(simulator, friend, ready_menu):
    simulator.line("POST", f"/v2/bot/user/{friend}/richmenu/{ready_menu}")
    simulator.line("DELETE", f"/v2/bot/richmenu/{ready_menu}")
    assert simulator.line("GET", f"/v2/bot/user/{friend}/richmenu").status == 404


def test_bulk_links_arrive_a_moment_later(simulator, friend, ready_menu):
    body = {"richMenuId": ready_menu, "userIds": [friend]}
    assert simulator.line("POST", "/v2/bot/richmenu/bulk/link", body).status == 202
    wait_until(lambda: shown(simulator))
    body = {"userIds": [friend]}
    assert simulator.line("POST", "/v2/bot/richmenu/bulk/unlink", body).status == 202
    wait_until(lambda: shown(simulator) is None)


def test_bulk_takes_500_users(simulator, ready_menu):
    users = [f"U{number:032x}" for number in range(501)]
    body = {"richMenuId": ready_menu, "userIds": users}
    assert simulator.line("POST", "/v2/bot/richmenu/bulk/link", body).status == 400


def test_a_batch_moves_everybody_from_one_menu_to_another(simulator, friend, ready_menu):
    new = create(simulator)
    upload(simulator, new)
    simulator.line("POST", f"/v2/bot/user/{friend}/richmenu/{ready_menu}")
    body = {"operations": [{"type": "link", "from": ready_menu, "to": new}]}
    answer = simulator.line("POST", "/v2/bot/richmenu/batch", body)
    assert answer.status == 202
    progress = f"/v2/bot/richmenu/progress/batch?requestId={answer.headers['x-line-request-id']}"
    wait_until(lambda: simulator.line("GET", progress).json["phase"] == "succeeded")
    assert shown(simulator)["richMenuId"] == new


def test_batches_are_limited_to_three_an_hour(simulator):
    body = {"operations": [{"type": "unlinkAll"}]}
    statuses = [simulator.line("POST", "/v2/bot/richmenu/batch", body).status for _ in range(4)]
    assert statuses == [202, 202, 202, 429]


def test_creating_is_limited_to_100_an_hour(start_simulator):
    simulator = start_simulator(hourly_factor=0.03)
    statuses = [simulator.line("POST", "/v2/bot/richmenu", menu()).status for _ in range(4)]
    assert statuses == [200, 200, 200, 429]


# Aliases and tabs


def test_aliases_are_made_moved_listed_and_deleted(simulator, ready_menu):
    body = {"richMenuAliasId": "tab-a", "richMenuId": ready_menu}
    assert simulator.line("POST", "/v2/bot/richmenu/alias", body).status == 200
    assert simulator.line("POST", "/v2/bot/richmenu/alias", body).status == 400
    other = create(simulator)
    upload(simulator, other)
    move = {"richMenuId": other}
    assert simulator.line("POST", "/v2/bot/richmenu/alias/tab-a", move).status == 200
    assert simulator.line("GET", "/v2/bot/richmenu/alias/tab-a").json["richMenuId"] == other
    assert len(simulator.line("GET", "/v2/bot/richmenu/alias/list").json["aliases"]) == 1
    assert simulator.line("DELETE", "/v2/bot/richmenu/alias/tab-a").status == 200
    assert simulator.line("GET", "/v2/bot/richmenu/alias/tab-a").status == 404


@pytest.mark.parametrize("alias", ["Tab", "แท็บ", "", "a" * 33, "a b"])
def test_refuses_a_wrong_alias(simulator, ready_menu, alias):
    body = {"richMenuAliasId": alias, "richMenuId": ready_menu}
    assert simulator.line("POST", "/v2/bot/richmenu/alias", body).status == 400


def test_a_tab_switches_the_menu_and_says_so(simulator, friend, shop, ready_menu):
    body = {"richMenuAliasId": "tab-a", "richMenuId": ready_menu}
    simulator.line("POST", "/v2/bot/richmenu/alias", body)
    simulator.act("c1", "richmenuswitch", richMenuAliasId="tab-a", data="menu.tab")
    postback = shop.wait_for(1)[0].events[0]["postback"]
    assert postback["params"] == {"newRichMenuAliasId": "tab-a", "status": "SUCCESS"}
    assert shown(simulator)["richMenuId"] == ready_menu
    assert simulator.line("GET", f"/v2/bot/user/{friend}/richmenu").status == 200


def test_a_tab_to_nowhere_says_so(simulator, friend, shop):
    simulator.act("c1", "richmenuswitch", richMenuAliasId="gone", data="menu.tab")
    postback = shop.wait_for(1)[0].events[0]["postback"]
    assert postback["params"] == {"status": "RICHMENU_ALIAS_ID_NOTFOUND"}


def test_the_upload_can_be_made_to_fail(simulator):
    simulator.faults(richmenu_image_fail={"count": 1})
    menu_id = create(simulator)
    assert upload(simulator, menu_id).status == 500
    assert upload(simulator, menu_id).status == 200
