"""Files and icons of pages: kept by browsers as long as they are the same, and no longer."""

from __future__ import annotations

import re

import pytest

from web import assets
from web.assets import KEPT

FILES = re.compile(r'(?:src|href)="(/(?:bootstrap/)?static/[^"]+)"')


@pytest.mark.parametrize("path", ["/admin/sign-in", "/cashier/enrol"])
def test_files_of_pages_are_kept_by_the_browser(client, path):
    named = FILES.findall(client.get(path).text)
    assert len(named) >= 3
    for address in named:
        with client.get(address) as answer:
            assert answer.headers["Cache-Control"] == KEPT, address


@pytest.mark.parametrize("version", ["", "?v=", "?v=0123456789ab"])
def test_what_names_no_content_or_another_is_asked_for_again(client, version):
    with client.get(f"/static/base.css{version}") as answer:
        assert answer.status_code == 200
        assert answer.headers["Cache-Control"] == "no-cache"


def test_another_content_is_another_address(app, tmp_path, monkeypatch):
    (tmp_path / "base.css").write_text("a{}")
    monkeypatch.setattr(app, "static_folder", str(tmp_path))

    def address() -> str:
        with app.test_request_context():
            return app.url_for("static", filename="base.css")

    before = address()
    (tmp_path / "base.css").write_text("b{}")
    assert "?v=" in before
    assert address() != before


def test_a_file_that_is_not_there_has_an_address_all_the_same(app, client):
    with app.test_request_context():
        address = app.url_for("static", filename="nothing.css")
    assert address == "/static/nothing.css"
    assert client.get("/static/nothing.css?v=1").status_code == 404


def test_icons_stand_in_the_page_and_nothing_more_is_fetched_for_them(owner):
    page = owner.get("/admin").text
    assert "bootstrap-icons" not in page
    assert page.count('<svg class="bi"') > 10
    assert str(assets.icon("list")) in page


def test_an_icon_that_is_not_there_is_a_mistake_of_ours():
    with pytest.raises(KeyError, match=r"no\.such"):
        assets.icon("no.such")
