"""Tiers, stamp programmes and referrals in the console: seen, changed, refused, written down."""

from __future__ import annotations

import re

import pytest
from sqlalchemy import select

from core.i18n import texts
from loyalty import shop as settings
from loyalty import tiers
from models.coupons import Coupon, Obtained
from models.members import Member, Referral
from models.staff import AuditRow
from models.stamps import StampPrize, StampProgram
from models.tiers import MemberTier, Tier
from tests import factories
from tests.moments import NOW

GOLD = {
    "name_th": "ทอง", "name_en": "Gold", "key": "gold", "threshold": "5000", "earn_percent": "150",
    "percent_off": "5", "colour": "#C9A227", "is_on": "1", "early_days": "3",
}  # fmt: skip
RULES = {"basis": "spend", "window": "rolling", "fall": "one_step", "hold_months": "12"}
PAGES = [
    "/admin/tiers", "/admin/tiers/new", "/admin/tiers/1", "/admin/tiers?tier=gold&sort=until&q=ส",
    "/admin/stamps", "/admin/stamps/new", "/admin/stamps/coffee", "/admin/referrals",
]  # fmt: skip


@pytest.fixture
def ladder(runtime, shop, somchai):
    """A gold tier with Somchai in it, and a friend he has brought."""
    with runtime.transaction() as session:
        gold = Tier(key="gold", name_th="ทอง", name_en="Gold", threshold=500_000, created_at=NOW,
                    benefits={"early_days": 3}, earn_percent=150, percent_off=5)  # fmt: skip
        session.add(gold)
        friend = factories.make_member(session, "น้ำหวาน")
        session.add(Referral(friend_id=friend.id, referrer_id=somchai.id, at=NOW, joined_at=NOW))
        session.flush()
        tiers.set_by_hand(
            session, somchai.id, gold, NOW.date(), reason="ลูกค้าเก่า",
            staff_id=factories.prem(session, email="boss@taem.example").id, now=NOW,
            tz=runtime.clock.tz,
        )  # fmt: skip
    return somchai


def acts(database, prefix) -> list[str]:
    with database.read() as session:
        return [act for act in session.scalars(select(AuditRow.act)) if act.startswith(prefix)]


@pytest.mark.parametrize("language", ["th", "en"])
def test_every_page_of_the_ladder_speaks(sign_in, ladder, language):
    browser = sign_in("owner", locale=language)
    answers = {path: browser.get(path) for path in [*PAGES, f"/admin/members/{ladder.public_id}"]}
    assert {path: one.status_code for path, one in answers.items() if one.status_code != 200} == {}
    pages = "".join(answer.text for answer in answers.values())
    seen = set(re.findall(r">\s*([a-z_]+\.[a-z_]+)\s*<", pages))
    assert seen & set(texts(language)) == set()
    assert "style=" not in pages
    for name in ("ทอง" if language == "th" else "Gold", "สมชาย", "น้ำหวาน"):
        assert name in pages


def test_r1_a_tier_is_made_changed_and_written_down(owner, shop, database):
    assert owner.send("/admin/tiers/new", **GOLD).status_code == 303
    assert owner.send("/admin/tiers/1", **{**GOLD, "threshold": "6000"}).status_code == 303
    with database.read() as session:
        gold = session.get_one(Tier, 1)
        assert (gold.key, gold.threshold, gold.earn_percent) == ("gold", 600_000, 150)
        assert gold.benefits == {"entry_coupons": [], "early_days": 3}
    assert acts(database, "tiers.") == ["tiers.created", "tiers.changed"]


def test_an_old_tab_does_not_undo_what_was_saved_of_a_tier_meanwhile(owner, shop, database):
    owner.send("/admin/tiers/new", **GOLD)
    mark = owner.mark("/admin/tiers/1")
    assert owner.send("/admin/tiers/1", **GOLD | {"threshold": "6000", "seen": mark}).status_code == 303  # fmt: skip
    old = owner.send("/admin/tiers/1", **GOLD | {"name_en": "Golden", "seen": mark})
    assert (old.status_code, 'value="6000"' in old.text, "Golden" in old.text) == (409, True, False)
    assert owner.mark("/admin/tiers/1") in old.text


def test_r1_odd_tiers_come_back_with_what_to_do(owner, shop, database):
    odd = [
        {"name_th": ""}, {"key": "none"}, {"key": "A B"}, {"threshold": "0"}, {"threshold": "x"},
        {"earn_percent": "99"}, {"percent_off": "101"}, {"colour": "red"}, {"early_days": "61"},
        {"entry_coupons": "nothing"}, {"menu": "nothing"}, {"code_coupon": "welcome"},
    ]  # fmt: skip
    assert [owner.send("/admin/tiers/new", **{**GOLD, **one}).status_code for one in odd] == [
        422
    ] * len(odd)
    assert owner.send("/admin/tiers/new", **GOLD).status_code == 303
    assert owner.send("/admin/tiers/new", **GOLD).status_code == 409
    with database.read() as session:
        assert len(session.scalars(select(Tier)).all()) == 1


def test_r2_a_code_picked_for_a_tier_works_for_its_members_alone(owner, shop, runtime, database):
    with runtime.transaction() as session:
        factories.make_coupon(session, "secret", obtained=Obtained.CODE, typed_code="GOLD2026")
    assert owner.send("/admin/tiers/new", **{**GOLD, "code_coupon": "secret"}).status_code == 303
    with database.read() as session:
        coupon = session.scalars(select(Coupon).where(Coupon.key == "secret")).one()
        assert coupon.conditions == {"tiers": ["gold"]}


def test_r1_rules_are_settings(owner, shop, database):
    changed = {"basis": "points", "window": "year", "fall": "to_earned", "hold_months": "6"}
    assert owner.send("/admin/tiers/rules", **changed).status_code == 303
    with database.read() as session:
        rules = tiers.rules_of(session)
        assert (rules.basis, rules.window, rules.fall, rules.hold_months) == (
            "points", "year", "to_earned", 6,
        )  # fmt: skip
    for odd in ({"basis": "balance"}, {"hold_months": "0"}):
        assert owner.send("/admin/tiers/rules", **{**RULES, **odd}).status_code == 422


def test_r1_a_tier_is_set_by_hand_with_a_reason_and_ended(owner, runtime, database, ladder):
    path = f"/admin/members/{ladder.public_id}/tier"
    form = {"tier": "gold", "until": "2026-12-31", "reason": "ลูกค้าประจำมาสิบปี"}
    assert owner.send(path, **{**form, "reason": ""}).status_code == 422
    assert owner.send(path, **{**form, "until": "2020-01-01"}).status_code == 422
    assert owner.send(path, **form).status_code == 303
    with database.read() as session:
        row = session.get_one(MemberTier, ladder.id)
        assert (row.is_manual, row.holds_until.isoformat()) == (True, "2026-12-31T17:00:00+00:00")
    assert owner.send(path + "/end").status_code == 303
    with database.read() as session:
        assert session.get(MemberTier, ladder.id) is None
    assert acts(database, "tiers.") == ["tiers.set", "tiers.hand_ended"]


@pytest.mark.parametrize("role,status", [("manager", 303), ("marketer", 403), ("auditor", 403)])
def test_aa3_only_owner_and_manager_set_tiers(sign_in, ladder, role, status):
    browser = sign_in(role)
    form = {"tier": "gold", "until": "2026-12-31", "reason": "x"}
    assert browser.send(f"/admin/members/{ladder.public_id}/tier", **form).status_code == status
    assert browser.send("/admin/tiers/rules", **RULES).status_code == status


# Stamps


def card_form(database, **more):
    with database.read() as session:
        prize = session.scalars(select(Coupon).where(Coupon.obtained == Obtained.STAMPS)).one().id
    return {
        "name_th": "เบเกอรีครบ 6", "name_en": "Six bakes", "size": "6", "rule": "per_amount",
        "unit": "100", "expiry": "from_last", "expiry_days": "90", "design": "blossom",
        "daily_limit": "3", "prize_at": ["6", ""], "prize_coupon": [str(prize), ""],
    } | more  # fmt: skip


def test_t1_a_programme_is_made_and_every_change_is_a_version(owner, shop, database):
    form = card_form(database)
    assert owner.send("/admin/stamps/new", key="bakery", **form).status_code == 303
    changed = {**form, "size": "8", "prize_at": ["8", ""], "version": "1"}
    assert owner.send("/admin/stamps/bakery", **changed).status_code == 303
    assert owner.send("/admin/stamps/bakery", **changed).status_code == 409
    assert owner.send("/admin/stamps/bakery/off").status_code == 303
    with database.read() as session:
        rows = session.execute(
            select(StampProgram, StampPrize.at_stamp)
            .join(StampPrize, StampPrize.program_id == StampProgram.id)
            .where(StampProgram.key == "bakery")
            .order_by(StampProgram.version)
        ).all()
        assert [(one.version, one.size, one.is_current, one.is_on, at) for one, at in rows] == [
            (1, 6, False, True, 6), (2, 8, True, False, 8),
        ]  # fmt: skip
        assert (rows[1][0].unit_satang, rows[1][0].design) == (10_000, "blossom")
    assert acts(database, "stamps.") == ["stamps.created", "stamps.changed", "stamps.switched"]


def test_t1_odd_programmes_come_back_with_what_to_do(owner, shop, database):
    odd = [
        {"size": "51"}, {"size": "0"}, {"prize_at": ["5", ""]}, {"unit": ""}, {"design": "neon"},
        {"expiry_days": ""}, {"prize_coupon": ["999", ""]}, {"branches": ["moon"]},
        {"starts_on": "2026-12-01", "ends_on": "2026-11-01"}, {"name_en": ""},
    ]  # fmt: skip
    answers = [
        owner.send("/admin/stamps/new", key="bakery", **card_form(database, **one)) for one in odd
    ]
    assert [one.status_code for one in answers] == [422] * len(odd)
    assert all('role="alert"' in one.text for one in answers)


def test_the_form_shows_an_amount_to_the_satang(owner, shop, database):
    form = card_form(database, unit="12345.67")
    assert owner.send("/admin/stamps/new", key="bakery", **form).status_code == 303
    assert 'value="12345.67"' in owner.get("/admin/stamps/bakery").text


@pytest.mark.parametrize("design", ["classic", "blossom", "night"])
def test_t3_designs_are_seen_before_they_are_chosen(owner, shop, design):
    seen = owner.get(f"/admin/stamps/preview/{design}.png?size=12&prizes=6,x,99999,12&title=ชา")
    assert (seen.status_code, seen.mimetype) == (200, "image/png")
    assert owner.get("/admin/stamps/preview/neon.png").status_code == 404


# Referrals


def test_r4_gifts_are_settings_and_the_list_says_how_far(owner, runtime, database, ladder):
    with runtime.transaction() as session:
        for key in ("hello", "thanks"):
            factories.make_coupon(session, key, obtained=Obtained.JOURNEY)
    form = {"friend_gift": "hello", "referrer_gift": "thanks", "min_baht": "80"}
    assert owner.send("/admin/referrals/rules", **form).status_code == 303
    assert owner.send("/admin/referrals/rules", **{**form, "friend_gift": "x"}).status_code == 422
    with database.read() as session:
        assert settings.get(session, "referrals.min_satang") == 8000
    assert "สมัครแล้ว รอซื้อครั้งแรก" in owner.get("/admin/referrals").text
    assert acts(database, "referrals.") == ["referrals.rules_changed"]


def test_r4_a_marketer_sees_masked_names(sign_in, ladder, database):
    page = sign_in("marketer").get("/admin/referrals").text
    assert "สมชาย" not in page
    assert "ส***" in page
    with database.read() as session:
        assert session.get_one(Member, ladder.id).name == "สมชาย"
