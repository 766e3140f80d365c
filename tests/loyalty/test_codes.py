"""QR codes: made, read, scanned once, held, used, and refused in every other way."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import event, select, text

from core.errors import NotFound, Refused
from core.i18n import Said
from loyalty import codes, coupons
from models.coupons import CodePurpose, CodeState, ScanCode, VoucherState
from models.members import MemberState
from tests import factories
from tests.moments import BANGKOK, NOW

KEY = factories.SECRET_KEY
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)


def refusal_of(call, *arguments, **facts):
    with pytest.raises(Refused) as refusal:
        call(*arguments, **facts)
    return refusal.value


@pytest.fixture
def voucher(session, somchai):
    coupon = factories.make_coupon(session)
    return coupons.claim(session, coupon.id, somchai, NOW, BANGKOK)


def text_of(session, voucher, now=NOW):
    return codes.make_code(
        session, KEY, CodePurpose.REDEEM, voucher.member_id, voucher_id=voucher.id, real_now=now
    )


def identify(session, member, now=NOW):
    return codes.make_code(session, KEY, "identify", member.id, real_now=now)


def scan(session, text, holder="device:1", now=NOW):
    return codes.scan(session, codes.parse(KEY, text), holder, now, now, BANGKOK)


def test_z11_a_page_that_shows_a_voucher_and_a_till_do_not_wait_for_each_other(database):
    if database.is_sqlite:
        pytest.skip("SQLite has one writer: they wait in any case")
    with database.write() as session:
        coupon = factories.make_coupon(session)
        member = factories.make_member(session, "m")
        voucher = coupons.claim(session, coupon.id, member, NOW, BANGKOK)
    with database.write() as page, database.write() as till:
        text_of(page, voucher)
        page.flush()
        till.execute(text("SET LOCAL lock_timeout = '2s'"))
        assert coupons.lock_voucher(till, voucher.id).state == VoucherState.ISSUED


# Format


def test_code_says_nothing_but_its_purpose(session, voucher):
    parts = text_of(session, voucher).split(".")
    assert parts[0] == "Q1"
    assert len(parts[2]) == len(parts[5]) == 22
    assert parts[4] == f"redeem:{voucher.public_id}"


def test_reads_the_bare_code_and_the_url(session, somchai):
    text = identify(session, somchai)
    assert codes.parse(KEY, f" {text}\n") == codes.parse(KEY, f"https://taem.example/s/{text}")
    assert codes.parse(KEY, f"http://127.0.0.1:5000/s/{text.replace(':', '%3A')}?x=1#y")


def test_keeps_only_the_hash_of_the_handle(session, somchai):
    parsed = codes.parse(KEY, identify(session, somchai))
    row = session.scalars(select(ScanCode)).one()
    assert row.handle_hash != parsed.handle
    assert parsed.handle not in str(vars(row))


@pytest.mark.parametrize(
    "text",
    ["", "hello", "00020101021129370016A000000677010111", "https://example.com/promo", "67-24-30"],
)
def test_codes_of_other_systems_say_so_politely(text):
    assert refusal_of(codes.parse, KEY, text).code == "codes.foreign"


def damage(text, how):
    parts = text.split(".")
    damaged = {
        "mac": [*parts[:5], parts[5][:-2] + ("AA" if parts[5][-2:] != "AA" else "BB")],
        "key": [parts[0], "00000000", *parts[2:]],
        "purpose": [*parts[:4], "card", parts[5]],
        "time": [*parts[:3], "9999999999", *parts[4:]],
        "handle": [*parts[:2], "A" * 22, *parts[3:]],
        "truncated": [".".join(parts)[:-1]],
        "version": ["Q1", *parts],
        "long": ["Q1." + "A" * 10_000],
        "sql": ["Q1.' OR 1=1; DROP TABLE vouchers; --"],
        "url": ["Q1.https://evil.example/s/x"],
        "unicode": ["Q1.เก้า" + text],
        "upper": [text[:3] + text[3:].upper()],
        "nul": [text + "\x00"],
    }
    return ".".join(damaged[how])


DAMAGES = (
    "mac", "key", "purpose", "time", "handle", "truncated", "version", "long", "sql", "url",
    "unicode", "upper", "nul",
)  # fmt: skip


@pytest.mark.parametrize("how", DAMAGES)
def test_fq04_damaged_codes_are_refused_without_a_query(session, somchai, how):
    text = damage(identify(session, somchai), how)
    asked = []
    listener = lambda *arguments: asked.append(arguments[2])  # noqa: E731
    event.listen(session.get_bind(), "before_cursor_execute", listener)
    try:
        assert refusal_of(codes.parse, KEY, text).code == "codes.expired"
    finally:
        event.remove(session.get_bind(), "before_cursor_execute", listener)
    assert asked == []


def test_fq03_code_of_another_shop_is_refused(session, somchai):
    other = identify(session, somchai).split(".")
    made = codes.make_code(session, "x" * 40, "identify", somchai.id, real_now=NOW)
    assert refusal_of(codes.parse, KEY, made).code == "codes.expired"
    assert other[1] != made.split(".")[1]


@given(st.text(max_size=300))
def test_reads_or_refuses_any_text(text):
    for candidate in (text, f"Q1.{text}", f"https://shop.example/s/{text}"):
        assert refusal_of(codes.parse, KEY, candidate).code in ("codes.foreign", "codes.expired")


# The first scan


def test_scan_holds_code_and_voucher(session, somchai, voucher):
    got = scan(session, text_of(session, voucher))
    assert (got.member, got.voucher, got.purpose) == (somchai, voucher, CodePurpose.REDEEM)
    assert got.hold_expires_at == NOW + 5 * MINUTE
    assert voucher.state == VoucherState.HELD


def test_first_scan_must_come_within_sixty_seconds(session, voucher):
    text = text_of(session, voucher)
    assert refusal_of(scan, session, text, now=NOW + 61 * SECOND).code == "codes.expired"
    assert scan(session, text, now=NOW + 60 * SECOND)


def test_code_from_the_future_is_refused_beyond_the_leeway(session, voucher):
    text = text_of(session, voucher)
    assert refusal_of(scan, session, text, now=NOW - 6 * SECOND).code == "codes.expired"
    assert scan(session, text, now=NOW - 5 * SECOND)


def test_fq02_second_till_sees_in_use(session, voucher):
    text = text_of(session, voucher)
    first = scan(session, text, "device:1")
    assert refusal_of(scan, session, text, "device:2").code == "codes.in_use"
    assert scan(session, text, "device:1").hold_id == first.hold_id


def test_fq02_next_code_of_the_page_is_in_use_too(session, voucher):
    first, second = text_of(session, voucher), text_of(session, voucher)
    scan(session, first, "device:1")
    assert refusal_of(scan, session, second, "device:2").code == "codes.in_use"


def test_no_new_code_is_shown_while_held(session, voucher):
    scan(session, text_of(session, voucher))
    assert refusal_of(text_of, session, voucher).code == "codes.held"
    assert text_of(session, voucher, NOW + 5 * MINUTE)


def test_hold_ends_by_time(session, voucher):
    scan(session, text_of(session, voucher), "device:1")
    after = NOW + 5 * MINUTE
    assert scan(session, text_of(session, voucher, after), "device:2", after)


def test_hold_ends_by_hand(session, voucher):
    hold = scan(session, text_of(session, voucher), "device:1").hold_id
    assert not codes.release(session, hold, "device:2", NOW)
    assert codes.release(session, hold, "device:1", NOW)
    assert not codes.release(session, hold, "device:1", NOW)
    assert voucher.state == VoucherState.ISSUED
    assert scan(session, text_of(session, voucher), "device:2")


def test_released_code_is_spent(session, voucher):
    text = text_of(session, voucher)
    codes.release(session, scan(session, text).hold_id, "device:1", NOW)
    assert refusal_of(scan, session, text).code == "codes.expired"


def test_same_till_may_scan_the_next_code_of_the_page(session, till, voucher):
    first, second = text_of(session, voucher), text_of(session, voucher)
    scan(session, first)
    hold = scan(session, second)
    assert till.redeem(voucher, hold_id=hold.hold_id)


def test_looking_is_no_scan(session, somchai, voucher):
    parsed = codes.parse(KEY, text_of(session, voucher))
    for _ in range(2):
        assert codes.look(session, parsed, NOW).member == somchai
    assert voucher.state == VoucherState.ISSUED
    assert refusal_of(codes.look, session, parsed, NOW + 61 * SECOND).code == "codes.expired"


def test_expired_voucher_cannot_be_scanned(session, voucher):
    text = text_of(session, voucher, voucher.expires_at)
    refused = refusal_of(scan, session, text, now=voucher.expires_at)
    assert refused.code == "codes.refused"


def test_code_of_somebody_elses_voucher_is_not_made(session, voucher):
    malee = factories.malee(session)
    with pytest.raises(NotFound):
        codes.make_code(session, KEY, "redeem", malee.id, voucher_id=voucher.id, real_now=NOW)


def test_fq17_erased_member_has_no_codes(session, till, somchai, voucher):
    hold = scan(session, text_of(session, voucher))
    somchai.state, somchai.line_user_id = MemberState.ERASED, None
    session.flush()
    assert refusal_of(till.redeem, voucher, hold_id=hold.hold_id).code == "codes.expired"
    assert coupons.vouchers_of(session, somchai.id, NOW)[0].state == VoucherState.HELD


# Using


def test_at_use_only_the_hold_counts(session, till, voucher):
    hold = scan(session, text_of(session, voucher)).hold_id
    late = NOW + 5 * MINUTE - SECOND
    assert till.redeem(voucher, hold_id=hold, now=late)


def test_hold_is_over_after_five_minutes(session, till, voucher):
    hold = scan(session, text_of(session, voucher)).hold_id
    refused = refusal_of(till.redeem, voucher, hold_id=hold, now=NOW + 5 * MINUTE)
    assert refused.code == "codes.expired"


def test_hold_belongs_to_its_till(session, till, voucher):
    hold = scan(session, text_of(session, voucher), "device:1").hold_id
    refused = refusal_of(till.redeem, voucher, hold_id=hold, holder="device:2")
    assert refused.code == "codes.expired"


def test_code_held_elsewhere_cannot_be_used(session, till, voucher):
    parsed = till.code(voucher)
    codes.scan(session, parsed, "api:7", NOW, NOW)
    assert refusal_of(till.redeem, voucher, parsed=parsed).code == "codes.in_use"


def test_without_a_hold_it_scans_and_uses_in_one_step(till, voucher):
    parsed = till.code(voucher)
    late = NOW + 61 * SECOND
    assert refusal_of(till.redeem, voucher, parsed=parsed, now=late).code == "codes.expired"
    assert till.redeem(voucher, parsed=parsed, now=NOW + 60 * SECOND)


@pytest.mark.parametrize("later", [1, 59, 61, 86_400])
def test_fq01_replay_says_when_and_where_it_was_used(till, voucher, later):
    parsed = till.code(voucher)
    till.redeem(voucher, parsed=parsed)
    refused = refusal_of(till.redeem, voucher, parsed=parsed, now=NOW + later * SECOND)
    assert refused.code == "coupons.used"
    assert refused.facts == {"when": "22/11/2026 14:00", "branch": Said("สยาม", "Siam")}


@pytest.mark.soak
def test_z13_no_replay_is_ever_accepted(session, till, somchai, voucher, scale):
    """After use, after expiry, in the leeway, at other tills and branches, for another purpose."""
    other = factories.make_coupon(session, "other")
    late = coupons.claim(session, other.id, somchai, NOW, BANGKOK)
    used, unused = till.code(voucher), codes.parse(KEY, identify(session, somchai))
    expired = till.code(late)
    card = codes.parse(KEY, codes.card_code(session, KEY, somchai.id, NOW))
    till.redeem(voucher, parsed=used)
    branches = [till.branch, *(factories.make_branch(session, name) for name in ("ari", "far"))]
    session.flush()
    for number in range(max(20, scale(1000))):
        later = timedelta(seconds=number % 400, milliseconds=number)
        place = {"holder": f"device:{number % 7}", "branch": branches[number % 3]}
        for parsed, now in (
            (used, NOW + later),
            (unused, NOW + later),
            (card, NOW + later),
            (expired, NOW + 60 * SECOND + timedelta(milliseconds=1) + later),
        ):
            refused = refusal_of(till.redeem, voucher, parsed=parsed, now=now, **place)
            assert refused.code in ("coupons.used", "codes.expired")
            if parsed is not used:  # a code to be used at a till says nobody's name
                found = refusal_of(
                    codes.scan, session, used, place["holder"], now, now, BANGKOK,
                    CodePurpose.IDENTIFY,
                )  # fmt: skip
                assert found.code == "codes.expired"
    assert voucher.coupon.redeemed_count == 1
    assert late.state == VoucherState.ISSUED


def test_fq01_second_code_of_a_used_voucher_is_refused(session, till, voucher):
    first, second = till.code(voucher), till.code(voucher)
    till.redeem(voucher, parsed=first)
    assert refusal_of(till.redeem, voucher, parsed=second).code == "coupons.used"
    assert refusal_of(text_of, session, voucher).code == "codes.expired"


def test_replay_after_a_reversal_is_refused(session, till, voucher):
    parsed = till.code(voucher)
    till.undo(till.redeem(voucher, parsed=parsed))
    assert refusal_of(till.redeem, voucher, parsed=parsed).code == "codes.expired"


@pytest.mark.parametrize("purpose", ["identify", "card"])
def test_fq03_only_redeem_codes_redeem(session, till, somchai, voucher, purpose):
    text = (
        identify(session, somchai)
        if purpose == "identify"
        else codes.card_code(session, KEY, somchai.id, NOW)
    )
    parsed = codes.parse(KEY, text)
    assert refusal_of(till.redeem, voucher, parsed=parsed).code == "codes.expired"
    assert voucher.state == VoucherState.ISSUED


def test_fq03_redeem_code_does_not_identify(session, voucher):
    parsed = codes.parse(KEY, text_of(session, voucher))
    refused = refusal_of(
        codes.scan, session, parsed, "device:1", NOW, NOW, BANGKOK, CodePurpose.IDENTIFY
    )
    assert refused.code == "codes.expired"


def test_identify_hold_cannot_redeem(session, till, somchai, voucher):
    hold = scan(session, identify(session, somchai)).hold_id
    assert refusal_of(till.redeem, voucher, hold_id=hold).code == "codes.expired"


def test_fg16_voucher_taken_away_while_held_is_refused_cleanly(session, till, voucher):
    hold = scan(session, text_of(session, voucher)).hold_id
    coupons.void(session, voucher, now=NOW, reason="test")
    assert refusal_of(till.redeem, voucher, hold_id=hold).code == "codes.refused"
    assert voucher.coupon.redeemed_count == 0


def test_same_operation_redeems_once(session, till, somchai):
    coupon = factories.make_coupon(session, per_member=2)
    one, two = (coupons.claim(session, coupon.id, somchai, NOW, BANGKOK) for _ in range(2))
    till.redeem(one, operation_id="device:1:same")
    refused = refusal_of(till.redeem, two, operation_id="device:1:same")
    assert refused.code == "operations.already_recorded"


# Identifying


def test_identify_code_is_used_up_once(session, somchai):
    text = identify(session, somchai)
    hold = scan(session, text).hold_id
    assert codes.use_identity(session, hold, "device:1", NOW) == somchai
    assert refusal_of(codes.use_identity, session, hold, "device:1", NOW).code == "codes.expired"
    assert refusal_of(scan, session, text).code == "codes.expired"


def test_card_code_stays_the_same_until_revoked(session, somchai):
    first = codes.card_code(session, KEY, somchai.id, NOW)
    assert codes.card_code(session, KEY, somchai.id, NOW + 90 * MINUTE) == first
    codes.revoke_card(session, somchai.id)
    second = codes.card_code(session, KEY, somchai.id, NOW + 90 * MINUTE)
    assert second != first
    assert refusal_of(scan, session, first).code == "codes.expired"
    assert scan(session, second, now=NOW + timedelta(days=400)).member == somchai


def test_card_code_is_new_when_the_secret_changes(session, somchai):
    codes.card_code(session, "y" * 40, somchai.id, NOW)
    text = codes.card_code(session, KEY, somchai.id, NOW)
    assert scan(session, text).member == somchai
    assert codes.card_code(session, KEY, somchai.id, NOW) == text


def test_card_code_may_be_scanned_by_every_till(session, somchai):
    text = codes.card_code(session, KEY, somchai.id, NOW)
    for holder in ("device:1", "device:2"):
        assert scan(session, text, holder).hold_id is None


# Forgetting


def test_windows_fit_into_each_other():
    window = codes.WINDOW
    assert window.remembered > window.lifetime + window.leeway + window.hold


def test_forgets_codes_after_thirty_days_but_never_cards(session, somchai):
    identify(session, somchai)
    codes.card_code(session, KEY, somchai.id, NOW)
    month = NOW + timedelta(days=30)
    assert codes.forget(session, month, 10) == 0
    assert codes.forget(session, month + 2 * MINUTE, 10) == 1
    assert session.scalars(select(ScanCode.state)).all() == [CodeState.NEW]
