"""Message objects: the limits of LINE's reference, one case each."""

from __future__ import annotations

import pytest

from tests.simulator.harness import text

PICTURE = "https://example.com/a.png"


def box(*contents, **more):
    return {"type": "box", "layout": "vertical", "contents": list(contents), **more}


def bubble(*contents, **more):
    return {"type": "bubble", "body": box(*contents), **more}


def line(words="ข้อความ", **more):
    return {"type": "text", "text": words, **more}


def button(**action):
    return {"type": "button", "action": action}


def quick(*actions):
    items = [{"type": "action", "action": action} for action in actions]
    return {**text(), "quickReply": {"items": items}}


POSTBACK = {"type": "postback", "label": "รับ", "data": "coupons.claim?offer=1"}


@pytest.mark.parametrize("count", [0, 6])
def test_takes_1_to_5_messages(simulator, count):
    assert simulator.validate(*[text()] * count).properties == ["messages"]


def test_text_may_have_5000_units(simulator):
    assert simulator.validate(text("ก" * 5000)).status == 200
    assert simulator.validate(text("ก" * 5001)).properties == ["messages[0].text"]


def test_text_is_counted_in_utf16_units(simulator):
    assert simulator.validate(text("😀" * 2500)).status == 200
    assert simulator.validate(text("😀" * 2500 + "!")).status == 400


def test_names_every_wrong_message(simulator):
    answer = simulator.validate(text(""), text(), {"type": "telepathy"})
    assert answer.message == "The request body has 2 error(s)"
    assert answer.properties == ["messages[0].text", "messages[2].type"]


def test_text_v2_needs_its_substitutions(simulator):
    good = {"type": "emoji", "productId": "1", "emojiId": "2"}
    message = {"type": "textV2", "text": "สวัสดี {a} {{ไม่ใช่}}", "substitution": {"a": good}}
    assert simulator.validate(message).status == 200
    assert simulator.validate({"type": "textV2", "text": "สวัสดี {b}"}).status == 400
    assert simulator.validate({"type": "textV2", "text": "วงเล็บ {"}).status == 400


@pytest.mark.parametrize(
    "url",
    [
        PICTURE,
        "http://127.0.0.1:5000/pictures/a.png",
        "http://localhost/a.png",
        "http://c1.localhost:5000/a.png",
    ],
)
def test_pictures_come_by_https_or_from_loopback(simulator, url):
    message = {"type": "image", "originalContentUrl": url, "previewImageUrl": url}
    assert simulator.validate(message).status == 200


@pytest.mark.parametrize(
    "url", ["http://example.com/a.png", "data:image/png;base64,AA", "/a.png", "https://ร้าน.ไทย/ภาพ"]
)
def test_refuses_pictures_from_elsewhere(simulator, url):
    message = {"type": "image", "originalContentUrl": url, "previewImageUrl": PICTURE}
    assert simulator.validate(message).properties == ["messages[0].originalContentUrl"]


def test_image_needs_a_preview(simulator):
    message = {"type": "image", "originalContentUrl": PICTURE}
    assert simulator.validate(message).properties == ["messages[0].previewImageUrl"]


def test_sticker_needs_numbers(simulator):
    good = {"type": "sticker", "packageId": "446", "stickerId": "1988"}
    assert simulator.validate(good).status == 200
    assert simulator.validate(good | {"stickerId": "moon"}).status == 400


def test_location_needs_a_place_on_earth(simulator):
    place = {"type": "location", "title": "ร้าน", "address": "กรุงเทพ", "latitude": 13.7}
    assert simulator.validate(place | {"longitude": 100.5}).status == 200
    assert simulator.validate(place | {"longitude": 200}).status == 400


# Actions


@pytest.mark.parametrize(
    "uri", ["https://line.me", "http://127.0.0.1:5000/m", "tel:021234567", "line://nv/camera"]
)
def test_opens_these_addresses(simulator, uri):
    assert simulator.validate(quick({"type": "uri", "label": "ดู", "uri": uri})).status == 200


@pytest.mark.parametrize(
    "uri", ["ftp://example.com", "javascript:alert(1)", "https://a b", "https:///x", "x" * 1001]
)
def test_refuses_these_addresses(simulator, uri):
    answer = simulator.validate(quick({"type": "uri", "label": "ดู", "uri": uri}))
    assert answer.properties == ["messages[0].quickReply.items[0].action.uri"]


def test_postback_data_has_300_units(simulator):
    assert simulator.validate(quick(POSTBACK | {"data": "ก" * 300})).status == 200
    answer = simulator.validate(quick(POSTBACK | {"data": "ก" * 301}))
    assert answer.properties == ["messages[0].quickReply.items[0].action.data"]


def test_quick_reply_labels_have_20_graphemes(simulator):
    # Each ที่ is one cluster of three code points: what LINE counts is what people see.
    assert simulator.validate(quick(POSTBACK | {"label": "ที่" * 20})).status == 200
    assert simulator.validate(quick(POSTBACK | {"label": "ก" * 21})).status == 400


def test_quick_reply_has_13_items(simulator):
    assert simulator.validate(quick(*[POSTBACK] * 13)).status == 200
    assert simulator.validate(quick(*[POSTBACK] * 14)).status == 400


def test_quick_reply_needs_labels(simulator):
    answer = simulator.validate(quick({"type": "postback", "data": "x"}))
    assert answer.properties == ["messages[0].quickReply.items[0].action.label"]


def test_camera_stands_in_quick_replies_only(simulator):
    camera = {"type": "camera", "label": "ถ่ายรูป"}
    assert simulator.validate(quick(camera)).status == 200
    assert simulator.validate_flex(bubble(button(**camera))).status == 400


def test_menu_switch_stands_in_menus_only(simulator):
    switch = {"type": "richmenuswitch", "label": "แท็บ", "richMenuAliasId": "a", "data": "x"}
    assert simulator.validate(quick(switch)).status == 400


def test_date_picker_needs_its_mode(simulator):
    picker = {"type": "datetimepicker", "label": "วันเกิด", "data": "x"}
    good = picker | {"mode": "date", "initial": "1990-01-31", "max": "2025-12-31"}
    assert simulator.validate(quick(good)).status == 200
    assert simulator.validate(quick(picker)).status == 400
    assert simulator.validate(quick(good | {"initial": "31/01/1990"})).status == 400


# Templates and imagemaps


def test_buttons_take_four_actions(simulator):
    template = {"type": "buttons", "text": "เลือก", "actions": [POSTBACK] * 4}
    message = {"type": "template", "altText": "เลือก", "template": template}
    assert simulator.validate(message).status == 200
    template["actions"] = [POSTBACK] * 5
    assert simulator.validate(message).properties == ["messages[0].template.actions"]


def test_confirm_takes_exactly_two_actions(simulator):
    template = {"type": "confirm", "text": "แน่ใจไหม", "actions": [POSTBACK]}
    message = {"type": "template", "altText": "แน่ใจ", "template": template}
    assert simulator.validate(message).status == 400
    template["actions"] = [POSTBACK] * 2
    assert simulator.validate(message).status == 200


def test_a_title_shortens_the_text_of_buttons(simulator):
    template = {"type": "buttons", "text": "ก" * 61, "actions": [POSTBACK]}
    message = {"type": "template", "altText": "เลือก", "template": template}
    assert simulator.validate(message).status == 200
    template["title"] = "หัวข้อ"
    assert simulator.validate(message).properties == ["messages[0].template.text"]


def test_carousel_columns_have_equal_numbers_of_actions(simulator):
    columns = [{"text": "ก", "actions": [POSTBACK]}, {"text": "ข", "actions": [POSTBACK] * 2}]
    template = {"type": "carousel", "columns": columns}
    message = {"type": "template", "altText": "เลือก", "template": template}
    assert simulator.validate(message).properties == ["messages[0].template.columns"]


def test_alt_text_has_1500_units(simulator):
    message = {"type": "flex", "altText": "ก" * 1500, "contents": bubble(line())}
    assert simulator.validate(message).status == 200
    message["altText"] += "ก"
    assert simulator.validate(message).properties == ["messages[0].altText"]


def test_imagemap_is_1040_wide(simulator):
    area = {"x": 0, "y": 0, "width": 10, "height": 10}
    message = {
        "type": "imagemap",
        "baseUrl": "https://example.com/map",
        "altText": "แผนที่",
        "baseSize": {"width": 1040, "height": 520},
        "actions": [{"type": "message", "text": "ไป", "area": area}],
    }
    assert simulator.validate(message).status == 200
    message["baseSize"] = {"width": 800, "height": 520}
    assert simulator.validate(message).status == 400


# Flex


def test_accepts_a_rich_bubble(simulator):
    contents = {
        "type": "bubble",
        "size": "mega",
        "header": box(line(weight="bold", size="xl", color="#112233")),
        "hero": {"type": "image", "url": PICTURE, "size": "full", "aspectRatio": "20:13"},
        "body": box(
            {
                "type": "box",
                "layout": "baseline",
                "contents": [{"type": "icon", "url": PICTURE}, line()],
            },
            {"type": "text", "contents": [{"type": "span", "text": "แต้ม", "weight": "bold"}]},
            {"type": "separator", "margin": "md"},
            {"type": "filler"},
            paddingAll="20px",
            backgroundColor="#ffffff80",
            background={
                "type": "linearGradient",
                "angle": "45deg",
                "startColor": "#000000",
                "endColor": "#ffffff",
            },
        ),
        "footer": box(button(**POSTBACK) | {"style": "primary", "height": "sm"}),
        "styles": {"footer": {"separator": True}},
    }
    assert simulator.validate_flex(contents).raw == b"{}"


@pytest.mark.parametrize(
    "contents, where",
    [
        (bubble({"type": "text"}), "/body/contents/0/text"),
        (bubble(line("")), "/body/contents/0/text"),
        (bubble(line(size="huge")), "/body/contents/0/size"),
        (bubble(line(color="red")), "/body/contents/0/color"),
        (bubble(line(fontSize="sm")), "/body/contents/0/fontSize"),
        (bubble(line(wrap="yes")), "/body/contents/0/wrap"),
        (bubble(line(), size="mini"), "/size"),
        (bubble({"type": "table"}), "/body/contents/0/type"),
        (bubble({"type": "icon", "url": PICTURE}), "/body/contents/0/type"),
        (bubble({"type": "image"}), "/body/contents/0/url"),
        (bubble({"type": "image", "url": "http://a.b/c"}), "/body/contents/0/url"),
        (
            bubble({"type": "image", "url": PICTURE, "aspectRatio": "1:4"}),
            "/body/contents/0/aspectRatio",
        ),
        (bubble({"type": "button"}), "/body/contents/0/action"),
        (bubble(button(type="message", text="x")), "/body/contents/0/action/label"),
        (
            bubble(button(type="uri", label="x", uri="ftp://a")),
            "/body/contents/0/action/uri",
        ),
        ({"type": "bubble", "body": {"type": "box", "contents": []}}, "/body/layout"),
        ({"type": "bubble", "body": {"type": "box", "layout": "vertical"}}, "/body/contents"),
        ({"type": "bubble", "body": line()}, "/body/type"),
        ({"type": "bubble", "hero": line()}, "/hero/type"),
        ({"type": "bubble"}, "/"),
        ({"type": "balloon"}, "/type"),
        (None, "/"),
    ],
)
def test_names_the_place_of_a_flex_mistake(simulator, contents, where):
    answer = simulator.validate_flex(contents)
    assert answer.status == 400
    assert answer.message == "A message (messages[0]) in the request body is invalid"
    assert answer.properties == [where]


def test_flex_button_labels_have_40_graphemes(simulator):
    assert simulator.validate_flex(bubble(button(**POSTBACK | {"label": "ก" * 40}))).status == 200
    assert simulator.validate_flex(bubble(button(**POSTBACK | {"label": "ก" * 41}))).status == 400


def test_a_bubble_has_30_kb(simulator):
    assert simulator.validate_flex(bubble(line("x" * 30_000))).status == 200
    assert simulator.validate_flex(bubble(line("x" * 31_000))).properties == ["/"]


def test_a_carousel_has_12_bubbles_of_50_kb(simulator):
    carousel = {"type": "carousel", "contents": [bubble(line())] * 12}
    assert simulator.validate_flex(carousel).status == 200
    carousel["contents"] = [bubble(line())] * 13
    assert simulator.validate_flex(carousel).properties == ["/contents"]
    carousel["contents"] = [bubble(line("x" * 20_000))] * 3
    assert simulator.validate_flex(carousel).properties == ["/"]


def test_bubbles_of_a_carousel_have_one_size(simulator):
    carousel = {"type": "carousel", "contents": [bubble(line(), size="kilo"), bubble(line())]}
    assert simulator.validate_flex(carousel).properties == ["/contents"]


def test_names_the_bubble_of_a_carousel(simulator):
    carousel = {"type": "carousel", "contents": [bubble(line()), bubble(line(""))]}
    assert simulator.validate_flex(carousel).properties == ["/contents/1/body/contents/0/text"]


def test_survives_endless_nesting(simulator):
    inner = line()
    for _ in range(200):
        inner = box(inner)
    assert simulator.validate_flex(bubble(inner)).status == 400
