"""Becoming a till, opening it with a PIN, and being refused at once when either is taken away."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select

from core import ids
from core.i18n import t
from loyalty import people
from models.members import Member
from models.staff import AuditRow, Cashier, CashierSession, Device
from tests import factories
from tests.moments import NOW
from tests.web.conftest import PIN, PIN_HASH, Browser


@pytest.fixture
def stranger(client, shop) -> Browser:
    return Browser(client)


@pytest.fixture
def code(runtime, shop) -> str:
    with runtime.transaction() as session:
        return people.enrolment_code(session, "siam", now=NOW, actor="cli")


@pytest.fixture
def closed_till(app, shop) -> Browser:
    client = app.test_client()
    client.set_cookie("taem_device", shop.device_token)
    return Browser(client)


def test_enrolment_code_makes_this_browser_a_till(stranger, code):
    assert stranger.send("/cashier/enrol", code=code, name="หน้าร้าน").status_code == 303
    assert 'id="pin-form"' in stranger.get("/cashier").text


def test_opening_the_enrolment_link_does_nothing_yet(stranger, code):
    stranger.get(f"/cashier/enrol?code={code}")
    assert stranger.send("/cashier/enrol", code=code, name="x").status_code == 303


def test_FQ10_used_late_and_guessed_codes_look_alike(stranger, runtime, clock, code):
    stranger.send("/cashier/enrol", code=code, name="หนึ่ง")
    with runtime.transaction() as session:
        late = people.enrolment_code(session, "siam", now=NOW, actor="cli")
    used = stranger.send("/cashier/enrol", code=code, name="สอง")
    clock.advance(minutes=10)
    over = stranger.send("/cashier/enrol", code=late, name="สอง")
    guessed = stranger.send("/cashier/enrol", code="A" * 43, name="สอง")
    assert [used.status_code, over.status_code, guessed.status_code] == [404, 404, 404]
    assert used.text == over.text == guessed.text


def test_enrolling_is_written_to_the_audit_chain(stranger, code, database):
    stranger.send("/cashier/enrol", code=code, name="หน้าร้าน")
    with database.read() as session:
        acts = session.scalars(select(AuditRow.act)).all()
    assert acts == ["devices.code_made", "devices.enrolled"]


def test_demo_enrolment_does_not_exist_elsewhere(stranger):
    assert stranger.send("/cashier/enrol/demo").status_code == 404


def test_right_pin_opens_the_till(closed_till, shop):
    answer = closed_till.send("/cashier/pin", cashier=str(shop.cashier.id), pin=PIN)
    assert answer.status_code == 303
    assert 'id="till"' in closed_till.get("/cashier").text


def test_FX06_pin_gives_a_new_session_and_form_token(closed_till, shop):
    closed_till.client.set_cookie("taem_cashier", "planted")
    before = closed_till.token()
    closed_till.send("/cashier/pin", cashier=str(shop.cashier.id), pin=PIN)
    assert closed_till.client.get_cookie("taem_cashier").value != "planted"
    reused = closed_till.client.post("/cashier/leave", data={"csrf_token": before})
    assert reused.status_code == 403


def test_wrong_pin_says_how_many_tries_are_left(closed_till, shop):
    answer = closed_till.send("/cashier/pin", cashier=str(shop.cashier.id), pin="000000")
    assert answer.status_code == 401
    assert "4" in answer.text


def test_last_try_of_a_pin_is_one_try(runtime, shop, clock):
    with runtime.transaction() as session:
        cashier = session.get_one(Cashier, shop.cashier.id)
        wrong = [people.try_pin(session, cashier, "000000", clock.real_now()) for _ in range(4)]
    assert t("en", wrong[-2].code, **wrong[-2].facts) == "Wrong PIN. 2 tries left."
    assert t("en", wrong[-1].code, **wrong[-1].facts) == "Wrong PIN. 1 try left."


def test_FQ09_pin_lock_survives_a_restart(closed_till, shop, runtime, clock):
    from app import create_app

    tries = [
        closed_till.send("/cashier/pin", cashier=str(shop.cashier.id), pin="000000").status_code
        for _ in range(5)
    ]
    restarted = create_app(runtime=runtime)
    client = restarted.test_client()
    client.set_cookie("taem_device", shop.device_token)
    again = Browser(client)
    right = again.send("/cashier/pin", cashier=str(shop.cashier.id), pin=PIN)
    clock.advance(minutes=15, seconds=1)
    later = again.send("/cashier/pin", cashier=str(shop.cashier.id), pin=PIN)
    restarted.extensions["taem_intake"].close()
    assert tries == [401, 401, 401, 401, 429]
    assert right.status_code == 429
    assert later.status_code == 303


def test_pin_of_another_branch_is_refused(closed_till, runtime):
    with runtime.transaction() as session:
        branch = factories.make_branch(session, "thonglor")
        stranger = factories.nok(session, branch=branch, pin_hash=PIN_HASH)
    answer = closed_till.send("/cashier/pin", cashier=str(stranger.id), pin=PIN)
    assert answer.status_code == 422


def test_odd_cashier_ids_are_refused(closed_till):
    odd = ["", "abc", "²", "9" * 30, "-1", "99999"]
    answers = [closed_till.send("/cashier/pin", cashier=one, pin=PIN) for one in odd]
    assert {answer.status_code for answer in answers} == {422}


def test_opening_closes_who_was_open_before(till, shop, database):
    till.send("/cashier/pin", cashier=str(shop.cashier.id), pin=PIN)
    with database.read() as session:
        still_open = session.scalar(
            select(func.count())
            .select_from(CashierSession)
            .where(CashierSession.closed_at.is_(None))
        )
    assert still_open == 1


def test_leaving_closes_the_till(till):
    till.send("/cashier/leave")
    assert 'id="pin-form"' in till.get("/cashier").text


def test_idle_till_asks_for_the_pin_again(till, clock):
    clock.advance(minutes=31)
    assert till.ask("/cashier/scan", {"text": "1"}).status_code == 401


def test_a_working_till_stays_open_for_the_shift_only(till, clock):
    statuses = []
    for _ in range(24):
        clock.advance(minutes=30)
        statuses.append(till.ask("/cashier/release", {"holds": []}).status_code)
    assert statuses == [200] * 23 + [401]


def test_Z23_revoked_device_is_refused_on_the_next_request(till, shop, runtime):
    with runtime.transaction() as session:
        session.get_one(Device, shop.device.id).revoked_at = NOW
    answer = till.client.post(
        "/cashier/scan", json={"text": "1"},
        headers={"X-CSRFToken": Browser(till.client).token()},
    )  # fmt: skip
    assert answer.status_code == 401


def test_Z23_dismissed_cashier_is_refused_on_the_next_request(till, shop, runtime):
    with runtime.transaction() as session:
        session.get_one(Cashier, shop.cashier.id).is_active = False
    assert till.ask("/cashier/scan", {"text": "1"}).status_code == 401


def test_Z23_cashier_moved_to_another_branch_is_refused(till, shop, runtime):
    with runtime.transaction() as session:
        other = factories.make_branch(session, "thonglor")
        session.get_one(Cashier, shop.cashier.id).branch_id = other.id
    assert till.ask("/cashier/scan", {"text": "1"}).status_code == 401


def test_session_of_another_device_opens_nothing(till, runtime, app):
    token = ids.secret_token()
    with runtime.transaction() as session:
        factories.make_device(session, token_hash=ids.token_hash(token))
    other = app.test_client()
    other.set_cookie("taem_device", token)
    other.set_cookie("taem_cashier", till.client.get_cookie("taem_cashier").value)
    assert 'id="pin-form"' in other.get("/cashier").text


def test_till_speaks_english_when_asked(till):
    till.get("/cashier/language/en")
    assert '<html lang="en">' in till.get("/cashier").text


def test_an_odd_scanned_link_on_an_open_till_leads_to_the_till_too(till):
    answer = till.get("/s/Q1%0D%0A%C2%A0")
    assert (answer.status_code, answer.headers["Location"]) == (302, "/cashier#Q1%0D%0A%C2%A0")


def test_scanned_link_on_an_open_till_leads_to_the_till(till, runtime, somchai, show):
    answer = till.get(f"/s/{show(somchai)}")
    assert answer.status_code in (302, 303)
    assert answer.headers["Location"].startswith("/cashier")
    with runtime.database.read() as session:
        assert session.get(Member, somchai.id) is not None
