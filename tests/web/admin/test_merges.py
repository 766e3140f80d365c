"""Duplicates in the console: compared, made one, parted."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from loyalty import members, points
from models.imports import Merge
from models.members import Member, MemberState
from tests.moments import NOW


@pytest.fixture
def twin(runtime, somchai) -> Member:
    """The same man again, from the time before he had LINE."""
    with runtime.transaction() as session:
        e164 = members.E164("+66898887777")
        twin = members.create_walk_in(session, runtime.vault, e164=e164, now=NOW, name="สมชาย เก่า")
        points.earn(
            session, twin.id, 40, source="test", source_id="1", now=NOW, tz=runtime.clock.tz
        )
    return twin


def test_two_are_shown_side_by_side_made_one_and_parted(owner, runtime, somchai, twin):
    page = owner.get(f"/admin/merges/compare?a={twin.member_no}&b={somchai.member_no}").text
    assert "สมชาย เก่า" in page
    assert f'value="{somchai.public_id}" id="keep-2" required checked' in page
    form = {"a": twin.public_id, "b": somchai.public_id, "keep": somchai.public_id}
    done = owner.send("/admin/merges", **form)
    assert done.status_code == 303, done.text
    shown = owner.get(done.headers["Location"]).text
    assert "รวมกับ" in shown
    assert twin.member_no in shown
    assert owner.get(f"/admin/members/{twin.public_id}").status_code == 404
    assert somchai.public_id in owner.get(f"/admin/members?q={twin.member_no}").text
    with runtime.database.read() as session:
        assert points.balance_of(session, somchai.id, NOW).balance == 40
        merge_id = session.scalars(select(Merge.id)).one()
    assert "สมชาย เก่า" in owner.get("/admin/merges").text
    assert owner.send(f"/admin/merges/{merge_id}/undo").status_code == 303
    assert owner.send(f"/admin/merges/{merge_id}/undo").status_code == 409
    with runtime.database.read() as session:
        assert session.get_one(Member, twin.id).state == MemberState.MEMBER


def test_only_who_may_can_merge(sign_in, somchai, twin):
    form = {"a": twin.public_id, "b": somchai.public_id, "keep": somchai.public_id}
    auditor = sign_in("auditor")
    assert auditor.get("/admin/merges").status_code == 200
    assert auditor.send("/admin/merges", **form).status_code == 403
    assert sign_in("marketer").get("/admin/merges").status_code == 403


@pytest.mark.parametrize("number", ["", "000000000", "../../etc"])
def test_nobody_to_compare_with_is_not_found(owner, somchai, number):
    path = f"/admin/merges/compare?a={somchai.member_no}&b={number}"
    assert owner.get(path).status_code == 404
