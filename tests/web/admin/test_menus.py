"""The menu editor: layouts, areas, tabs, actions, pictures, versions, plans, and who sees a menu."""

from __future__ import annotations

import html
import io
import json
import re
from datetime import timedelta

import pytest
from PIL import Image
from sqlalchemy import select

from core.i18n import t
from models.menus import Menu, MenuUpkeep, MenuUpload, MenuVersion
from models.staff import AuditRow
from rich_menus import images, publish
from rich_menus.definitions import AREAS
from tests import factories
from tests.factories import NOW
from tests.moments import BANGKOK
from tests.rich_menus.test_publish import StoppingLine
from tests.web.admin.test_journeys import Fields
from web.admin import menu_editor


@pytest.fixture
def guest(runtime, monkeypatch):
    monkeypatch.setattr(images, "draw_menu", lambda *_: b"png")
    with runtime.transaction() as session:
        publish.ensure_menus(session, NOW)
    return "/admin/menus/guest"


def newest(database):
    with database.read() as session:
        menu = session.scalars(select(Menu).where(Menu.key == "guest")).one()
        version = publish.latest_version(session, menu.id)
        return version.version, version.definition["tabs"][0]


def form_of(tab):
    """What the page sends for one tab."""
    form = {"tab": tab["key"], "areas": [area["key"] for area in tab["areas"]]}
    for area in tab["areas"]:
        name = f"{tab['key']}.{area['key']}"
        form |= {f"{name}.{side}": str(area[side]) for side in ("x", "y", "width", "height")}
        if area.get("is_hero"):
            form[f"{name}.hero"] = "1"
    return form


def sent_by(page):
    """What the editor's form, as it was shown, sends again."""
    found = Fields(page, "menu-form").found
    del found["csrf_token"]
    return found


def test_a_layout_is_tried_first_and_saved_after(owner, guest, database):
    number, tab = newest(database)
    tried = owner.send(guest, arrange="1", layout="6", **form_of(tab))
    assert tried.status_code == 200
    assert tried.text.count("data-area=") == 6
    assert newest(database)[0] == number
    form = form_of(tab)
    form["areas"] = [*form["areas"][:1], "area1"]
    name = f"{tab['key']}.area1"
    first = f"{tab['key']}.{tab['areas'][0]['key']}"
    form |= {f"{first}.x": "0", f"{first}.y": "0", f"{first}.width": "1250", f"{first}.height": "843",
             f"{name}.x": "1250", f"{name}.y": "0", f"{name}.width": "1250", f"{name}.height": "843",
             f"{name}.label.th": "โทรหาเรา", f"{name}.label.en": "Call us", f"{name}.icon": "phone",
             f"{name}.type": "uri", f"{name}.value": "tel:021234567"}  # fmt: skip
    assert owner.send(guest, **form).status_code == 303
    number, tab = newest(database)
    assert number == 2
    assert [area["key"] for area in tab["areas"]][1:] == ["area1"]
    assert tab["areas"][1]["action"]["value"] == "tel:021234567"


def test_a_menu_of_as_many_areas_as_line_allows_is_saved_as_its_page_sends_it(
    owner, guest, database
):
    tab = newest(database)[1]["key"]
    form = {"tab": tab, "areas": [f"area{number}" for number in range(AREAS)]}
    for number in range(AREAS):
        name = f"{tab}.area{number}"
        row, column = divmod(number, 5)
        form |= {f"{name}.x": str(column * 500), f"{name}.y": str(row * 420),
                 f"{name}.width": "500", f"{name}.height": "420", f"{name}.icon": "phone",
                 f"{name}.label.th": "โทร", f"{name}.label.en": "Call",
                 f"{name}.type": "uri", f"{name}.value": "tel:021234567"}  # fmt: skip
    assert owner.send(guest, **form).status_code == 303
    sent = sent_by(owner.get(guest).text)
    nothing = {"picture.both": (io.BytesIO(), "")}  # and so it is multipart
    assert owner.send(guest, **sent | nothing).status_code == 303
    assert len(newest(database)[1]["areas"]) == AREAS


def test_an_area_is_dropped_but_never_the_last(owner, guest, database):
    _number, tab = newest(database)
    before = len(tab["areas"])
    gone = tab["areas"][-1]["key"]
    page = owner.send(guest, drop=gone, **form_of(tab))
    assert page.text.count("data-area=") == before - 1
    assert f'name="areas" value="{gone}"' not in page.text


@pytest.mark.parametrize(
    "change", [{"width": "2500", "x": "0"}, {"x": "-5"}, {"height": "99999"}, {"width": "0"}]
)
def test_areas_that_overlap_or_leave_the_picture_come_back(owner, guest, database, change):
    _number, tab = newest(database)
    name = f"{tab['key']}.{tab['areas'][-1]['key']}"
    form = form_of(tab) | {f"{name}.{side}": value for side, value in change.items()}
    answer = owner.send(guest, **form)
    if change == {"x": "-5"}:  # no number of ours: the place stays as it was
        assert answer.status_code == 303
        return
    assert (answer.status_code, 'role="alert"' in answer.text) == (422, True)
    assert newest(database)[0] == 1


def test_an_earlier_version_is_brought_back_with_everything_between_kept(owner, guest, database):
    _number, tab = newest(database)
    label = f"{tab['key']}.{tab['areas'][0]['key']}.label.th"
    assert owner.send(guest, **form_of(tab) | {label: "มาใหม่"}).status_code == 303
    assert "ข้อความ" in owner.get(guest).text
    assert owner.send(f"{guest}/versions/1").status_code == 303
    number, back = newest(database)
    assert number == 3
    assert back["areas"][0]["label"] == tab["areas"][0]["label"]
    assert owner.send(f"{guest}/versions/99").status_code == 404
    with database.read() as session:
        assert session.scalars(select(AuditRow.act)).all()[-1] == "menus.rolled_back"
        assert len(session.scalars(select(MenuVersion.id)).all()) >= 3


def test_an_auditor_may_not_touch_menus(sign_in, guest):
    auditor = sign_in("auditor")
    assert auditor.send(f"{guest}/versions/1").status_code == 403
    assert auditor.send(guest, add="1").status_code == 403


# --- Who sees it, when, and what it looks like -----------------------------------------------------
def row(database, key="guest"):
    with database.read() as session:
        return session.scalars(select(Menu).where(Menu.key == key)).one()


def picture(width=2500, height=1686, kind="PNG"):
    written = io.BytesIO()
    Image.new("RGB", (width, height), "teal").save(written, kind)
    written.seek(0)
    return written


def test_a_rule_is_tried_before_it_is_saved(owner, guest, database, runtime):
    with runtime.transaction() as session:
        publish.choose_newest(session)
        factories.somchai(session)
        factories.malee(session, locale="en")
    page = "/admin/menus/vip"
    would = owner.send(f"{page}/people", state="member", locales=["en"])
    assert '<strong data-testid="menu-people">1</strong>' in would.text
    assert row(database, "vip").audience == {"override": "vip"}
    names = {"name_th": "คนสำคัญ", "name_en": "Important"}
    saved = owner.send(f"{page}/audience", state="member", locales=["en"], by_hand="1", **names)
    assert saved.status_code == 303
    rule = {"state": "member", "locales": ["en"], "override": "vip"}
    assert (row(database, "vip").audience, row(database, "vip").name_th) == (rule, "คนสำคัญ")
    assert "ภาษาอังกฤษ" in owner.get("/admin/menus").text
    people = owner.get("/admin/menus/people.json").json
    assert people == {"vip": 1, "member": 1}


def test_a_marketer_sees_first_letters_only(sign_in, guest, runtime):
    with runtime.transaction() as session:
        publish.choose_newest(session)
        factories.somchai(session)
    text = sign_in("marketer").send("/admin/menus/member/people", state="member").text
    assert "ส•••" in text
    assert "สมชาย" not in text


@pytest.mark.parametrize("rule", [{"state": "boss"}, {"state": "member", "levels": ["king"]}])
def test_a_rule_that_cannot_be_comes_back_with_words(owner, guest, database, rule):
    names = {"name_th": "ก", "name_en": "a"}
    answer = owner.send("/admin/menus/vip/audience", **rule, **names)
    assert (answer.status_code, 'role="alert"' in answer.text) == (422, True)
    assert row(database, "vip").audience == {"override": "vip"}


def test_a_new_menu_begins_as_a_copy_and_is_put_away_and_brought_back(owner, guest, database):
    made = owner.send("/admin/menus", template="menu.guest", name_th="หน้าฝน", name_en="Rainy days")
    assert made.headers["Location"].endswith("/admin/menus/rainyday?note=console.saved")
    assert "ยังไม่ได้เผยแพร่" in owner.get("/admin/menus/rainyday").text
    assert owner.send("/admin/menus", template="no", name_th="ก", name_en="a").status_code == 404
    assert owner.send("/admin/menus/rainyday/archive").status_code == 303
    assert row(database, "rainyday").archived_at is not None
    assert owner.send("/admin/menus/rainyday/order", way="up").status_code == 404
    assert owner.send("/admin/menus/rainyday/archive", back="1").status_code == 303
    assert row(database, "rainyday").archived_at is None
    refused = owner.send("/admin/menus/guest/archive")
    assert (refused.status_code, 'role="alert"' in refused.text) == (409, True)


def test_the_order_is_changed(owner, guest, database):
    assert owner.send("/admin/menus/member/order", way="up").status_code == 303
    assert row(database, "member").priority < row(database, "vip").priority


def test_a_plan_is_made_and_called_off(owner, guest):
    when = (NOW + timedelta(days=2)).astimezone(BANGKOK).strftime("%Y-%m-%dT%H:%M")
    assert owner.send(f"{guest}/plan", publish_at=when).status_code == 303
    assert 'data-testid="menu-plan"' in owner.get(guest).text
    again = owner.send(f"{guest}/plan", publish_at=when)
    assert (again.status_code, 'role="alert"' in again.text) == (422, True)
    assert owner.send(f"{guest}/plan", cancel="1").status_code == 303
    assert 'data-testid="menu-plan"' not in owner.get(guest).text


@pytest.mark.parametrize("when", ["", "tomorrow", "2001-01-01T00:00", "9999-12-31T23:59"])
def test_a_moment_that_is_none_comes_back_with_words(owner, guest, when):
    answer = owner.send(f"{guest}/plan", publish_at=when)
    assert (answer.status_code, 'role="alert"' in answer.text) == (422, True)
    assert f'name="publish_at" value="{when}"' in answer.text


def send_picture(owner, guest, tab, given, **more):
    form = form_of(tab) | {"picture.both": (given, "menu.png"), **more}
    return owner.send(guest, **form)


def test_a_picture_is_uploaded_and_taken_off_again(owner, guest, database):
    _number, tab = newest(database)
    assert send_picture(owner, guest, tab, picture(1250, 843)).status_code == 303
    number, tab = newest(database)
    assert number == 2
    assert set(tab["pictures"]) == {"th", "en"}
    with database.read() as session:
        assert len(session.scalars(select(MenuUpload)).all()) == 1
    tried = owner.send(guest, drop_picture="th", **form_of(tab))
    assert "&#34;pictures&#34;: {&#34;en&#34;" in tried.text


@pytest.mark.parametrize(
    "given, words",
    [
        (lambda: io.BytesIO(b"<svg/>"), "PNG หรือ JPEG"),
        (lambda: picture(400, 200), "เล็กเกินไป"),
        (lambda: picture(1000, 1000), "สูงเกินไป"),
    ],
)
def test_FX04_a_picture_that_is_none_comes_back_with_words(owner, guest, database, given, words):
    _number, tab = newest(database)
    answer = send_picture(owner, guest, tab, given())
    assert (answer.status_code, words in answer.text) == (422, True)
    assert newest(database)[0] == 1


def test_the_preview_draws_the_form_and_says_what_is_wrong_where(owner, guest, database):
    _number, tab = newest(database)
    name = f"{tab['key']}.{tab['areas'][1]['key']}"
    good = owner.send(f"{guest}/preview", **form_of(tab)).json
    assert good["picture"].startswith("data:image/png;base64,")
    assert good["faults"] == {}
    assert good["taps"][0]["areas"][1]["says"] == "คูปอง"
    form = form_of(tab) | {f"{name}.type": "uri", f"{name}.value": "javascript:alert(1)"}
    bad = owner.send(f"{guest}/preview", **form).json
    assert list(bad["faults"]) == [f"{name}.value"]
    assert newest(database)[0] == 1


@pytest.mark.parametrize(
    "fields, made",
    [
        ({"type": "postback", "command": "draws.show"},
         {"type": "postback", "value": "draws.show", "say": {"th": "ลุ้นโชค", "en": "lucky draw"}}),
        ({"type": "message", "say.th": "เปิดกี่โมง", "say.en": "When do you open?"},
         {"type": "message", "value": "เปิดกี่โมง"}),
        ({"type": "clipboard", "value": "TAEM10"}, {"type": "clipboard", "value": "TAEM10"}),
        ({"type": "datetimepicker", "mode": "datetime", "min": "2026-12-01T10:00"},
         {"type": "datetimepicker", "value": "conversations.picked", "min": "2026-12-01T10:00"}),
        ({"type": "postback", "command": "", "value": "coupons.enter_code",
          "input_option": "openKeyboard", "fill_in.th": "โค้ด ", "fill_in.en": "code "},
         {"input_option": "openKeyboard", "fill_in": {"th": "โค้ด", "en": "code"}}),
    ],
)  # fmt: skip
def test_every_kind_of_action_is_kept_with_its_own_fields_alone(
    owner, guest, database, fields, made
):
    _number, tab = newest(database)
    name = f"{tab['key']}.{tab['areas'][1]['key']}"
    form = form_of(tab) | {f"{name}.{field}": value for field, value in fields.items()}
    assert owner.send(guest, **form).status_code == 303
    action = newest(database)[1]["areas"][1]["action"]
    assert {key: action[key] for key in made} == made


@pytest.mark.parametrize(
    "fields, place",
    [
        ({"type": "clipboard", "value": "x" * 1001}, "value"),
        ({"type": "datetimepicker", "mode": "date", "min": "31/12/2026"}, "min"),
        ({"type": "datetimepicker", "mode": "date", "min": "1899-12-31"}, "min"),
        ({"type": "datetimepicker", "mode": "time", "min": "18:00", "max": "09:00"}, "max"),
        ({"type": "uri", "value": "https://x.test/" + "a" * 1000}, "value"),
        ({"type": "message", "say.th": "ไทยเท่านั้น", "say.en": ""}, "say"),
        ({"type": "camera"}, "type"),
    ],
)
def test_limits_of_an_action_are_said_beside_its_field(owner, guest, database, fields, place):
    _number, tab = newest(database)
    name = f"{tab['key']}.{tab['areas'][1]['key']}"
    form = form_of(tab) | {f"{name}.{field}": value for field, value in fields.items()}
    answer = owner.send(guest, **form)
    assert answer.status_code == 422
    assert re.search(f'data-fault="{re.escape(name)}.{place}"[^>]*>[^<]+<', answer.text)
    assert newest(database)[0] == 1


def test_tabs_are_added_and_taken_away_with_room_for_the_strip(owner, guest, database):
    _number, tab = newest(database)
    tried = owner.send(guest, add_tab="1", **form_of(tab))
    draft = html.unescape(re.search('name="draft" value="([^"]*)"', tried.text)[1])
    tabs = json.loads(draft)["tabs"]
    assert [one["key"] for one in tabs] == ["main", "tab2"]
    assert min(area["y"] for one in tabs for area in one["areas"]) == 230
    saved = owner.send(guest, draft=draft, save="1", **form_of(tabs[1]))
    assert saved.status_code == 303
    with database.read() as session:
        menu = session.scalars(select(Menu).where(Menu.key == "guest")).one()
        kept = publish.latest_version(session, menu.id).definition["tabs"]
    back = owner.send(guest, drop_tab="1", **form_of(kept[1]))
    left = json.loads(html.unescape(re.search('name="draft" value="([^"]*)"', back.text)[1]))[
        "tabs"
    ]
    assert [one["key"] for one in left] == ["main"]
    assert min(area["y"] for area in left[0]["areas"]) == 0


@pytest.mark.parametrize("draft", ["{", "[]", '{"tabs": []}', "null", '{"tabs": [{"key": 1}]}'])
def test_a_draft_that_is_none_counts_as_not_sent(owner, guest, database, draft):
    _number, tab = newest(database)
    assert owner.send(guest, draft=draft, **form_of(tab)).status_code == 303


@pytest.mark.parametrize(
    "change",
    [
        {"x": float("inf")}, {"shows": ["tier"]}, {"label": {"th": "\0", "en": "a"}},
        {"label": {"th": "\ud800", "en": "a"}},
        {"action": {"type": "datetimepicker", "value": "x", "mode": ["date"], "min": ["x"]}},
    ],
)  # fmt: skip
def test_a_draft_made_by_hand_is_no_fault(owner, guest, database, change):
    with database.read() as session:
        menu = session.scalars(select(Menu).where(Menu.key == "guest")).one()
        definition = publish.latest_version(session, menu.id).definition
    made = json.loads(json.dumps(definition))
    made["tabs"][0] |= {"pictures": {"th": ["x"]}}
    made["tabs"][0]["areas"][0] |= change
    for path in (guest, f"{guest}/preview"):
        answer = owner.send(path, draft=json.dumps(made), tab=made["tabs"][0]["key"])
        assert answer.status_code in (200, 303, 422)


def test_who_saves_over_a_newer_version_is_told_first(owner, guest, database):
    _number, tab = newest(database)
    label = f"{tab['key']}.{tab['areas'][0]['key']}.label.th"
    assert owner.send(guest, base="1", **form_of(tab) | {label: "ก่อน"}).status_code == 303
    late = owner.send(guest, base="1", **form_of(tab) | {label: "หลัง"})
    assert (late.status_code, 'name="base" value="2"' in late.text) == (409, True)
    assert newest(database)[0] == 2
    assert owner.send(guest, base="2", **form_of(tab) | {label: "หลัง"}).status_code == 303


@pytest.mark.parametrize("step", [{"arrange": "1"}, {"open": "main"}, {"label": ""}])
def test_a_draft_rests_on_the_version_it_began_with_until_it_is_saved(owner, guest, database, step):
    _number, tab = newest(database)
    label = f"{tab['key']}.{tab['areas'][0]['key']}.label.th"
    assert owner.send(guest, base="1", **form_of(tab) | {label: "ก่อน"}).status_code == 303
    mine = form_of(tab) | {label: step.get("label", "หลัง")}
    page = owner.send(guest, base="1", **mine | step).text
    assert 'name="base" value="1"' in page
    form = sent_by(page) | {label: "หลัง"}
    assert owner.send(guest, **form).status_code == 409
    assert newest(database)[0] == 2


def test_a_picture_outlives_the_refusal_of_its_draft(owner, guest, database):
    _number, tab = newest(database)
    label = f"{tab['key']}.{tab['areas'][0]['key']}.label.th"
    refused = send_picture(owner, guest, tab, picture(1250, 843), **{label: ""})
    assert (refused.status_code, t("th", "menus.picture_is_th") in refused.text) == (422, True)
    form = sent_by(refused.text) | {label: "มาใหม่"}
    assert owner.send(guest, **form).status_code == 303
    pictures = newest(database)[1]["pictures"]
    with database.read() as session:
        assert session.scalars(select(MenuUpload.content_hash)).all() == [pictures["th"]]


def test_a_picture_chosen_before_an_area_is_added_comes_along(owner, guest, database):
    _number, tab = newest(database)
    page = send_picture(owner, guest, tab, picture(1250, 843), drop=tab["areas"][-1]["key"])
    assert (page.status_code, t("th", "menus.picture_is_th") in page.text) == (200, True)
    assert owner.send(guest, **sent_by(page.text)).status_code == 303
    assert set(newest(database)[1]["pictures"]) == {"th", "en"}


def test_the_history_says_in_words_what_changed(owner, guest, database):
    _number, tab = newest(database)
    area = f"{tab['key']}.{tab['areas'][1]['key']}"
    form = form_of(tab) | {
        f"{area}.label.th": "ของฟรี", f"{area}.type": "uri", f"{area}.value": "https://x.test/",
        "colour.accent": "#00ff00",
    }  # fmt: skip
    assert owner.send(guest, **form).status_code == 303
    text = html.unescape(owner.get(guest).text)
    for words in (
        "ปุ่ม “ของฟรี” · ข้อความ: คูปอง → ของฟรี",
        "ทำคำสั่ง “คูปอง” ในแชท → เปิด https://x.test/",
        "สีเน้น: #F2B544 → #00FF00",
    ):
        assert words in text


def test_line_that_is_away_is_said_and_tried_again(owner, guest, database):
    assert owner.get("/admin/menus/line").status_code == 200
    assert owner.send("/admin/menus/publish").status_code == 502
    assert owner.send(f"{guest}/publish", version="1").status_code == 502
    assert owner.send(f"{guest}/publish", version="99").status_code == 404
    assert owner.send("/admin/menus/line").status_code == 502
    assert row(database).published_version == 1
    with database.read() as session:
        assert session.get(MenuUpkeep, 1).problem == "menus.line_failed"
    assert "จะลองใหม่เอง" in owner.get("/admin/menus").text


def test_only_marketing_touches_menus(sign_in, guest):
    person = sign_in("auditor")
    for path in ("audience", "plan", "publish", "archive", "order", "preview"):
        assert person.send(f"{guest}/{path}", version="1").status_code == 403
    assert person.send("/admin/menus", template="blank").status_code == 403
    assert person.send("/admin/menus/line").status_code == 403


@pytest.fixture
def line(monkeypatch):
    line = StoppingLine()
    monkeypatch.setattr(menu_editor, "SdkLine", lambda _: line)
    return line


def acts(database):
    with database.read() as session:
        return session.scalars(select(AuditRow.act).order_by(AuditRow.id)).all()


def test_a_draft_is_tried_on_the_testers_telephones_alone(owner, guest, database, runtime, line):
    with runtime.transaction() as session:
        tester, other = factories.somchai(session, is_test=True), factories.malee(session)
        for one in (tester, other):
            line.add_friend(one.line_user_id, "x")
    tried = owner.send(f"{guest}/try")
    assert tried.status_code == 200
    assert t("th", "menus.tried", count=1) in html.unescape(tried.text)
    assert set(line.links) == {tester.line_user_id}
    assert acts(database)[-1] == "menus.tried"
    assert newest(database)[0] == 1, "nothing is saved or published by it"


def test_a_trial_that_cannot_be_says_why_and_leaves_no_row(owner, guest, database, runtime, line):
    nobody = owner.send(f"{guest}/try")
    assert (nobody.status_code, line.menu_bodies) == (422, {})
    assert t("th", "menus.no_testers") in html.unescape(nobody.text)
    with runtime.transaction() as session:
        tester = factories.somchai(session, is_test=True)
        line.add_friend(tester.line_user_id, "x")
    line.stop_at(2, is_heard=False)
    silent = owner.send(f"{guest}/try")
    assert silent.status_code == 502
    assert t("th", "menus.line_silent") in html.unescape(silent.text)
    assert "menus.tried" not in acts(database)
    assert owner.send("/admin/menus/none/try").status_code == 404
