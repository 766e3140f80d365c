"""The menu editor: layouts, areas added and dropped, overlaps refused, versions rolled back."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from models.menus import Menu, MenuVersion
from models.staff import AuditRow
from rich_menus import images, publish
from tests.factories import NOW


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
