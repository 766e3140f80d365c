"""Phones that are typed and phones that are proven, walk-ins, and claiming them (J3, J8)."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from sqlalchemy import func, select

from core.errors import Refused
from core.ids import is_member_number
from loyalty import (
    activities,
    consents,
    conversations,
    coupons,
    joining,
    members,
    merging,
    personal,
    points,
    purchases,
    surveys,
    tombstones,
)
from loyalty.joining import Answers, Surroundings
from models.activities import Activity
from models.coupons import Voucher, VoucherState
from models.members import Consent, Member, MemberKey, MemberState, Purpose
from models.points import LedgerEntry
from models.segments import MemberChoice, MemberTag
from tests.factories import line_id, make_branch, make_coupon, make_policy
from tests.moments import BANGKOK, NOW

PHONE = "+66812345678"


def join(session, vault, name, phone=PHONE, **more):
    member = members.friend_for(session, line_id(name), NOW)
    around = Surroundings(session, vault, member, NOW, BANGKOK)
    return joining.join(around, Answers(name=name, phone=phone, **more), channel="chat").member


def buy(session, member, operation, amount_satang=25000):
    return purchases.record_purchase(
        session,
        member_id=member.id,
        branch=make_branch(session),
        amount_satang=amount_satang,
        operation_id=operation,
        now=NOW,
        tz=BANGKOK,
    )


# Phones


@pytest.mark.parametrize(
    "text",
    [
        "0812345678", "081 234 5678", "081-234-5678", "๐๘๑-๒๓๔-๕๖๗๘", "66812345678",
        "+66812345678", "+66 81 234 5678", "+66 (0)81 234 5678", "660812345678", "(081) 234-5678",
    ],
)  # fmt: skip
def test_reads_a_thai_phone_however_it_is_written(text):
    assert members.parse_phone(text) == PHONE


@pytest.mark.parametrize(
    "text",
    ["\u202a081-234-5678\u202c", "081\u2011234\u20115678", "081–234–5678", "081\u00a0234\u00a05678",
     "\u200b0812345678\ufeff", "+66\u202f81\u202f234\u202f5678"],
)  # fmt: skip
def test_J3_reads_a_phone_as_it_is_copied_from_elsewhere(text):
    assert members.parse_phone(text) == PHONE


def test_reads_a_phone_from_abroad():
    assert members.parse_phone("+81 90 1234 5678") == "+819012345678"


@pytest.mark.parametrize(
    "text",
    [
        "", "081", "081234567", "08123456789", "abc", "0812345678x", "+", "+66", "081234\n5678",
        "０８１２３４５６７８", "٠٨١٢٣٤٥٦٧٨", "0812345678; DROP", "1" * 400, "0000000000",
    ],
)  # fmt: skip
def test_refuses_what_is_no_phone(text):
    assert members.parse_phone(text) is None


def test_J3_an_unproven_phone_is_not_unique_and_identifies_nobody(session, vault):
    first, second = join(session, vault, "หนึ่ง"), join(session, vault, "สอง")
    assert first.phone_index == second.phone_index
    assert members.by_phone(session, vault, PHONE) is None


def test_J3_whoever_proves_it_has_it_and_the_others_keep_theirs_unproven(session, vault):
    first, second = join(session, vault, "หนึ่ง"), join(session, vault, "สอง")
    merging.prove_phone(session, vault, second, NOW)
    assert members.by_phone(session, vault, PHONE) is second
    assert first.phone_proven_at is None
    with pytest.raises(Refused) as refusal:
        merging.prove_phone(session, vault, first, NOW)
    assert refusal.value.code == "members.phone_taken"


def test_proving_twice_changes_nothing(session, vault):
    member = join(session, vault, "หนึ่ง")
    merging.prove_phone(session, vault, member, NOW)
    merging.prove_phone(session, vault, member, NOW + timedelta(days=1))
    assert member.phone_proven_at == NOW


def test_another_phone_typed_later_is_unproven_again(session, vault):
    member = join(session, vault, "หนึ่ง")
    merging.prove_phone(session, vault, member, NOW)
    members.set_phone(session, vault, member, members.parse_phone("0899999999"), NOW)
    assert member.phone_proven_at is None
    assert members.by_phone(session, vault, PHONE) is None


def test_typing_the_proven_phone_again_keeps_it_proven(session, vault):
    member = join(session, vault, "หนึ่ง")
    merging.prove_phone(session, vault, member, NOW)
    members.set_phone(session, vault, member, PHONE, NOW)
    assert member.phone_proven_at == NOW


def test_the_phone_is_sealed_and_found_by_a_keyed_index(session, vault):
    member = join(session, vault, "หนึ่ง")
    assert b"812345678" not in member.phone_sealed
    assert personal.phone_of(session, vault, member) == PHONE
    assert PHONE not in member.phone_index


# Walk-ins


def test_J8_a_walk_in_is_known_by_phone_with_consent_recorded(session, vault):
    member = members.create_walk_in(session, vault, e164=PHONE, now=NOW, name="คุณป้า")
    assert members.by_phone(session, vault, PHONE) is member
    assert is_member_number(member.member_no)
    consent = session.scalars(select(Consent).where(Consent.member_id == member.id)).one()
    assert (consent.purpose, consent.channel) == (Purpose.MEMBERSHIP, "till")


def test_a_known_phone_makes_no_second_walk_in(session, vault):
    members.create_walk_in(session, vault, e164=PHONE, now=NOW)
    with pytest.raises(Refused) as refusal:
        members.create_walk_in(session, vault, e164=PHONE, now=NOW)
    assert refusal.value.code == "members.already_known"


@pytest.fixture
def claimed(session, vault):
    """A walk-in with 10 points, and the LINE member who proves the phone."""
    make_policy(session)
    make_coupon(session, "welcome_gift")
    walk_in = members.create_walk_in(session, vault, e164=PHONE, now=NOW, name="ลูกค้า")
    buy(session, walk_in, "1")
    person = join(session, vault, "แพรว", birthday="1995-03-05", marketing=True)
    conversations.add_line(
        session, vault, person, kind="text", text="สวัสดี", line_message_id="m1", at=NOW, now=NOW
    )
    activities.record(session, person.id, "tests.marked", NOW)
    number = person.member_no
    session.flush()
    return walk_in, person, number, merging.prove_phone(session, vault, person, NOW)


def test_J3_proving_claims_the_walk_in_with_its_points(session, vault, claimed):
    walk_in, _, number, account = claimed
    assert account is walk_in
    assert account.line_user_id == line_id("แพรว")
    assert account.member_no == number
    assert points.balance_of(session, account.id, NOW).available == 10
    assert members.by_phone(session, vault, PHONE) is account
    assert members.friend_for(session, line_id("แพรว"), NOW) is account


def test_what_was_sealed_opens_under_the_account(session, vault, claimed):
    account = claimed[3]
    assert personal.phone_of(session, vault, account) == PHONE
    assert personal.birthday_of(session, vault, account).isoformat() == "1995-03-05"
    assert [line.text for line in conversations.lines_of(session, vault, account)] == ["สวัสดี"]


def test_gift_consents_and_timeline_come_along(session, claimed):
    account = claimed[3]
    assert coupons.vouchers_of(session, account.id, NOW)[0].source == "join"
    open_ones = select(Consent.purpose).where(
        Consent.member_id == account.id, Consent.withdrawn_at.is_(None)
    )
    assert set(session.scalars(open_ones)) == set(Purpose)
    marked = select(Activity.member_id).where(Activity.kind == "tests.marked")
    assert session.scalars(marked).one() == account.id


def test_the_walk_ins_old_number_leads_to_the_account(session, claimed):
    _, person, _, account = claimed
    session.expire_all()
    shadow = session.get(Member, person.id)
    assert shadow.state == MemberState.MERGED
    assert members.by_number(session, shadow.member_no) is account
    pasted = f"\u200b{shadow.member_no[:4]}\u00a0{shadow.member_no[4:]}\u2069"  # hidden signs too
    assert members.by_number(session, pasted) is account


def test_no_entry_of_the_ledger_has_moved(session, claimed):
    walk_in = claimed[0]
    owners = session.scalars(select(LedgerEntry.member_id).distinct()).all()
    assert owners == [walk_in.id]
    assert points.check_ledger(session, NOW) == []


def test_a_walk_in_without_history_gives_way_to_a_member_who_bought(session, vault):
    make_policy(session)
    walk_in = members.create_walk_in(session, vault, e164=PHONE, now=NOW)
    old_number = walk_in.member_no
    person = join(session, vault, "แพรว")
    buy(session, person, "1")
    account = merging.prove_phone(session, vault, person, NOW)
    assert account is person
    assert members.by_number(session, old_number) is person
    assert session.get(MemberKey, walk_in.id) is None


@pytest.mark.parametrize("buyer", ["walk_in", "person"])
def test_tags_and_wishes_come_along_whichever_row_stays(session, vault, buyer):
    make_policy(session)
    walk_in = members.create_walk_in(session, vault, e164=PHONE, now=NOW)
    person = join(session, vault, "แพรว")
    buy(session, walk_in if buyer == "walk_in" else person, "1")
    session.add_all(
        [
            MemberTag(member_id=walk_in.id, tag="แพ้ถั่ว", at=NOW, by="staff:1"),
            MemberTag(member_id=person.id, tag="ขาประจำ", at=NOW, by="staff:1"),
            MemberChoice(member_id=person.id, muted=["news"], per_week=1, changed_at=NOW),
        ]
    )
    account = merging.prove_phone(session, vault, person, NOW)
    session.flush()
    tags = session.execute(select(MemberTag.member_id, MemberTag.tag)).all()
    assert sorted(tags) == sorted([(account.id, "ขาประจำ"), (account.id, "แพ้ถั่ว")])
    choice = session.scalars(select(MemberChoice)).one()
    assert (choice.member_id, choice.muted, choice.per_week) == (account.id, ["news"], 1)


@pytest.mark.parametrize("said, kept", [(None, "1990-05-01"), ("1995-03-05", "1995-03-05")])
@pytest.mark.parametrize("buyer", ["walk_in", "person"])
def test_an_imported_birthday_stays_known_to_who_skipped_that_question(
    session, vault, buyer, said, kept
):
    make_policy(session)
    walk_in = members.create_walk_in(session, vault, e164=PHONE, now=NOW)
    members.set_birthday(session, vault, walk_in, date(1990, 5, 1), NOW, NOW.date(), "import")
    person = join(session, vault, "แพรว", birthday=said)
    buy(session, walk_in if buyer == "walk_in" else person, "1")
    account = merging.prove_phone(session, vault, person, NOW)
    born = personal.birthday_of(session, vault, account)
    assert born.isoformat() == kept
    assert account.birthday_index == personal.birthday_index(vault, born.month, born.day)


@pytest.mark.parametrize("buyer", ["walk_in", "person"])
def test_a_question_can_be_answered_after_the_phone_is_proven(session, vault, buyer):
    make_policy(session)
    session.info["vault"] = vault
    walk_in = members.create_walk_in(session, vault, e164=PHONE, now=NOW)
    person = join(session, vault, "แพรว")
    asked = [surveys.ask(session, one.id, "csat", "purchase:1", NOW) for one in (walk_in, person)]
    why = surveys.ask(session, person.id, "nps", "2026-Q4", NOW)
    why.why_sealed = personal.seal(session, vault, person, personal.WHY_FIELD, "อร่อย", NOW)
    buy(session, walk_in if buyer == "walk_in" else person, "1")
    account = merging.prove_phone(session, vault, person, NOW)
    own = asked[0 if buyer == "walk_in" else 1]
    assert surveys.answer(session, account.id, own.id, 5, NOW).is_first
    assert surveys.answer(session, account.id, why.id, 9, NOW).is_first
    assert surveys.why_of(session, vault, account, why) == "อร่อย"


@pytest.mark.parametrize("refuses", ["walk_in", "person"])
@pytest.mark.parametrize("buyer", ["walk_in", "person"])
def test_what_either_row_has_refused_is_not_agreed_to_by_proving_a_phone(
    session, vault, buyer, refuses
):
    """Somebody declined in the chat, or took back, what a list said they had agreed to."""
    make_policy(session)
    walk_in = members.create_walk_in(session, vault, e164=PHONE, now=NOW)
    for purpose in (Purpose.MARKETING, Purpose.BIRTHDAY):
        consents.give(session, walk_in.id, purpose, channel="import", now=NOW)
    has_agreed = refuses == "walk_in"
    person = join(session, vault, "แพรว", birthday="1995-03-05", marketing=has_agreed)
    if has_agreed:
        consents.withdraw(session, walk_in.id, Purpose.MARKETING, NOW)
    consents.withdraw(session, (walk_in if has_agreed else person).id, Purpose.BIRTHDAY, NOW)
    buy(session, walk_in if buyer == "walk_in" else person, "1")
    account = merging.prove_phone(session, vault, person, NOW)
    assert [one for one in Purpose if consents.is_given(session, account.id, one)] == [
        Purpose.MEMBERSHIP
    ]


def test_two_histories_are_never_guessed_together(session, vault):
    make_policy(session)
    walk_in = members.create_walk_in(session, vault, e164=PHONE, now=NOW)
    buy(session, walk_in, "1")
    person = join(session, vault, "แพรว")
    buy(session, person, "2")
    with pytest.raises(Refused) as refusal:
        merging.prove_phone(session, vault, person, NOW)
    assert refusal.value.code == "members.claim_needs_merge"
    assert points.balance_of(session, walk_in.id, NOW).available == 10


def test_a_member_without_a_phone_has_nothing_to_prove(session, vault):
    member = members.friend_for(session, line_id("ใคร"), NOW)
    with pytest.raises(Refused) as refusal:
        merging.prove_phone(session, vault, member, NOW)
    assert refusal.value.code == "members.no_phone"


def test_J7_a_phone_that_left_within_a_year_brings_no_second_gift(session, vault):
    make_coupon(session, "welcome_gift")
    tombstones.put(session, vault, tombstones.PHONE, PHONE, NOW - timedelta(days=300))
    member = join(session, vault, "แพรว")
    merging.prove_phone(session, vault, member, NOW)
    assert session.scalars(select(Voucher.state)).one() == VoucherState.VOID


def test_tombstones_are_forgotten_after_twelve_months(session, vault):
    tombstones.put(session, vault, tombstones.PHONE, PHONE, NOW)
    assert tombstones.forget(session, NOW + timedelta(days=364), 100) == 0
    assert tombstones.forget(session, NOW + timedelta(days=365), 100) == 1
    assert not tombstones.is_known(session, vault, tombstones.PHONE, PHONE, NOW)


# Joining twice


def test_a_friend_is_made_once(session):
    first = members.friend_for(session, line_id("ใคร"), NOW)
    assert members.friend_for(session, line_id("ใคร"), NOW) is first
    assert session.scalar(select(func.count()).select_from(Member)) == 1


def test_joining_twice_gives_one_number_and_one_gift(session, vault):
    make_coupon(session, "welcome_gift")
    first = join(session, vault, "แพรว")
    number = first.member_no
    again = join(session, vault, "แพรว")
    assert again.member_no == number
    assert len(session.scalars(select(Voucher)).all()) == 1


def test_AC4_a_hundred_accounts_on_one_phone_prove_one_gift(session, vault, scale):
    make_coupon(session, "welcome_gift")
    people = [join(session, vault, f"คน{number}") for number in range(scale(1000))]
    merging.prove_phone(session, vault, people[0], NOW)
    for person in people[1:]:
        with pytest.raises(Refused, match=r"members\.phone_taken"):
            merging.prove_phone(session, vault, person, NOW)


@pytest.mark.parametrize(
    "name, shown",
    [("สมชาย ใจดี", "ส*** ใ***"), ("กี้", "กี้***"), ("A B C D", "A*** B*** C***"), ("", "***")],
)
def test_masks_a_name(name, shown):
    assert members.masked(name) == shown


@pytest.mark.parametrize(
    "name, line_name, called",
    [
        ("สมชาย ใจดี", "Som ☕", "สมชาย"),
        ("นางสาว มาลี รักกาแฟ", None, "มาลี"),
        ("Mr. John Smith", None, "John"),
        ("J Smith", None, "Smith"),
        ("ก ข", None, "ก ข"),
        (None, "The Coffee Fan", "The Coffee Fan"),
        (None, None, "สมาชิก"),
    ],
)
def test_calls_people_as_a_shop_would(name, line_name, called):
    assert members.called(Member(name=name, line_name=line_name, locale="th")) == called
