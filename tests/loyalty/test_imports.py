"""Members brought from elsewhere: a report by line, all or nothing, and never twice."""

from __future__ import annotations

import io
import time
import zipfile
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from openpyxl import Workbook
from sqlalchemy import func, select

from core.crypto import Vault
from core.errors import Refused
from core.spreadsheets import csv_text, xlsx_bytes
from loyalty import imports, members, merging, personal, points, proof, sheets
from models.imports import Import, ImportedMember, ImportState
from models.members import Consent, Member, MemberState, Purpose
from models.points import LedgerEntry, Lot
from tests import factories
from tests.moments import BANGKOK, NOW

TODAY = NOW.astimezone(BANGKOK).date()
HEAD = "name,phone,birthday,points,points_expire_on,external_id,joined_on,consent,marketing\n"
GOOD = (
    HEAD
    + "สมหญิง ใจดี,081-234-5678,14/02/2535,250,31/12/2569,A-1,๑/๕/๒๕๖๖,ใช่,yes\n"
    + 'Bob,0898765432,,"1,200",,A-2,2024-03-02,yes,no\n'
    + "ไม่มีเบอร์,,,0,,A-3,,1,\n"
)


def read(session, vault, text: str | bytes) -> imports.Reading:
    content = text.encode() if isinstance(text, str) else text
    return imports.read(session, vault, content, TODAY)


def apply(session, vault, reading, **more: Any) -> imports.Applied:
    sealed = imports.seal(vault, reading, locale="th", now=NOW, tz=BANGKOK)
    return imports.apply(session, reading, sealed, now=NOW, tz=BANGKOK, actor="cli", **more)


def troubles(reading) -> list[tuple[int, str, str]]:
    return [(one.line, one.field, one.code) for one in reading.troubles]


def test_list_becomes_members_with_points_dates_and_consents(session, vault):
    reading = read(session, vault, GOOD)
    assert reading.counts == {"new": 3, "known": 0, "wrong": 0, "points": 1450}
    assert apply(session, vault, reading) == imports.Applied(3, 0, 1450)
    member = members.by_phone(session, vault, "+66812345678")
    assert member is not None
    assert (member.name, member.phone_proven_by) == ("สมหญิง ใจดี", "import")
    assert personal.phone_of(session, vault, member) == "+66812345678"
    assert personal.birthday_of(session, vault, member) == date(1992, 2, 14)
    assert member.joined_at == datetime(2023, 4, 30, 17, tzinfo=UTC)
    lot = session.scalars(select(Lot).where(Lot.member_id == member.id)).one()
    assert lot.expires_at == datetime(2026, 12, 31, 17, tzinfo=UTC)
    assert points.balance_of(session, member.id, NOW).available == 250
    given = session.scalars(select(Consent.purpose).where(Consent.member_id == member.id)).all()
    assert set(given) == {Purpose.MEMBERSHIP, Purpose.BIRTHDAY, Purpose.MARKETING}
    assert proof.check_all(session, NOW) == []


def test_same_list_again_changes_nothing(session, vault):
    apply(session, vault, read(session, vault, GOOD))
    before = session.scalar(select(func.count()).select_from(LedgerEntry))
    again = read(session, vault, GOOD)
    assert again.counts == {"new": 0, "known": 3, "wrong": 0, "points": 0}
    assert apply(session, vault, again).new == 0
    assert session.scalar(select(func.count()).select_from(LedgerEntry)) == before


@pytest.fixture
def rotated() -> Vault:
    """The vault once a new index key stands before the old one."""
    return Vault((factories.DATA_KEY,), ("new-index-key-of-the-tests-123456", factories.INDEX_KEY))


@pytest.mark.parametrize("text", [GOOD, GOOD.replace("A-1", "").replace("A-2", "")])
def test_same_list_after_the_index_key_changed_adds_nobody(session, vault, rotated, text):
    apply(session, vault, read(session, vault, text))
    again = read(session, rotated, text)
    assert again.counts == {"new": 0, "known": 3, "wrong": 0, "points": 0}
    assert apply(session, rotated, again) == imports.Applied(0, 3, 0)


def test_list_read_under_the_new_key_before_it_was_applied_under_the_old_adds_nobody(
    session, vault, rotated
):
    waiting = read(session, rotated, GOOD)
    apply(session, vault, read(session, vault, GOOD))
    assert apply(session, rotated, waiting) == imports.Applied(0, 3, 0)


def test_phone_proven_under_the_old_index_key_is_not_taken_over(session, vault, rotated):
    somchai = factories.somchai(session, vault=vault)
    members.set_phone(session, vault, somchai, members.E164("+66812345678"), NOW)
    members.mark_proven(session, somchai, NOW, "cashier", taken="x")
    assert troubles(read(session, rotated, GOOD)) == [(2, "phone", "phone_taken")]


def test_list_read_before_somebody_else_applied_it_adds_nobody_twice(session, vault):
    first, second = read(session, vault, GOOD), read(session, vault, GOOD)
    apply(session, vault, first)
    assert apply(session, vault, second) == imports.Applied(0, 3, 0)
    assert session.scalar(select(func.count()).select_from(ImportedMember)) == 3


@pytest.mark.parametrize(
    "cells, field, code",
    [
        ("x,12,,1,,A,,yes,", "phone", "bad_phone"),
        ("x,,,1,,,,yes,", "phone", "no_key"),
        ("x,0812345678,31/02/2540,1,,A,,yes,", "birthday", "bad_day"),
        ("x,0812345678,,-5,,A,,yes,", "points", "bad_number"),
        ("x,0812345678,,1.5,,A,,yes,", "points", "bad_number"),
        ("x,0812345678,,99999999999,,A,,yes,", "points", "bad_number"),
        ("x,0812345678,,1,1/1/2560,A,,yes,", "points_expire_on", "past"),
        ("x,0812345678,,1,,A,1/1/2590,yes,", "joined_on", "future"),
        ("x,0812345678,,1,,A,never,yes,", "joined_on", "bad_day"),
        ("x,0812345678,,1,,A,,no,", "consent", "no_consent"),
        ("x,0812345678,,1,,A,,maybe,", "consent", "yes_or_no"),
    ],
)
def test_wrong_line_is_named_with_field_and_reason(session, vault, cells, field, code):
    assert troubles(read(session, vault, HEAD + cells)) == [(2, field, code)]


def test_two_lines_of_one_person_are_one_too_many(session, vault):
    reading = read(
        session,
        vault,
        HEAD + "a,0812345678,,1,,A,,yes,\nb,+66812345678,,1,,B,,yes,\nc,,,1,,A,,yes,",
    )
    assert troubles(reading) == [(3, "phone", "twice"), (4, "external_id", "twice")]


def test_phone_of_a_member_is_not_taken_over(session, vault):
    somchai = factories.somchai(session, vault=vault)
    members.set_phone(session, vault, somchai, members.E164("+66812345678"), NOW)
    members.mark_proven(session, somchai, NOW, "cashier", taken="x")
    assert troubles(read(session, vault, GOOD)) == [(2, "phone", "phone_taken")]


def test_wrong_lines_stop_everything_unless_good_ones_are_asked_for(session, vault):
    reading = read(session, vault, GOOD + "bad,1,,1,,A-9,,yes,\n")
    with pytest.raises(Refused, match=r"imports.has_wrong"):
        apply(session, vault, reading)
    assert session.scalar(select(func.count()).select_from(ImportedMember)) == 0
    assert apply(session, vault, reading, good_only=True).new == 3


def test_kept_list_is_sealed_applied_once_and_then_gone(session, vault):
    staff = factories.prem(session)
    reading = read(session, vault, GOOD)
    kept = imports.keep(session, vault, GOOD.encode(), reading, staff.id, NOW)
    assert "สมหญิง".encode() not in kept.content_sealed
    assert imports.content_of(vault, kept) == GOOD.encode()
    apply(session, vault, reading, kept=kept, staff_id=staff.id)
    session.refresh(kept)
    assert (kept.state, kept.content_sealed) == (ImportState.APPLIED, None)
    with pytest.raises(Refused, match=r"imports.decided"):
        apply(session, vault, read(session, vault, GOOD), kept=kept)
    with pytest.raises(Refused, match=r"imports.decided"):
        imports.drop(session, kept, NOW, "cli")


def test_undecided_list_is_forgotten_after_two_days(session, vault):
    staff = factories.prem(session)
    kept = imports.keep(session, vault, GOOD.encode(), read(session, vault, GOOD), staff.id, NOW)
    assert imports.forget(session, NOW, 10) == 0
    assert imports.forget(session, NOW + timedelta(minutes=1), 10) == 1
    session.refresh(kept)
    assert kept.content_sealed is None


def test_j3_imported_member_is_claimed_with_the_points_by_who_proves_the_phone(session, vault):
    apply(session, vault, read(session, vault, GOOD))
    person = factories.malee(session, vault=vault)
    number, user = person.member_no, person.line_user_id
    members.set_phone(session, vault, person, members.E164("+66812345678"), NOW)
    account = merging.prove_phone(session, vault, person, NOW)
    assert (account.member_no, account.line_user_id) == (number, user)
    assert points.balance_of(session, account.id, NOW).available == 250
    assert read(session, vault, GOOD).known == 3


# Files


def book(rows: list[list[Any]]) -> bytes:
    made = Workbook()
    for row in rows:
        made.active.append(row)
    held = io.BytesIO()
    made.save(held)
    return held.getvalue()


def test_spreadsheet_with_dates_numbers_and_formulas(session, vault):
    rows = [
        ["ชื่อ", "เบอร์โทร", "วันเกิด", "แต้ม", "รหัสสมาชิก", "ยินยอม"],
        ["สมหญิง", 812345678, datetime(1992, 2, 14), 250.0, 17, "ใช่"],
        ["สูตร", "0898765432", None, "=1+999", "=HYPERLINK(1)", "ใช่"],
        [None, None, None, None, None, None],
    ]
    reading = read(session, vault, book(rows))
    assert [(p.phone, p.birthday, p.points) for p in reading.new] == [
        ("+66812345678", date(1992, 2, 14), 250),
        ("+66898765432", None, 0),
    ]


def test_ticks_of_a_spreadsheet_are_yes_and_no(session, vault):
    rows = [
        ["phone", "consent", "marketing"],
        ["0812345678", True, True],
        ["0898765432", True, False],
        ["0876543210", False, True],
    ]
    reading = read(session, vault, book(rows))
    assert [person.wants_marketing for person in reading.new] == [True, False]
    assert troubles(reading) == [(4, "consent", "no_consent")]


@pytest.mark.parametrize("write", [lambda rows: csv_text(rows).encode(), xlsx_bytes])
def test_our_own_file_is_read_as_what_it_said(session, vault, write):
    rows = [
        ["name", "phone", "external_id", "consent"],
        ["-=มาลี=-", "+447911123456", "@1", "yes"],
        ["'สมชาย'", "+66812345678", "A-2", "yes"],
    ]
    reading = read(session, vault, write(rows))
    assert [(person.name, person.phone) for person in reading.new] == [
        ("-=มาลี=-", "+447911123456"),
        ("'สมชาย'", "+66812345678"),
    ]
    assert reading.new[0].key == vault.blind_index(imports.KEY_PURPOSE, "id:@1")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp874"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_text_as_excel_and_others_write_it(session, vault, encoding, separator):
    text = f"ชื่อ{separator}เบอร์{separator}ยินยอม\r\nมาลี{separator}0812345678{separator}ใช่\r\n"
    reading = read(session, vault, text.encode(encoding))
    assert [person.name for person in reading.new] == ["มาลี"]


@pytest.mark.parametrize(
    "content, code",
    [
        (b"", "imports.no_key_column"),
        (b"name,points\nx,1", "imports.no_key_column"),
        (b"phone,shoe size\n1,2", "imports.unknown_column"),
        (b"phone,mobile\n1,2", "imports.column_twice"),
        (b"phone,consent\n", "imports.empty"),
        (b"phone\x00", "imports.unreadable"),
        (b"PK\x03\x04 not a zip", "imports.unreadable"),
        (b"phone," + b"x" * sheets.MAX_BYTES, "imports.too_large"),
    ],
)  # fmt: skip
def test_what_is_no_list_is_refused_as_a_whole(session, vault, content, code):
    with pytest.raises(Refused, match=code):
        read(session, vault, content)


def test_zip_bomb_is_refused_before_it_is_unpacked(session, vault):
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as parts:
        for number in range(3):
            parts.writestr(f"xl/worksheets/sheet{number}.xml", b"\0" * (50 * 2**20))
    assert len(held.getvalue()) < sheets.MAX_BYTES
    with pytest.raises(Refused, match=r"imports.too_large"):
        read(session, vault, held.getvalue())


def test_too_many_lines_are_refused(session, vault, monkeypatch):
    monkeypatch.setattr(sheets, "MAX_LINES", 2)
    with pytest.raises(Refused, match=r"imports.too_many"):
        read(session, vault, HEAD + "x,0812345678,,1,,A,,yes,\n" * 3)


@pytest.mark.soak
@pytest.mark.slow
def test_fg19_broken_line_in_fifty_thousand_then_run_twice(database, vault, scale):
    """Nothing or all, by choice; a second run brings nobody new."""
    count = scale(50_000)
    lines = [f"n{n},08{n:08d},,{n % 50},,X{n},,yes," for n in range(10_000_000, 10_000_000 + count)]
    lines[count * 3 // 5] = "broken,1,,x,,,,,"
    content = HEAD + "\n".join(lines)
    with database.read() as session:
        reading = read(session, vault, content)
    assert reading.counts["new"] == count - 1
    assert [one.line for one in reading.troubles] == [count * 3 // 5 + 2]
    with pytest.raises(Refused), database.write() as session:
        apply(session, vault, reading)
    began = time.process_time()
    with database.write() as session:
        done = apply(session, vault, reading, good_only=True)
    assert done.new == count - 1
    assert time.process_time() - began <= 60  # seconds of this process, at fifty thousand lines
    with database.write() as session:
        again = read(session, vault, content)
        assert (again.counts["new"], again.known) == (0, count - 1)
        assert proof.check_all(session, NOW) == []
        stored = select(func.count()).where(Member.state == MemberState.MEMBER)
        assert session.scalar(stored) == count - 1
        assert session.scalar(select(func.count()).select_from(Import)) == 1
