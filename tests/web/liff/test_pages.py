"""The member pages: what they show, to whom, in which language, and what they cost."""

from __future__ import annotations

import io
import re

import pytest
import zxingcpp
from PIL import Image
from sqlalchemy import select
from werkzeug.routing import IntegerConverter

from core.i18n import t
from engagement import topics
from loyalty import codes, consents, coupons, members, personal, purchases, stamp_pictures
from loyalty import shop as settings
from models.coupons import CodeState, Obtained, ScanCode, Voucher
from models.members import Member, MemberState, Purpose
from tests import factories
from tests.moments import BANGKOK, NOW
from tests.processes import ROOT

PAGES = [
    "home", "points", "stamps", "coupons", "rewards", "card", "me", "me/leave", "topics", "privacy",
]  # fmt: skip
PAGE_BYTES = 100 * 1024


@pytest.fixture
def shop(runtime):
    """A shop with offers, a stamp card and a policy."""
    with runtime.transaction() as session:
        factories.make_policy(session)
        prize = factories.make_coupon(session, "prize", obtained=Obtained.STAMPS, name_th="กาแฟฟรี")
        factories.make_stamp_program(session, prize=prize)
        factories.make_coupon(session, "offer", name_th="ลด 20 บาท", total_units=12)
        factories.make_coupon(
            session, "latte", obtained=Obtained.POINTS, price_points=10, name_th="ลาเต้เย็น"
        )
        return factories.make_branch(session)


@pytest.fixture
def praew(runtime, shop, somebody):
    """A member who has bought for 500 baht and claimed the offer."""
    member = somebody("แพรว", birthday="1995-03-05")
    with runtime.transaction() as session:
        purchases.record_purchase(
            session, member_id=member.id, branch=shop, amount_satang=50000, operation_id="1",
            now=NOW, tz=BANGKOK,
        )  # fmt: skip
        offer = session.scalar(select(factories.Coupon).where(factories.Coupon.key == "offer"))
        coupons.claim(session, offer.id, session.get(Member, member.id), NOW, BANGKOK)
    return member


@pytest.fixture
def voucher_id(database, praew):
    with database.read() as session:
        return session.scalars(select(Voucher.public_id).where(Voucher.source == "claim")).one()


@pytest.mark.parametrize("language", ["th", "en"])
def test_every_page_opens_in_both_languages_and_is_light(open_phone, praew, runtime, language):
    with runtime.transaction() as session:
        session.get(Member, praew.id).locale = language
    for path in PAGES:
        answer = open_phone(praew).get(f"/m/{path}", headers={"Accept-Language": language})
        assert answer.status_code == 200, path
        assert f'<html lang="{language}">' in answer.text, path
        static = re.findall(r'(?:href|src)="(/static/[^"?]+)', answer.text)
        assert static, path
        files = [ROOT / "web" / file.lstrip("/") for file in static]
        weight = len(answer.data) + sum(file.stat().st_size for file in files)
        assert weight < PAGE_BYTES, path
        assert not re.search(r"<script>|<style|style=|onclick=", answer.text), path


def test_no_page_opens_for_a_stranger(open_phone, shop):
    closed = [path for path in PAGES if path != "privacy"]
    statuses = {path: open_phone().get(f"/m/{path}").status_code for path in closed}
    assert set(statuses.values()) == {401}, statuses


def test_home_shows_points_reward_and_stamps(open_phone, praew):
    page = open_phone(praew).get("/m/home").text
    assert "<b>20</b> <span>แต้มที่ใช้ได้" in page
    assert "ลาเต้เย็น" in page
    assert "1/10 ดวง" in page


def test_the_history_is_in_words(open_phone, praew):
    assert "ซื้อ 500 บาท สาขาสยาม" in open_phone(praew).get("/m/points").text


@pytest.mark.parametrize("path", ["home", "points", "stamps", "coupons", "rewards", "card"])
def test_a_friend_is_led_to_the_form(open_phone, shop, somebody, path):
    answer = open_phone(somebody("เพื่อน", joins=False)).get(f"/m/{path}")
    assert answer.headers["Location"] == "/m/join"


# Hostile names (FX01)


@pytest.mark.parametrize(
    "name", ["<img src=x onerror=alert(1)>", '"><svg/onload=alert(1)>', "{{7*7}}", "${7*7}"]
)
def test_FX01_a_hostile_name_is_text_on_every_page(open_phone, runtime, praew, name):
    with runtime.transaction() as session:
        session.get(Member, praew.id).name = name
    phone = open_phone(praew)
    for page in PAGES:
        text = phone.get(f"/m/{page}").text
        assert "<img src=x" not in text
        assert "<svg/onload" not in text
        assert ">49<" not in text


# Claiming and exchanging


def test_claims_on_the_page_once(open_phone, runtime, shop, somebody, database):
    phone = open_phone(somebody("มาลี"))
    path = re.search(r'action="(/m/coupons/\d+/claim)"', phone.get("/m/coupons").text)[1]
    assert phone.send(path, page="/m/coupons").status_code == 303
    again = phone.send(path, page="/m/coupons")
    assert again.status_code == 303  # the same button gives the same voucher
    other = phone.send(path, page="/m/coupons", key="another-form")
    with database.read() as session:
        held = len(session.scalars(select(Voucher)).all())
    assert (other.status_code, held) in {(303, 2), (409, 1)}  # as many as the offer allows


def test_exchanges_points_once_for_a_doubled_tap(open_phone, praew, database):
    phone = open_phone(praew)
    page = phone.get("/m/rewards").text
    path = re.search(r'action="(/m/rewards/\d+)"', page)[1]
    key = re.search(r'name="key" value="([^"]+)"', page)[1]
    for _ in range(2):
        assert phone.send(path, page="/m/rewards", key=key).status_code == 303
    with database.read() as session:
        assert len(session.scalars(select(Voucher).where(Voucher.source == "points")).all()) == 1


def test_r3_a_price_that_has_changed_since_the_page_was_opened_burns_nothing(
    open_phone, praew, database
):
    phone = open_phone(praew)
    page = phone.get("/m/rewards").text
    path = re.search(r'action="(/m/rewards/\d+)"', page)[1]
    assert re.search(r'name="price" value="(\d+)"', page)[1] == "10"
    assert phone.send(path, page="/m/rewards", price="9").status_code == 409
    with database.read() as session:
        assert session.scalars(select(Voucher).where(Voucher.source == "points")).all() == []
    assert phone.send(path, page="/m/rewards", price="10").status_code == 303


# The moving code


def code_of(answer):
    picture = answer.get_json()["picture"].partition(",")[2]
    import base64

    found = zxingcpp.read_barcodes(Image.open(io.BytesIO(base64.b64decode(picture))).convert("L"))
    return found[0].text


def test_the_code_on_the_page_is_fresh_each_time_and_scans(open_phone, praew, voucher_id, settings):
    phone, path = open_phone(praew), f"/m/coupons/{voucher_id}"
    first, second = (code_of(phone.ask(f"{path}/code", path)) for _ in range(2))
    assert first != second
    assert first.startswith(f"{settings.public_url}/s/Q1.")
    assert codes.parse(settings.secret_key, first).voucher_public_id == voucher_id


def test_the_page_turns_to_held_and_then_to_used(open_phone, runtime, praew, voucher_id, shop):
    phone, path = open_phone(praew), f"/m/coupons/{voucher_id}"
    text = code_of(phone.ask(f"{path}/code", path))
    parsed = codes.parse(runtime.settings.secret_key, text)
    with runtime.transaction() as session:
        codes.scan(session, parsed, "device:1", NOW, NOW)
    assert phone.get(f"{path}/status").get_json()["state"] == "held"
    held = phone.ask(f"{path}/code", path).get_json()
    assert (held["state"], "picture" in held) == ("held", False)
    assert t("th", "coupons.held") in phone.get("/m/coupons").text
    with runtime.transaction() as session:
        codes.redeem(
            session, parsed=parsed, holder="device:1", branch=shop, bill_satang=10000,
            operation_id="r1", now=NOW, real_now=NOW, tz=BANGKOK,
        )  # fmt: skip
    used = phone.get(f"{path}/status").get_json()
    assert used["state"] == "used"
    assert used["lines"][:2] == ["ลดไป 20 บาท", "ที่สาขาสยาม"]
    assert phone.ask(f"{path}/code", path).get_json()["state"] == "used"


def test_c5_a_voucher_is_free_again_once_its_time_at_the_till_is_over(
    open_phone, runtime, praew, voucher_id, clock
):
    phone, path = open_phone(praew), f"/m/coupons/{voucher_id}"
    parsed = codes.parse(runtime.settings.secret_key, code_of(phone.ask(f"{path}/code", path)))
    with runtime.transaction() as session:
        codes.scan(session, parsed, "device:1", NOW, NOW)
    clock.advance(minutes=5, seconds=1)
    assert t("th", "coupons.held") not in phone.get("/m/coupons").text
    assert phone.get(f"{path}/status").get_json()["state"] == "ready"


def test_an_expired_voucher_gets_no_code(open_phone, praew, voucher_id, clock):
    clock.advance(days=40)
    phone, path = open_phone(praew), f"/m/coupons/{voucher_id}"
    answer = phone.ask(f"{path}/code", path).get_json()
    assert (answer["state"], "picture" in answer) == ("over", False)


def test_the_card_page_makes_identify_codes(open_phone, praew, settings):
    answer = open_phone(praew).ask("/m/card/code", "/m/card")
    assert codes.parse(settings.secret_key, code_of(answer)).purpose == "identify"


def test_redeeming_pages_close_after_thirty_idle_minutes(open_phone, praew, voucher_id, clock):
    phone, path = open_phone(praew), f"/m/coupons/{voucher_id}"
    clock.advance(minutes=29)
    assert phone.ask(f"{path}/code", path, {"is_touched": True}).status_code == 200
    clock.advance(minutes=29)
    assert phone.ask(f"{path}/code", path, {"is_touched": False}).status_code == 200
    clock.advance(minutes=1)
    token = phone.token("/m/coupons")
    late = phone.client.post(f"{path}/code", json={}, headers={"X-CSRFToken": token})
    assert late.status_code == 401
    assert phone.get(path).status_code == 401
    assert phone.get("/m/card").status_code == 401
    assert phone.get("/m/home").status_code == 200


# Other members (AI1)


def test_AI1_everything_of_another_member_looks_unknown(open_phone, somebody, voucher_id, praew):
    phone = open_phone(somebody("มาลี"))
    for path in ("/m/coupons/{}", "/m/coupons/{}/status"):
        theirs = phone.get(path.format(voucher_id), headers={"Accept": "application/json"})
        unknown = phone.get(path.format("0" * 32), headers={"Accept": "application/json"})
        assert (theirs.status_code, theirs.data) == (404, unknown.data)
    theirs = phone.ask(f"/m/coupons/{voucher_id}/code", "/m/home")
    unknown = phone.ask(f"/m/coupons/{'0' * 32}/code", "/m/home")
    assert (theirs.status_code, theirs.data) == (404, unknown.data)


def test_AI2_a_forwarded_page_opens_with_the_owners_session_only(open_phone, voucher_id):
    assert open_phone().get(f"/m/coupons/{voucher_id}").status_code == 401


# Forgery (AO5)


def unsafe_member_routes(app):
    for rule in app.url_map.iter_rules():
        if rule.endpoint.startswith("member.") and "POST" in rule.methods:
            names = {
                name: 1 if isinstance(kind, IntegerConverter) else "name"
                for name, kind in rule._converters.items()
            }
            yield rule.endpoint, names


def test_AO5_no_form_is_taken_without_its_token(app, open_phone, praew):
    phone = open_phone(praew)
    open_to_scripts = {
        "member.liff_session"
    }  # it checks the Origin instead, and needs a token of LINE's
    with app.test_request_context():
        paths = {
            endpoint: app.url_map.bind("127.0.0.1").build(endpoint, names, method="POST")
            for endpoint, names in unsafe_member_routes(app)
        }
    answers = {
        endpoint: phone.client.post(path).status_code
        for endpoint, path in paths.items()
        if endpoint not in open_to_scripts
    }
    assert len(answers) >= 9
    assert set(answers.values()) == {403}


# Own data


def test_corrects_what_the_shop_keeps(open_phone, praew, database, runtime):
    phone = open_phone(praew)
    assert phone.send("/m/me/name", page="/m/me", value="แพรวา").status_code == 303
    assert phone.send("/m/me/phone", page="/m/me", value="089 999 9999").status_code == 303
    wrong = phone.send("/m/me/phone", page="/m/me", value="12")
    assert wrong.status_code == 422
    assert t("th", "members.bad_phone") in wrong.text
    with database.read() as session:
        member = session.get(Member, praew.id)
        assert member.name == "แพรวา"
        assert personal.phone_of(session, runtime.vault, member) == "+66899999999"


def test_stops_marketing(open_phone, praew, database):
    open_phone(praew).send("/m/me/marketing", page="/m/me", wants="0")
    with database.read() as session:
        assert not consents.is_given(session, praew.id, Purpose.MARKETING)


def test_leaves_after_one_more_question(open_phone, praew, database):
    phone = open_phone(praew)
    assert "20" in phone.get("/m/me/leave").text
    assert phone.send("/m/me/leave").headers["Location"] == "/m/goodbye"
    assert phone.get("/m/home").status_code == 401
    with database.read() as session:
        assert session.get(Member, praew.id).state == MemberState.ERASED


def test_speaks_english_from_now_on(open_phone, praew):
    phone = open_phone(praew)
    phone.send("/m/me/language", page="/m/me", locale="en")
    assert "My coupons" in phone.get("/m/coupons").text


# Joining on one page


def test_the_form_joins_as_the_chat_does(open_phone, somebody, shop, database, runtime):
    phone = open_phone(somebody("เพื่อน", joins=False))
    answer = phone.send(
        "/m/join", name="เพื่อน", phone="๐๘๑ ๒๓๔ ๕๖๗๘", birthday="5 มีนาคม 2538", consent="1", marketing="1",
    )  # fmt: skip
    assert answer.headers["Location"] == "/m/home?joined=1"
    with database.read() as session:
        member = session.scalars(select(Member)).one()
        assert member.is_member
        assert personal.phone_of(session, runtime.vault, member) == "+66812345678"
        assert consents.is_given(session, member.id, Purpose.MARKETING)
    assert "ยินดีต้อนรับ" in phone.get("/m/home?joined=1").text


def test_the_form_asks_for_a_guardian_by_the_age_of_the_settings(open_phone, somebody, runtime):
    with runtime.transaction() as session:
        settings.set(session, "members.asks_guardian", True, NOW)
        settings.set(session, "members.guardian_age", 18, NOW)
    page = open_phone(somebody("เพื่อน", joins=False)).get("/m/join").text
    assert t("th", "pages.guardian_box", age=18) in page


def test_the_form_asks_for_no_birthday_where_the_shop_does_not(open_phone, somebody, runtime):
    with runtime.transaction() as session:
        settings.set(session, "members.asks_birthday", False, NOW)
        settings.set(session, "members.asks_guardian", True, NOW)
    page = open_phone(somebody("เพื่อน", joins=False)).get("/m/join").text
    assert 'name="phone"' in page
    assert 'name="birthday"' not in page
    assert 'name="guardian"' not in page


def test_the_form_says_what_is_wrong_with_each_answer(open_phone, somebody, shop, database):
    phone = open_phone(somebody("เพื่อน", joins=False))
    answer = phone.send("/m/join", name="\u200b", phone="12", birthday="31/2/2538")
    assert answer.status_code == 422
    for code in ("consent_needed", "bad_name", "bad_phone", "bad_birthday"):
        assert t("th", f"members.{code}") in answer.text
    with database.read() as session:
        assert not session.scalars(select(Member)).one().is_member


def test_a_member_needs_no_form(open_phone, praew):
    assert open_phone(praew).get("/m/join").headers["Location"] == "/m/home"


# Invitations


def test_an_invitation_shows_the_code_or_signs_in(open_phone, praew, somebody):
    code = praew.referral_code
    assert f'data-code="{code}"' in open_phone().get(f"/m/invite?code={code}").text
    friend = open_phone(somebody("เพื่อน", joins=False))
    assert friend.send("/m/invite", page=f"/m/invite?code={code}", code=code).status_code == 303
    assert t("th", "pages.invite_noted") in friend.get(f"/m/invite?code={code}").text
    assert t("th", "pages.invite_member") in open_phone(praew).get("/m/invite?code=ABCD2345").text
    own = open_phone(praew).get(f"/m/invite?code={code}").text
    assert t("th", "pages.share") in own
    assert f"/p/invite/{code}.png" in own


@pytest.mark.parametrize("joins", [True, False])
def test_AC8_codes_guessed_on_the_invitation_page_are_counted(open_phone, praew, somebody, joins):
    phone = open_phone(somebody("คนเดา", joins=joins))
    token = phone.token("/m/privacy")
    guesses = [
        phone.client.post("/m/invite", data={"csrf_token": token, "code": f"GUESS{number}"})
        for number in range(6)
    ]
    assert [answer.status_code for answer in guesses] == [409] * 5 + [429]
    assert t("th", "codes.refused") in guesses[0].text
    assert t("th", "errors.too_many", minutes=1) in guesses[5].text
    assert t("th", "pages.invite_noted") not in guesses[0].text


@pytest.mark.parametrize("code", ['"><script>', "%00", "a" * 500, "//evil.example"])
def test_a_hostile_invitation_is_just_no_code(open_phone, shop, code):
    answer = open_phone().get("/m/invite", query_string={"code": code})
    assert answer.status_code == 200
    assert "<script>" not in answer.text
    assert "evil.example" not in answer.text


# Scanned codes


def test_a_scanned_code_asks_to_be_shown_to_staff_and_changes_nothing(
    open_phone, praew, voucher_id, database
):
    phone, path = open_phone(praew), f"/m/coupons/{voucher_id}"
    url = code_of(phone.ask(f"{path}/code", path))
    answer = open_phone().get(url[url.index("/s/") :])
    assert answer.status_code == 200
    assert t("th", "pages.show_staff_title") in answer.text
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    with database.read() as session:
        states = session.scalars(select(ScanCode.state).where(ScanCode.voucher_id.is_not(None)))
        assert set(states) == {CodeState.NEW}


# Pictures


def test_the_card_picture_scans_to_the_card_code(open_phone, runtime, praew):
    with runtime.transaction() as session:
        code = codes.card_code(session, runtime.settings.secret_key, praew.id, NOW)
    answer = open_phone().get(f"/p/qr/{code}.png")
    assert answer.mimetype == "image/png"
    assert "immutable" in answer.headers["Cache-Control"]
    found = zxingcpp.read_barcodes(Image.open(io.BytesIO(answer.data)).convert("L"))
    assert found[0].text == f"{runtime.settings.public_url}/s/{code}"


def test_only_our_own_card_codes_are_drawn(open_phone, runtime, praew, voucher_id):
    phone = open_phone(praew)
    rotating = code_of(phone.ask("/m/card/code", "/m/card")).rpartition("/s/")[2]
    for code in (rotating, "Q1.x", "https:evil", "a" * 300):
        assert phone.get(f"/p/qr/{code}.png").status_code == 404


def test_a_stamp_picture_is_drawn_for_a_signed_name_only(open_phone, runtime, shop):
    token = stamp_pictures.token_of(runtime.settings.secret_key, 1, 3, "th")
    answer = open_phone().get(f"/p/stamps/{token}.png")
    picture = Image.open(io.BytesIO(answer.data))
    assert picture.size == (1000, 650)
    assert len(answer.data) < 100 * 1024
    assert open_phone().get(f"/p/stamps/{token.replace('-3-', '-9-')}.png").status_code == 404


def test_an_invitations_picture_leads_to_the_invitation(open_phone, praew, settings):
    answer = open_phone().get(f"/p/invite/{praew.referral_code}.png")
    found = zxingcpp.read_barcodes(Image.open(io.BytesIO(answer.data)).convert("L"))
    assert found[0].text.endswith(f"/{settings.liff_id}/invite?code={praew.referral_code}")


def test_without_liff_a_page_says_how_to_get_in(runtime, shop):
    import dataclasses

    from app import create_app

    plain = dataclasses.replace(
        runtime, settings=runtime.settings.model_copy(update={"liff_id": ""})
    )
    app = create_app(runtime=plain)
    try:
        answer = app.test_client().get("/m/home", headers={"Accept-Language": "th"})
    finally:
        app.extensions["taem_intake"].close()
    assert answer.status_code == 401
    assert t("th", "pages.from_chat_title") in answer.text


def test_members_are_found_by_their_own_session_only(open_phone, praew, somebody, database):
    other = somebody("มาลี")
    with database.read() as session:
        assert members.by_public_id(session, other.public_id) is not None
    page = open_phone(praew).get(f"/m/me?member={other.public_id}&public_id={other.public_id}")
    assert "มาลี" not in page.text


@pytest.mark.parametrize("form, holds", [("json", '"phone": "+66'), ("csv", '"baht"')])
def test_my_data_can_be_taken_along(open_phone, praew, form, holds):
    assert open_phone().get(f"/m/me/data.{form}").status_code == 401
    answer = open_phone(praew).get(f"/m/me/data.{form}")
    assert answer.status_code == 200
    assert "attachment" in answer.headers["Content-Disposition"]
    assert answer.headers["Cache-Control"].startswith("no-store")
    assert holds in answer.text


def test_a_member_chooses_what_they_hear(open_phone, praew, database):
    phone = open_phone(praew)
    kept = phone.send("/m/topics", topic=["offers", "birthday"], often="1")
    assert kept.status_code == 303
    with database.read() as session:
        choice = topics.choice_of(session, praew.id)
    assert choice.muted == {"news", "reminders", "surveys"}
    assert choice.per_week == 1
    assert "checked" in phone.get("/m/topics?done=1").text
