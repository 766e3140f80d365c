"""The offer editor, batches of codes, vouchers by hand, and lucky draws in the console."""

from __future__ import annotations

import csv
import io
import re

import pytest
from sqlalchemy import func, select

from core.i18n import t
from loyalty import coupons, draws
from loyalty import shop as shop_settings
from models.coupons import (
    CodeBatch,
    Coupon,
    CouponState,
    Obtained,
    TypedCode,
    Voucher,
    VoucherGift,
    VoucherState,
)
from models.draws import Draw, DrawState
from models.staff import AuditRow
from tests import factories
from tests.moments import BANGKOK, NOW

OFFER = {
    "name_th": "ลด 20 บาท", "name_en": "20 off", "key": "happy", "state": "live",
    "kind": "baht_off", "obtained": "claim", "value": "20",
}  # fmt: skip


def one(runtime, query):
    with runtime.database.read() as session:
        return session.scalars(query).one()


def acts(runtime):
    with runtime.database.read() as session:
        return list(session.scalars(select(AuditRow.act).order_by(AuditRow.id)))


def test_saves_every_condition_and_shows_it_again(owner, runtime, shop):
    form = {
        **OFFER, "weekdays": ["0", "4"], "from_0": "22", "to_0": "2", "branches": ["siam"],
        "levels": ["vip"], "first_purchase": "1", "timed_claim": "1", "budget": "5000",
        "per_day": "50", "is_stackable": "1", "min_bill": "60",
    }  # fmt: skip
    assert owner.send("/admin/offers/new", **form).status_code == 303
    coupon = one(runtime, select(Coupon).where(Coupon.key == "happy"))
    assert coupon.conditions == {
        "branches": ["siam"], "weekdays": [0, 4], "hours": [[22, 2]], "levels": ["vip"],
        "first_purchase": True, "timed_claim": True,
    }  # fmt: skip
    assert (coupon.budget_satang, coupon.per_day) == (500_000, 50)
    page = owner.get(f"/admin/offers/{coupon.id}").text
    assert re.search(r'name="weekdays" value="4" checked', page)
    assert re.search(r'value="22" selected', page)
    assert "ใช้ได้วันจันทร์ และศุกร์ เวลา 22:00–02:00 น." in page


WRONG = (
    ("value", "ยี่สิบ"), ("name_th", ""), ("from_0", "25"), ("weekdays", "7"),
    ("branches", "nowhere"), ("levels", "king"), ("per_day", "0"), ("budget", "-1"),
    ("picture_url", "javascript:alert(1)"), ("key", "ไทย"),
)  # fmt: skip


def test_wrong_fields_are_named_where_they_are(owner, runtime, shop):
    for field, value in WRONG:
        answer = owner.send("/admin/offers/new", **{**OFFER, field: value})
        assert answer.status_code == 422, field
        assert 'role="alert"' in answer.text, field
        assert 'value="20 off"' in answer.text, field  # what was filled in stays
        with runtime.database.read() as session:
            made = session.scalar(select(func.count()).select_from(Coupon))
        assert made == 2, field  # the shop's own


def test_an_offer_needs_no_key_and_no_english_of_the_owner(owner, runtime, shop):
    for english in ("Free cupcake!", "Free cupcake!", "", ""):
        form = OFFER | {"key": "", "name_en": english}
        assert owner.send("/admin/offers/new", **form).status_code == 303
    with runtime.database.read() as session:
        made = session.execute(select(Coupon.key, Coupon.name_en).order_by(Coupon.id)).all()
    assert [tuple(row) for row in made[-4:]] == [
        ("free_cupcake", "Free cupcake!"), ("free_cupcake_2", "Free cupcake!"),
        ("20", "ลด 20 บาท"), ("20_2", "ลด 20 บาท"),
    ]  # fmt: skip


def test_every_wrong_field_is_said_at_once(owner, shop):
    answer = owner.send("/admin/offers/new", **{**OFFER, "value": "x", "name_th": ""})
    assert answer.text.count('class="wrong"') == 2


def test_a_budget_needs_to_know_the_most(owner, shop):
    form = {**OFFER, "kind": "percent_off", "percent": "10", "value": "", "budget": "100"}
    answer = owner.send("/admin/offers/new", **form)
    assert t("th", "coupons.budget_needs_value") in answer.text
    assert owner.send("/admin/offers/new", **{**form, "max": "50"}).status_code == 303


def test_preview_says_the_words_in_both_languages_and_saves_nothing(owner, runtime, shop):
    form = {**OFFER, "weekdays": ["0", "1", "2", "3", "4"], "total_units": "12"}
    shown = owner.send("/admin/offers/preview", **form).text
    for words in ("ใช้ได้วันจันทร์ถึงศุกร์", "Valid Monday to Friday", "เหลือ 12 สิทธิ์", "20 baht off"):
        assert words in shown
    assert (
        "<script>"
        not in owner.send("/admin/offers/preview", **{**form, "name_th": "<script>"}).text
    )
    with runtime.database.read() as session:
        assert session.scalar(select(func.count()).where(Coupon.key == "happy")) == 0


def test_fg15_what_was_promised_stays(owner, runtime, shop, somchai, claim):
    claim(somchai)
    form = {
        "name_th": "ก", "name_en": "k", "state": "live", "obtained": "claim", "kind": "baht_off",
        "per_member": "5", "valid_days": "30",
    }  # fmt: skip
    path = f"/admin/offers/{shop.coupon.id}"
    less = owner.send(path, **form, value="10", total_units="100")
    assert t("th", "coupons.promised") in less.text
    assert owner.send(path, **form, value="20", total_units="0").status_code == 409
    assert owner.send(path, **form, value="20", total_units="1").status_code == 303


def test_fg16_withdrawn_while_held_at_a_till(owner, runtime, shop, somchai, claim, show, till):
    voucher = claim(somchai)
    seen = till.ask("/cashier/scan", {"text": show(somchai, voucher)}).json
    owner.send(f"/admin/offers/{shop.coupon.id}/withdraw")
    body = {
        "member": somchai.public_id, "bill": "100", "holds": [seen["voucher"]["hold"]],
        "receipt_no": "1",
    }  # fmt: skip
    answer = till.ask("/cashier/confirm", body, fresh=True)
    assert (answer.status_code, answer.json["code"]) == (409, "codes.refused")
    after = one(runtime, select(Voucher))
    assert after.state == VoucherState.VOID
    assert one(runtime, select(Coupon.redeemed_count).where(Coupon.id == shop.coupon.id)) == 0
    assert acts(runtime) == ["offers.withdrawn"]


def test_an_old_tab_does_not_open_an_offer_that_was_withdrawn_meanwhile(owner, runtime, shop):
    path = f"/admin/offers/{shop.coupon.id}"
    form = OFFER | {"key": shop.coupon.key, "name_th": "ลด ๒๐", "seen": owner.mark(path)}
    assert owner.send(path, **form).status_code == 303
    owner.send(f"{path}/withdraw")
    old = owner.send(path, **form | {"name_th": "ลดยี่สิบ"})
    assert (old.status_code, t("th", "console.changed_meanwhile") in old.text) == (409, True)
    assert '<option value="closed" selected>' in old.text
    state = select(Coupon.state).where(Coupon.id == shop.coupon.id)
    assert one(runtime, state) == CouponState.CLOSED
    again = form | {"state": "closed", "name_th": "ลดยี่สิบ", "seen": owner.mark(path)}
    assert owner.send(path, **again).status_code == 303


def test_withdrawing_gives_points_back(runtime, session):
    member = factories.somchai(session)
    from loyalty import points

    points.earn(session, member.id, 60, source="purchase", source_id="1", now=NOW, tz=BANGKOK)
    reward = factories.make_coupon(session, obtained=Obtained.POINTS, price_points=50)
    coupons.buy_reward(session, reward.id, member, NOW, BANGKOK)
    assert coupons.withdraw(session, reward, now=NOW, tz=BANGKOK) == 1
    assert points.balance_of(session, member.id, NOW).available == 60
    assert reward.issued_count == 0


# Codes


@pytest.fixture
def flyer(runtime, shop):
    with runtime.transaction() as session:
        return factories.make_coupon(session, "flyer", obtained=Obtained.CODE)


def test_codes_are_made_exported_once_and_again_by_the_owner(owner, sign_in, runtime, flyer):
    marketer = sign_in("marketer")
    path = f"/admin/offers/{flyer.id}/codes"
    assert marketer.send(path, label="แผ่นพับ", size="12").status_code == 303
    batch = one(runtime, select(CodeBatch))
    export = f"/admin/codes/{batch.id}/export"
    sheet = io.StringIO(marketer.send(export).text.removeprefix("\ufeff"), newline="")
    names, *lines = csv.reader(sheet)
    assert names == ["code", "used"]
    assert len(lines) == 12
    assert re.fullmatch(r"[2-9A-Z]{4}-[2-9A-Z]{4}-[2-9A-Z]{5}", lines[0][0])
    assert lines[0][1] == "0"
    assert marketer.send(export).status_code == 403
    assert owner.send(export).status_code == 200
    assert acts(runtime) == ["codes.made", "codes.exported", "codes.exported"]
    assert "12" in owner.get(path).text


def test_codes_are_ended(owner, runtime, flyer, somchai):
    owner.send(f"/admin/offers/{flyer.id}/codes", label="ตลาด", size="1")
    batch, code = one(runtime, select(CodeBatch)), one(runtime, select(TypedCode.code))
    owner.send(f"/admin/codes/{batch.id}/void")
    with runtime.transaction() as session, pytest.raises(Exception, match=r"codes\.refused"):
        coupons.claim_by_code(session, code, session.merge(somchai), NOW, NOW, BANGKOK)


def test_codes_page_is_kind_about_odd_sizes(owner, flyer):
    answer = owner.send(f"/admin/offers/{flyer.id}/codes", label="x", size="1000001")
    assert answer.status_code == 422


# By hand


def test_gives_a_voucher_once_with_a_reason(owner, runtime, shop, somchai):
    page = owner.get(f"/admin/members/{somchai.public_id}").text
    key = re.search(r'name="key" value="([0-9a-f]{32})"', page)[1]
    path = f"/admin/members/{somchai.public_id}/vouchers"
    form = {"coupon": str(shop.coupon.id), "key": key}
    assert owner.send(path, **form, reason="").status_code == 422
    for _ in range(2):
        assert owner.send(path, **form, reason="ที่นี่รอนานมาก ขอโทษลูกค้าค่ะ " * 9).status_code == 303
    voucher = one(runtime, select(Voucher))
    assert voucher.source == "staff"
    assert "vouchers.given" in acts(runtime)


@pytest.fixture
def few(runtime):
    """Owners give one voucher a day alone."""
    with runtime.transaction() as session:
        shop_settings.set(session, "vouchers.owner_ceiling", 1, NOW)


def give(browser, member, shop, key, reason="ขอโทษ"):
    path = f"/admin/members/{member.public_id}/vouchers"
    return browser.send(path, coupon=str(shop.coupon.id), key=key, reason=reason)


def test_aa3_above_the_ceiling_a_second_person_agrees_to_a_voucher(
    owner, sign_in, runtime, shop, somchai, few
):
    assert "gifts.noted_done" in give(owner, somchai, shop, "a").headers["Location"]
    assert "gifts.noted_waiting" in give(owner, somchai, shop, "b").headers["Location"]
    with runtime.database.read() as session:
        waits = session.scalars(select(VoucherGift.id).where(VoucherGift.key == "b")).one()
        assert len(session.scalars(select(Voucher)).all()) == 1
    assert '<b class="count">1</b>' in owner.get("/admin").text
    assert "รอคนอื่นเห็นชอบ" in owner.get("/admin/vouchers/given").text
    assert owner.send(f"/admin/vouchers/given/{waits}/agree").status_code == 403
    boss = sign_in("manager")
    assert boss.send(f"/admin/vouchers/given/{waits}/agree").status_code == 303
    assert boss.send(f"/admin/vouchers/given/{waits}/agree").status_code == 409
    with runtime.database.read() as session:
        assert {one.source for one in session.scalars(select(Voucher))} == {"staff"}
        assert len(session.scalars(select(Voucher)).all()) == 2
    assert acts(runtime).count("vouchers.given") == 2
    assert "vouchers.decided" in acts(runtime)


def test_aa3_a_gift_that_is_refused_gives_nothing(owner, sign_in, runtime, shop, somchai, few):
    for key in "ab":
        give(owner, somchai, shop, key)
    with runtime.database.read() as session:
        waits = session.scalars(select(VoucherGift.id).where(VoucherGift.key == "b")).one()
    assert sign_in("manager").send(f"/admin/vouchers/given/{waits}/refuse").status_code == 303
    with runtime.database.read() as session:
        assert len(session.scalars(select(Voucher)).all()) == 1


@pytest.mark.parametrize("role", ["marketer", "auditor"])
def test_aa3_who_may_not_decides_no_gift(sign_in, owner, runtime, shop, somchai, few, role):
    for key in "ab":
        give(owner, somchai, shop, key)
    assert sign_in(role).send("/admin/vouchers/given/2/agree").status_code == 403


def test_the_owner_alone_sets_how_many_vouchers(owner, sign_in, runtime, shop, somchai):
    assert owner.send("/admin/vouchers/ceilings", owner="0", manager="3").status_code == 303
    assert owner.send("/admin/vouchers/ceilings", owner="-1", manager="3").status_code == 422
    boss = sign_in("manager")
    assert boss.send("/admin/vouchers/ceilings", owner="9", manager="9").status_code == 403
    assert "gifts.noted_waiting" in give(owner, somchai, shop, "a").headers["Location"]


@pytest.mark.parametrize("role", ["marketer", "auditor"])
def test_only_some_may_give(sign_in, shop, somchai, role):
    browser = sign_in(role)
    path = f"/admin/members/{somchai.public_id}/vouchers"
    assert browser.send(path, coupon=str(shop.coupon.id), reason="x").status_code == 403


# Lucky draws


def test_a_draw_is_made_started_compared_and_ended(owner, runtime, shop):
    with runtime.transaction() as session:
        prize = factories.make_coupon(session, "lucky", obtained=Obtained.DRAW)
    form = {
        "name_th": "ลุ้นกาแฟ", "name_en": "Coffee draw", "key": "cup", "turns_per_day": "1",
        "coupon_0": str(prize.id), "chance_0": "2.5",
    }  # fmt: skip
    assert owner.send("/admin/draws/new", **{**form, "chance_0": "101"}).status_code == 422
    assert owner.send("/admin/draws/new", **form).status_code == 303
    draw = one(runtime, select(Draw))
    path = f"/admin/draws/{draw.id}"
    assert "2.5%" in owner.get(path).text
    owner.send(f"{path}/start")
    with runtime.database.read() as session:
        assert [c.prize.per_million for c in draws.chances_of(session, draw.id)] == [25_000]
    owner.send(f"{path}/end")
    ended = one(runtime, select(Draw))
    assert ended.state == DrawState.ENDED
    assert ended.seed in owner.get(path).text
    assert acts(runtime) == ["draws.created", "draws.started", "draws.ended"]
    assert owner.send(f"{path}/end").status_code == 409


def test_no_most_and_a_budget_of_nothing_are_kept_as_they_were_meant(owner, runtime, shop):
    form = {**OFFER, "kind": "percent_off", "percent": "10", "value": "", "max": "0"}
    assert owner.send("/admin/offers/new", **form).status_code == 303
    coupon = one(runtime, select(Coupon).where(Coupon.key == "happy"))
    assert coupon.max_satang is None, "at most nothing would take nothing off"
    mark = owner.mark(f"/admin/offers/{coupon.id}")
    form |= {"max": "50", "budget": "0", "seen": mark}
    assert owner.send(f"/admin/offers/{coupon.id}", **form).status_code == 303
    assert 'name="budget" value="0"' in owner.get(f"/admin/offers/{coupon.id}").text
