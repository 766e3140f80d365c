"""Who is at the till: scanned, typed, looked up by phone, new, or proving a phone."""

from __future__ import annotations

from sqlalchemy import func, select

from core.text import clean
from loyalty import members
from models.members import Member
from models.staff import AuditRow
from tests import factories
from tests.moments import NOW
from tests.web.conftest import PHONE


def scan(till, text):
    return till.ask("/cashier/scan", {"text": text})


def test_member_number_finds_a_masked_member(till, somchai):
    found = scan(till, somchai.member_no).get_json()["member"]
    assert found["id"] == somchai.public_id
    assert found["is_masked"]
    assert found["name"] != "สมชาย"
    assert found["picture"] is None


def test_number_may_be_typed_with_spaces_and_thai_digits(till, somchai):
    digits = str.maketrans("0123456789", "๐๑๒๓๔๕๖๗๘๙")
    typed = f" {somchai.member_no[:4]} {somchai.member_no[4:]} ".translate(digits)
    assert scan(till, typed).get_json()["member"]["id"] == somchai.public_id


def test_unknown_number_is_404(till):
    assert scan(till, "123456782").status_code == 404


def test_identify_code_shows_the_whole_name(till, somchai, show):
    seen = scan(till, show(somchai)).get_json()
    assert seen["member"]["name"] == "สมชาย"
    assert seen["hold"]


def test_link_around_a_code_is_read_as_the_code(till, somchai, show):
    answer = scan(till, f"https://shop.example/s/{show(somchai)}")
    assert answer.get_json()["member"]["id"] == somchai.public_id


def test_card_code_shows_a_masked_name_and_holds_nothing(till, somchai, show):
    seen = scan(till, show(somchai, purpose="card")).get_json()
    assert seen["member"]["is_masked"]
    assert "hold" not in seen


def test_FQ16_codes_of_other_systems_are_refused_politely(till):
    answers = [
        scan(till, text)
        for text in (
            "00020101021129370016A000000677010111011300668123456785802TH530376463048D2E",
            "https://lin.ee/abcdef",
            "งวดวันที่ 1 ธ.ค. 820866",
            "WIFI:S:cafe;T:WPA;P:secret;;",
            "Q2.x",
        )
    ]
    assert {answer.status_code for answer in answers} == {409}
    assert {answer.get_json()["code"] for answer in answers} == {"codes.foreign"}
    assert "QR" in answers[0].get_json()["message"]


def test_late_code_is_refused(till, somchai, show, clock):
    text = show(somchai)
    clock.advance(seconds=61)
    assert scan(till, text).get_json()["code"] == "codes.expired"


def test_odd_texts_are_refused(till):
    odd = ["", " ", "x" * 501, None, 5, ["a"]]
    assert {scan(till, text).status_code for text in odd} == {422}


def test_FQ04_damaged_codes_are_refused(till, somchai, show):
    text = show(somchai)
    other_mac = text[:-1] + ("A" if text[-1] != "A" else "B")
    assert scan(till, other_mac).get_json()["code"] == "codes.expired"
    assert scan(till, text[:40]).get_json()["code"] == "codes.expired"
    assert scan(till, "Q1.' OR 1=1;--").get_json()["code"] == "codes.expired"


def test_proven_phone_finds_a_masked_member(till, somchai):
    found = scan(till, "081-234-5678").get_json()["member"]
    assert (found["id"], found["is_masked"]) == (somchai.public_id, True)


def test_unproven_phone_finds_nobody(till, runtime, somchai):
    with runtime.transaction() as session:
        session.get_one(Member, somchai.id).phone_proven_at = None
    answer = scan(till, PHONE)
    assert (answer.status_code, answer.get_json()["can_walk_in"]) == (404, True)


def test_K4_look_ups_are_limited_and_written_down(till, clock, database, shop):
    statuses = [
        scan(till, f"08{number:08d}").status_code for number in range(10_000_000, 10_000_031)
    ]
    assert statuses == [404] * 30 + [429]
    clock.advance(minutes=61)
    with database.read() as session:
        rows = session.scalars(select(AuditRow).where(AuditRow.act == "members.looked_up")).all()
    assert len(rows) == 30
    assert rows[0].facts == {"device": shop.device.id, "found": False}


def test_look_ups_are_allowed_again_after_the_hour(till, clock):
    for number in range(10_000_000, 10_000_030):
        scan(till, f"08{number:08d}")
    till.ask("/cashier/release", {"holds": []})
    clock.advance(minutes=29)
    till.ask("/cashier/release", {"holds": []})
    clock.advance(minutes=29)
    till.ask("/cashier/release", {"holds": []})
    assert scan(till, "0899999999").status_code == 429
    clock.advance(minutes=3)
    assert scan(till, "0899999999").status_code == 404


def test_walk_in_joins_with_consent(till, runtime):
    body = {"phone": "0898765432", "name": "คุณใหม่", "consent": True}
    made = till.ask("/cashier/walk-in", body, fresh=True).get_json()["member"]
    with runtime.database.read() as session:
        member = session.scalars(select(Member).where(Member.public_id == made["id"])).one()
        assert member.is_member
        e164 = members.parse_phone("0898765432")
        assert members.by_phone(session, runtime.vault, e164).id == member.id


def test_walk_in_without_consent_is_refused(till, database):
    body = {"phone": "0898765432"}
    answers = [
        till.ask("/cashier/walk-in", {**body, "consent": consent}, fresh=True).get_json()["code"]
        for consent in (None, False, "true", 1)
    ]
    assert set(answers) == {"cashiers.consent_needed"}
    with database.read() as session:
        assert session.scalar(select(func.count()).select_from(Member)) == 0


def test_known_phone_is_no_walk_in(till, somchai):
    answer = till.ask("/cashier/walk-in", {"phone": PHONE, "consent": True}, fresh=True)
    assert answer.get_json()["code"] == "members.already_known"


def test_cashier_proves_a_typed_phone(till, runtime, somchai):
    with runtime.transaction() as session:
        member = session.get_one(Member, somchai.id)
        member.phone_proven_at = member.phone_proven_by = None
    wrong = till.ask("/cashier/prove", {"member": somchai.public_id, "phone": "0898765432"})
    right = till.ask("/cashier/prove", {"member": somchai.public_id, "phone": "081 234 5678"})
    assert wrong.get_json()["code"] == "cashiers.phone_differs"
    assert right.get_json()["member"]["phone"] == "proven"
    with runtime.database.read() as session:
        assert session.get_one(Member, somchai.id).phone_proven_by == "cashier"
        acts = session.scalars(select(AuditRow.act)).all()
    assert acts == ["members.phone_proven"]


def test_AI1_friends_and_strangers_cannot_be_named(till, runtime):
    with runtime.transaction() as session:
        friend = factories.friend(session)
    known = till.ask("/cashier/prove", {"member": friend.public_id, "phone": PHONE})
    unknown = till.ask("/cashier/prove", {"member": "f" * 32, "phone": PHONE})
    assert known.status_code == unknown.status_code == 409
    assert known.get_json() == unknown.get_json()


HOSTILE_NAMES = [
    "<img src=x onerror=alert(1)>",
    '"><svg/onload=alert(1)>',
    "\u202egnp.exe",
    "👨‍👩‍👧‍👦" * 60,
    "ก" + "่" * 200,
    "\u200b\u2066",
]


def test_FX01_FX02_cashier_sees_usable_names(till, runtime, show):
    people = []
    with runtime.transaction() as session:
        for number, name in enumerate(HOSTILE_NAMES):
            member = factories.make_member(session, f"m{number}", vault=runtime.vault)
            member.name = None
            members.take_profile(member, name, "javascript:alert(1)", NOW)
            people.append(member)
    seen = [scan(till, show(member)).get_json()["member"] for member in people]
    assert all(one["name"] == clean(one["name"]) for one in seen)
    assert all(0 < len(one["name"]) <= 1200 for one in seen)
    assert [one["picture"] for one in seen] == [None] * len(seen)


def test_a_number_with_a_slip_is_named_as_one(till, somchai):
    slip = somchai.member_no[:-1] + str((int(somchai.member_no[-1]) + 1) % 10)
    answer = scan(till, slip)
    assert (answer.status_code, answer.get_json()["code"]) == (404, "cashiers.number_slip")
