"""Keys, webhooks and lists of members in the console."""

from __future__ import annotations

import io
import re

import pytest
from sqlalchemy import select

from loyalty import points
from models.feed import WebhookTarget
from models.imports import Import
from models.members import Member
from models.staff import ApiKey, AuditRow
from tests.moments import NOW


def acts(runtime) -> list[str]:
    with runtime.database.read() as session:
        return list(session.scalars(select(AuditRow.act).order_by(AuditRow.id)))


def test_key_is_shown_once_works_and_is_dead_once_revoked(owner, app, runtime, somchai):
    made = owner.send("/admin/api-keys", name="POS สยาม", scopes="members.read")
    key = re.search(r'value="(taem_[^"]+)"', made.text)[1]
    assert key not in owner.get("/admin/api-keys").text

    def look():
        headers = {"Authorization": f"Bearer {key}"}
        return app.test_client().get(f"/api/v1/members/{somchai.member_no}", headers=headers)

    assert look().status_code == 200
    with runtime.database.read() as session:
        key_id = session.scalars(select(ApiKey.id)).one()
    assert owner.send(f"/admin/api-keys/{key_id}/revoke").status_code == 303
    assert look().status_code == 401
    assert acts(runtime) == ["api_keys.created", "api_keys.revoked"]


def test_key_without_a_scope_is_not_made(owner):
    answer = owner.send("/admin/api-keys", name="x")
    assert answer.status_code == 422
    assert 'role="alert"' in answer.text


def test_webhook_is_added_switched_and_sent_again(owner, runtime):
    made = owner.send(
        "/admin/webhooks", name="ERP", url="https://erp.example/taem", kinds="members.left"
    )
    secret = re.search(r'value="(whsec_[^"]+)"', made.text)[1]
    page = owner.get("/admin/webhooks").text
    assert "erp.example" in page
    assert secret not in page
    with runtime.database.read() as session:
        target_id = session.scalars(select(WebhookTarget.id)).one()
    owner.send(f"/admin/webhooks/{target_id}", what="off")
    owner.send(f"/admin/webhooks/{target_id}", what="resend", position="0")
    assert (
        owner.send(f"/admin/webhooks/{target_id}", what="resend", position="9").status_code == 422
    )
    assert acts(runtime) == ["webhooks.added", "webhooks.off", "webhooks.resent"]


def test_fx03_webhook_into_the_house_is_refused(owner):
    answer = owner.send("/admin/webhooks", name="x", url="https://169.254.169.254/")
    assert answer.status_code == 422
    assert "169.254" in answer.text, "what was typed is still there"


def test_a_refused_webhook_keeps_its_kinds_for_none_means_all(owner):
    form = {"name": "x", "url": "https://169.254.169.254/", "kinds": "members.left"}
    page = owner.send("/admin/webhooks", **form).text
    assert re.findall(r'value="([\w.]+)" id="kind-\d+" checked', page) == ["members.left"]


@pytest.mark.parametrize("path", ["/admin/api-keys", "/admin/webhooks"])
@pytest.mark.parametrize("role", ["manager", "marketer", "auditor"])
def test_keys_and_webhooks_are_the_owners_alone(sign_in, role, path):
    assert sign_in(role).get(path).status_code == 403


LIST = "name,phone,points,consent\nสมหญิง,0891112222,120,ใช่\n"


def upload(browser, text: str, name: str = "members.csv"):
    return browser.send("/admin/imports", list=(io.BytesIO(text.encode()), name))


def test_list_is_checked_then_applied_and_its_content_gone(owner, runtime, shop):
    checked = upload(owner, LIST)
    assert checked.status_code == 303
    place = checked.headers["Location"]
    with runtime.database.read() as session:
        assert session.scalar(select(Member.id)) is None, "only looked at"
    assert "0891112222" not in owner.get(place).text
    done = owner.send(place, decision="all")
    assert done.status_code == 303, done.text
    with runtime.database.read() as session:
        member = session.scalars(select(Member)).one()
        assert points.balance_of(session, member.id, NOW).available == 120
        assert session.scalars(select(Import)).one().content_sealed is None
    assert owner.send(place, decision="all").status_code == 409
    assert acts(runtime) == ["imports.checked", "imports.applied"]


def test_P8_opening_points_take_a_second_person_or_the_owner(sign_in, runtime, shop):
    first, second = (sign_in("manager", email=f"{name}@taem.example") for name in "ab")
    place = upload(first, LIST).headers["Location"]
    assert 'value="all"' not in first.get(place).text
    assert [first.send(place, decision=one).status_code for one in ("all", "good")] == [403, 403]
    with runtime.database.read() as session:
        assert session.scalar(select(Member.id)) is None
    assert 'value="all"' in second.get(place).text
    assert second.send(place, decision="all").status_code == 303
    without = LIST.replace("120", "0").replace("0891112222", "0891113333")
    assert first.send(upload(first, without).headers["Location"], decision="all").status_code == 303


def test_wrong_lines_are_shown_in_words_and_good_ones_can_be_taken(owner, runtime, shop):
    place = upload(owner, LIST + "x,12,1,yes\n").headers["Location"]
    page = owner.get(place).text
    assert "เบอร์โทรไม่ถูกต้อง" in page
    assert owner.send(place, decision="all").status_code == 409
    assert owner.send(place, decision="good").status_code == 303


def test_a_list_may_have_a_long_thai_name(owner, runtime):
    assert upload(owner, LIST, "รายชื่อที่" * 24 + ".csv").status_code == 303
    with runtime.database.read() as session:
        assert len(session.scalars(select(Import.file_name)).one()) == 200


def test_list_can_be_thrown_away(owner, runtime):
    place = upload(owner, LIST).headers["Location"]
    assert owner.send(place, decision="drop").status_code == 303
    with runtime.database.read() as session:
        assert session.scalars(select(Import)).one().content_sealed is None


def test_list_of_five_megabytes_may_be_uploaded_and_nothing_else_that_large(owner):
    text = "name,phone,points,consent\nน,0891112222,1,yes\n" + "\n" * (5 * 2**20)
    parts = (
        f'--x\r\nContent-Disposition: form-data; name="csrf_token"\r\n\r\n{owner.token()}\r\n'
        '--x\r\nContent-Disposition: form-data; name="list"; filename="m.csv"\r\n\r\n'
        f"{text}\r\n--x--\r\n"
    )
    form = {"data": parts.encode(), "content_type": "multipart/form-data; boundary=x"}
    sent = owner.client.post("/admin/imports", **form)
    assert sent.status_code in (303, 422), "5 million empty lines are too many, but not too large"
    assert owner.client.post("/admin/webhooks", **form).status_code == 413


def test_auditor_reads_imports_and_changes_nothing(sign_in, owner):
    place = upload(owner, LIST).headers["Location"]
    auditor = sign_in("auditor")
    assert auditor.get(place).status_code == 200
    assert auditor.send(place, decision="all").status_code == 403
