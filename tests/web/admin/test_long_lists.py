"""Lists of very many rows: bounds, directions, and what a search means (FX08)."""

from __future__ import annotations

import re
from urllib.parse import urlencode

from loyalty import members
from tests import factories
from tests.moments import NOW
from tests.web.admin.conftest import rows_of
from web.admin import tables
from web.admin.tables import PAGE_ROWS


def test_rows_are_counted_and_reached_up_to_a_bound(owner, crowd, monkeypatch):
    assert "27 รายการ" in owner.get("/admin/members").text
    monkeypatch.setattr(tables, "COUNTED", PAGE_ROWS)
    page = owner.get("/admin/members?page=2").text
    assert f"มากกว่า {PAGE_ROWS} รายการ" in page
    assert 'data-testid="next-page"' not in page
    assert "ไฟล์มีทุกแถวที่ค้นเจอ" in page
    assert len(rows_of(owner.send("/admin/members.csv"))) == 1 + 2 + PAGE_ROWS


def test_a_very_long_list_is_ordered_only_where_an_index_does_it(owner, crowd, monkeypatch):
    def orders(address: str) -> set[str]:
        heads = owner.get(address).text.partition("<thead")[2].partition("</thead")[0]
        return set(re.findall(r"sort=(\w+)", heads))

    quick = {"name", "number", "points", "spent", "last", "joined"}
    assert orders("/admin/members") == quick | {"stage", "level", "bills"}
    monkeypatch.setattr(tables, "COUNTED", PAGE_ROWS)
    assert orders("/admin/members") == quick
    assert orders("/admin/members?sort=level") == quick
    first = re.compile(r"/admin/members/\w{32}")
    as_it_opens = first.findall(owner.get("/admin/members").text)
    assert first.findall(owner.get("/admin/members?sort=level").text) == as_it_opens


def test_an_order_turned_round_is_the_same_list_backwards(owner, crowd):
    """Members of the crowd have the same balance and mostly the same moment of joining."""
    for sort in ("joined", "points", "spent", "last", "number"):
        down = rows_of(owner.send(f"/admin/members.csv?sort={sort}&down=1"))[1:]
        up = rows_of(owner.send(f"/admin/members.csv?sort={sort}&down=0"))[1:]
        assert [row[1] for row in down] == [row[1] for row in reversed(up)]


def names_found(owner, text: str) -> set[str]:
    answer = owner.send(f"/admin/members.csv?{urlencode({'q': text})}")
    return {row[0].lstrip("'") for row in rows_of(answer)[1:]}


def test_fx08_every_letter_is_searched_as_itself(runtime, owner):
    names = ("100% ลด", "ก_ข", "O'Neil", 'a"b', "สมชาย ใจดี", "back\\slash", "ÉMILE 😀", "ab")
    with runtime.transaction() as session:
        for name in names:
            factories.make_member(session, name)
    for text, name in (
        ("%", names[0]), ("_", names[1]), ("'", names[2]), ('"', names[3]), ("มชา", names[4]),
        ("ย ใ", names[4]), ("\\", names[5]), ("😀", names[6]), ("o'NEIL", names[2]),
    ):  # fmt: skip
        assert names_found(owner, text) == {name}, text
    assert names_found(owner, "%_") == names_found(owner, "ไม่มีใคร") == set()
    assert names_found(owner, "AB") == {"ab"}
    for wrong in ("a\x00b", "x" * 10_000):
        answer = owner.get(f"/admin/members?{urlencode({'q': wrong})}")
        assert answer.status_code == 422
        assert "Traceback" not in answer.text


def test_a_member_is_found_by_the_end_of_their_phone_and_the_beginning_of_their_number(
    runtime, owner
):
    with runtime.transaction() as session:
        malee = factories.malee(session)
        members.set_phone(session, runtime.vault, malee, members.E164("+66812345678"), NOW)
        factories.somchai(session)
        number = malee.member_no
    assert names_found(owner, "5678") == {"Malee"}
    assert names_found(owner, "๕๖๗๘") == {"Malee"}
    assert names_found(owner, "081-234-5678") == {"Malee"}
    assert names_found(owner, number) == {"Malee"}
    assert "Malee" in names_found(owner, number[:6])
    assert names_found(owner, "0000") == set()
