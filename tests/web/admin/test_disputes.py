"""A member who said "not me": the console shows it, and who may lets them go on (AC3)."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from loyalty import disputes, points
from models.activities import Activity
from models.members import MemberTotals
from models.staff import AuditRow
from tests.moments import BANGKOK, NOW


@pytest.fixture
def disputed(runtime, somchai):
    """Somchai has disowned five points that were taken from him by hand."""
    with runtime.transaction() as session:
        points.earn(session, somchai.id, 40, source="test", source_id="1", now=NOW, tz=BANGKOK)
        points.adjust(
            session, somchai.id, -5, reason="x", staff_id=None, source_id="a", now=NOW, tz=BANGKOK
        )
        session.flush()
        adjusted = select(Activity.id).where(Activity.kind == "points.adjusted")
        disputes.dispute(session, somchai.id, session.scalars(adjusted).one(), NOW)
    return somchai


def test_ac3_the_freeze_is_seen_and_lifted_once_with_an_audit_row(owner, runtime, disputed):
    page = f"/admin/members/{disputed.public_id}"
    assert 'data-testid="frozen"' in owner.get(page).text
    assert f"/admin/members?q={disputed.member_no}" in owner.get("/admin/alarms").text
    assert owner.send(f"{page}/unfreeze").status_code == 303
    assert 'data-testid="frozen"' not in owner.get(page).text
    with runtime.database.read() as session:
        assert session.get_one(MemberTotals, disputed.id).frozen_at is None
        row = session.scalars(select(AuditRow).where(AuditRow.act == "members.unfrozen")).one()
    assert row.facts == {"member": disputed.public_id, "why": "not_me"}
    assert owner.send(f"{page}/unfreeze").status_code == 409


def test_ac3_only_who_answers_for_points_lifts_it(sign_in, disputed):
    page = f"/admin/members/{disputed.public_id}"
    auditor = sign_in("auditor")
    shown = auditor.get(page).text
    assert 'data-testid="frozen"' in shown
    assert 'data-testid="unfreeze"' not in shown
    assert auditor.send(f"{page}/unfreeze").status_code == 403
    assert sign_in("manager").send(f"{page}/unfreeze").status_code == 303
