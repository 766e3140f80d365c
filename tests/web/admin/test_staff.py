"""People of the console: second factor, sessions, confirming, and who may let whom in."""

from __future__ import annotations

import re
from datetime import timedelta

import pyotp
import pytest
from sqlalchemy import select, update

from core.ids import token_hash
from loyalty import people, second_factor
from models.staff import AuditRow, RecoveryCode, Staff, StaffSession
from tests import factories
from tests.factories import NOW
from tests.web.conftest import PRODUCT_HASHER, Browser

PASSWORD = "correct horse battery"
PASSWORD_HASH = people.hash_secret(PASSWORD)


def person(runtime, role, **more):
    with runtime.transaction() as session:
        values = {"email": f"{role}@taem.example", "role": role, "password_hash": PASSWORD_HASH}
        return factories.prem(session, **values | more).id


def sign_in(client, role, password=PASSWORD):
    form = {"email": f"{role}@taem.example", "password": password}
    return Browser(client).send("/admin/sign-in", **form)


def code_of(secret, clock, steps=0):
    return pyotp.TOTP(secret).at(clock.real_now() + timedelta(seconds=30 * steps))


def send_code(client, code):
    return Browser(client).send("/admin/second-factor", code=code)


def acts(database):
    with database.read() as session:
        return list(session.scalars(select(AuditRow.act).order_by(AuditRow.id)))


def enrolled(client, runtime, clock, role="owner"):
    """Somebody who has set up their second factor on the way in; their secret."""
    person(runtime, role)
    assert sign_in(client, role).headers["Location"] == "/admin/second-factor"
    page = client.get("/admin/second-factor").text
    assert "data:image/png;base64," in page
    secret = re.search(r"<code>([A-Z2-7 ]+)</code>", page)[1].replace(" ", "")
    assert send_code(client, "000000").status_code == 401
    assert send_code(client, code_of(secret, clock)).headers["Location"] == "/admin"
    return secret


@pytest.mark.parametrize("role", ["owner", "manager"])
def test_owner_and_manager_set_up_a_second_factor_before_they_are_in(
    client, runtime, clock, database, role
):
    enrolled(client, runtime, clock, role)
    assert client.get("/admin").status_code == 200
    assert acts(database) == ["staff.second_factor_set", "staff.signed_in"]
    with database.read() as session:
        assert session.scalars(select(Staff)).one().totp_sealed is not None


def test_the_password_alone_opens_nothing(client, runtime, clock):
    enrolled(client, runtime, clock)
    client.delete_cookie("taem_staff")
    assert sign_in(client, "owner").headers["Location"] == "/admin/second-factor"
    assert client.get("/admin").headers["Location"].startswith("/admin/sign-in")
    assert "<code>" not in client.get("/admin/second-factor").text  # the secret is shown once
    clock.advance(minutes=6)
    assert client.get("/admin/second-factor").status_code in (303, 401)


def test_a_code_is_good_once_however_it_is_typed(client, runtime, clock):
    secret = enrolled(client, runtime, clock)
    client.delete_cookie("taem_staff")
    sign_in(client, "owner")
    used = code_of(secret, clock)
    assert send_code(client, f"{used[:3]} {used[3:]}").status_code == 401
    clock.advance(seconds=30)
    fresh = code_of(secret, clock)
    assert send_code(client, f" {fresh[:3]}-{fresh[3:]} ").status_code == 303
    client.delete_cookie("taem_staff")
    sign_in(client, "owner")
    assert send_code(client, fresh).status_code == 401
    assert send_code(client, code_of(secret, clock, steps=-1)).status_code == 401


def test_wrong_codes_are_delayed_like_wrong_passwords(client, runtime, clock):
    secret = enrolled(client, runtime, clock)
    client.delete_cookie("taem_staff")
    clock.advance(seconds=60)
    sign_in(client, "owner")
    assert [send_code(client, "123456").status_code for _ in range(6)] == [401] * 5 + [429]
    assert send_code(client, code_of(secret, clock)).status_code == 429


def test_the_right_password_does_not_set_back_the_count_of_wrong_codes(
    client, runtime, clock, database
):
    secret = enrolled(client, runtime, clock)
    client.delete_cookie("taem_staff")
    clock.advance(seconds=60)
    for _ in range(5):
        assert sign_in(client, "owner").headers["Location"] == "/admin/second-factor"
        assert send_code(client, "123456").status_code == 401
    assert send_code(client, "123456").status_code == 429
    assert sign_in(client, "owner").status_code == 429
    clock.advance(seconds=31)
    assert sign_in(client, "owner").status_code == 303
    assert send_code(client, code_of(secret, clock)).headers["Location"] == "/admin"
    with database.read() as session:
        assert session.scalars(select(Staff.failed_count)).one() == 0


def test_a_marketer_needs_none_but_may_have_one(client, runtime, clock):
    person(runtime, "marketer")
    assert sign_in(client, "marketer").headers["Location"] == "/admin"
    browser = Browser(client)
    assert browser.send("/admin/me/second-factor", password="wrong").status_code == 401
    assert browser.send("/admin/me/second-factor", password=PASSWORD).status_code == 303
    page = client.get("/admin/second-factor").text
    secret = re.search(r"<code>([A-Z2-7 ]+)</code>", page)[1].replace(" ", "")
    assert send_code(client, code_of(secret, clock)).headers["Location"] == "/admin/me"
    client.delete_cookie("taem_staff")
    assert sign_in(client, "marketer").headers["Location"] == "/admin/second-factor"


def test_sessions_are_listed_and_ended_at_once(sign_in, runtime, database):
    here, there = sign_in("marketer"), None
    with runtime.transaction() as session:
        staff = session.scalars(select(Staff)).one()
        session.add(
            StaffSession(
                token_hash=token_hash("elsewhere"), staff_id=staff.id, created_at=NOW,
                last_seen_at=NOW, expires_at=NOW + timedelta(hours=1), browser="Firefox <b>",
            )
        )  # fmt: skip
    page = here.get("/admin/me").text
    assert "Firefox &lt;b&gt;" in page
    assert token_hash("elsewhere") not in page
    name = re.search(r"/admin/me/sessions/([0-9a-f]{16})/end", page)[1]
    assert here.send(f"/admin/me/sessions/{name}/end").status_code == 303
    assert here.send("/admin/me/sessions/0123456789abcdef/end").status_code == 404
    with database.read() as session:
        there = session.get_one(StaffSession, token_hash("elsewhere"))
    assert there.revoked_at is not None
    assert here.get("/admin/me").status_code == 200


def test_a_new_password_ends_every_other_session(client, runtime, database):
    person(runtime, "marketer")
    other = client.application.test_client()
    sign_in(client, "marketer")
    sign_in(other, "marketer")
    browser = Browser(client)
    weak = browser.send("/admin/me/password", password=PASSWORD, new="short")
    wrong = browser.send("/admin/me/password", password="wrong", new="brand new words 42")
    good = browser.send("/admin/me/password", password=PASSWORD, new="brand new words 42")
    assert (weak.status_code, wrong.status_code, good.status_code) == (422, 401, 303)
    assert client.get("/admin/me").status_code == 200
    assert other.get("/admin/me").status_code == 303
    assert sign_in(other, "marketer", "brand new words 42").headers["Location"] == "/admin"


EXPORTS = ["/admin/liability/months.csv", "/admin/audit.csv", "/admin/suspects/members.csv"]


@pytest.mark.parametrize("path", EXPORTS)
def test_exports_ask_for_the_password_again_after_a_while(sign_in, runtime, clock, path):
    owner = sign_in("owner", password_hash=PASSWORD_HASH)
    assert owner.send(path).status_code == 200
    clock.advance(minutes=16)
    asked = owner.send(path, referrer="http://localhost/admin/liability")
    assert asked.headers["Location"].startswith("/admin/confirm")
    form, nowhere = {"csrf_token": owner.token()}, {"Referer": "https://["}
    odd = owner.client.post(path, data=form, headers=nowhere)
    assert odd.headers["Location"].startswith("/admin/confirm")
    wrong = owner.send("/admin/confirm", password="wrong", next="/admin/liability")
    right = owner.send("/admin/confirm", password=PASSWORD, next="//evil.example")
    assert (wrong.status_code, right.headers["Location"]) == (401, "/admin")
    assert owner.send(path).status_code == 200


def test_the_owner_invites_and_the_link_works_once(owner, app, clock):
    made = owner.send("/admin/staff", name="มานี", email="manee@taem.example", role="marketer")
    code = re.search(r"/admin/welcome\?code=([\w-]+)", made.text)[1]
    assert "welcome?code" not in owner.get("/admin/staff").text
    again = owner.send("/admin/staff", name="x", email="manee@taem.example", role="marketer")
    odd = owner.send("/admin/staff", name="x", email="b@taem.example", role="king")
    assert (again.status_code, odd.status_code) == (409, 422)
    assert 'value="manee@taem.example"' in again.text
    assert '<option value="marketer" selected>' in again.text
    guest = app.test_client()
    page = Browser(guest)
    assert page.send("/admin/welcome", code=code, password=PASSWORD).status_code == 303
    assert guest.get("/admin").status_code == 200
    assert guest.get("/admin/staff").status_code == 403


def test_Z23_another_role_or_none_takes_effect_on_the_next_request(owner, sign_in, database):
    manager = sign_in("manager")
    with database.read() as session:
        staff_id = session.scalars(select(Staff.id).where(Staff.role == "manager")).one()
    assert manager.get("/admin/tills").status_code == 200
    assert owner.send(f"/admin/staff/{staff_id}/role", role="auditor").status_code == 303
    assert manager.get("/admin/tills").status_code == 303
    assert owner.send(f"/admin/staff/{staff_id}/out").status_code == 303
    assert owner.send(f"/admin/staff/{staff_id}/back").status_code == 303
    assert manager.get("/admin").status_code == 303  # old sessions stay dead
    assert acts(database)[-3:] == ["staff.role_changed", "staff.sent_out", "staff.taken_back"]


def test_the_last_owner_stays(owner, database):
    with database.read() as session:
        staff_id = session.scalars(select(Staff.id)).one()
    assert owner.send(f"/admin/staff/{staff_id}/role", role="auditor").status_code == 409
    assert owner.send(f"/admin/staff/{staff_id}/out").status_code == 409
    assert owner.get("/admin/staff").status_code == 200


def test_the_owner_helps_who_lost_phone_or_password(owner, client, runtime, clock, database):
    enrolled(client, runtime, clock, "manager")
    with database.read() as session:
        staff_id = session.scalars(select(Staff.id).where(Staff.role == "manager")).one()
    assert owner.send(f"/admin/staff/{staff_id}/second").status_code == 303
    assert client.get("/admin").status_code == 303
    sign_in(client, "manager")
    assert "<code>" in client.get("/admin/second-factor").text
    made = owner.send(f"/admin/staff/{staff_id}/link")
    assert "/admin/welcome?code=" in made.text
    assert sign_in(client, "manager").status_code == 401


@pytest.mark.parametrize("role", ["manager", "marketer", "auditor"])
def test_only_the_owner_sees_the_team(sign_in, role):
    browser = sign_in(role)
    assert browser.get("/admin/staff").status_code == 403
    assert (
        browser.send("/admin/staff", name="x", email="x@x.example", role="owner").status_code == 403
    )
    for file in ("staff", "staff/sessions"):
        assert browser.send(f"/admin/{file}.csv").status_code == 403


def test_one_code_used_by_two_at_once_lets_one_in(runtime, clock):
    staff_id = person(runtime, "owner")
    secret = second_factor.new_secret()
    with runtime.transaction() as session:
        staff = session.get_one(Staff, staff_id)
        sealed = runtime.vault.seal(f"staff.totp:{staff_id}", secret.encode())
        session.execute(update(Staff).values(totp_sealed=sealed))
        session.refresh(staff)
        code = code_of(secret, clock)
        tries = [
            second_factor.is_right(session, runtime.vault, staff, code, clock.real_now())
            for _ in range(2)
        ]
    assert tries == [True, False]


# Recovery codes


def made_codes(client, secret, clock):
    """The ten codes that the page shows once."""
    browser = Browser(client)
    form = {"password": PASSWORD, "code": code_of(secret, clock)}
    page = browser.send("/admin/me/recovery-codes", **form).text
    return re.findall(r"<li>([A-Z0-9-]{19})</li>", page)


def test_a_recovery_code_stands_in_for_a_lost_phone_once(client, app, runtime, clock, database):
    secret = enrolled(client, runtime, clock)
    assert "/admin/me#codes" in client.get("/admin").text  # a lost phone would lock them out
    clock.advance(seconds=30)
    codes = made_codes(client, secret, clock)
    assert len(set(codes)) == 10
    assert "/admin/me#codes" not in client.get("/admin").text
    assert not any(code in client.get("/admin/me").text for code in codes)
    with database.read() as session:
        kept = session.scalars(select(RecoveryCode.code_hash)).all()
    assert not {code.replace("-", "") for code in codes} & set(kept)
    other = app.test_client()
    sign_in(other, "owner")
    typed = f" {codes[0].lower().replace('-', ' ')} "
    assert send_code(other, typed).headers["Location"] == "/admin"
    again = app.test_client()
    sign_in(again, "owner")
    assert send_code(again, codes[0]).status_code == 401
    assert acts(database)[-2:] == ["staff.recovery_code_used", "staff.signed_in"]


def test_new_recovery_codes_end_the_old_and_need_the_password(
    client, app, runtime, clock, database
):
    secret = enrolled(client, runtime, clock)
    clock.advance(seconds=30)
    old = made_codes(client, secret, clock)
    browser = Browser(client)
    wrong = browser.send("/admin/me/recovery-codes", password="no", code=code_of(secret, clock))
    assert wrong.status_code == 401
    clock.advance(seconds=30)
    new = made_codes(client, secret, clock)
    assert not set(old) & set(new)
    other = app.test_client()
    sign_in(other, "owner")
    assert send_code(other, old[1]).status_code == 401
    assert send_code(other, new[1]).headers["Location"] == "/admin"
    assert acts(database).count("staff.recovery_codes_made") == 2


def test_nobody_elses_recovery_code_lets_in(client, app, runtime, clock):
    secret = enrolled(client, runtime, clock)
    clock.advance(seconds=30)
    codes = made_codes(client, secret, clock)
    other = app.test_client()
    enrolled(other, runtime, clock, role="manager")
    third = app.test_client()
    sign_in(third, "manager")
    assert send_code(third, codes[0]).status_code == 401


def test_whoever_loses_the_second_factor_loses_its_recovery_codes(runtime, clock, vault):
    with runtime.transaction() as session:
        prem = factories.prem(session, totp_sealed=b"x")
        second_factor.make_recovery_codes(session, vault, prem, NOW)
        second_factor.forget(session, prem, actor="cli", now=NOW)
        assert second_factor.recovery_codes_left(session, prem) == 0


# Everybody's sessions, and one branch


def test_Z23_the_owner_ends_anybodys_session_and_the_open_page_is_refused(owner, sign_in):
    manager = sign_in("manager", name="ผู้จัดการ")
    page = owner.get("/admin/staff/sessions?q=ผู้จัดการ").text
    row = r"ผู้จัดการ.*?/admin/staff/sessions/(\w+)/end"
    name = re.search(row, page, re.DOTALL)[1]
    assert manager.get("/admin/me/alive").status_code == 204
    assert manager.send(f"/admin/staff/sessions/{name}/end").status_code == 403
    assert owner.send(f"/admin/staff/sessions/{name}/end").status_code == 303
    assert manager.get("/admin/me/alive").status_code in (303, 401)
    assert manager.get("/admin").status_code == 303
    assert owner.send(f"/admin/staff/sessions/{name}/end").status_code == 404  # it is over
    assert owner.get("/admin").status_code == 200


def test_AA7_a_manager_of_one_branch_moves_and_loses_the_first_at_once(
    owner, sign_in, runtime, database
):
    with runtime.transaction() as session:
        first = factories.make_branch(session, code="SIAM").id
        second = factories.make_branch(session, code="ARI").id
    manager = sign_in("manager", branch_id=first)
    with database.read() as session:
        manager_id = session.scalars(select(Staff.id).where(Staff.role == "manager")).one()
    path = f"/admin/tills/branches/{first}"
    form = {"name_th": "สยาม", "name_en": "Siam"}
    assert manager.send(path, **form).status_code == 303
    assert manager.send(f"/admin/tills/branches/{second}", **form).status_code == 403
    assert "branch=ARI" not in manager.get("/admin/tills/shifts?branch=ARI").text
    moved = owner.send(f"/admin/staff/{manager_id}/role", role="manager", branch=str(second))
    assert moved.status_code == 303
    assert manager.get("/admin/tills").status_code == 303  # signed out by the move
    again = sign_in("manager", email="b@taem.example", branch_id=second)
    assert again.send(path, **form).status_code == 403
    assert (
        owner.send(f"/admin/staff/{manager_id}/role", role="manager", branch="99").status_code
        == 422
    )


def test_passwords_and_pins_are_kept_as_dearly_as_they_should_be():
    kept = PRODUCT_HASHER.hash(PASSWORD)
    assert kept.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
