"""Nobody is locked in: the owner's list can be imported elsewhere, and members take theirs along."""

from __future__ import annotations

import json

from sqlalchemy import select

from core.spreadsheets import csv_text
from loyalty import exports, imports, points
from loyalty.joining import Answers, Surroundings, join
from loyalty.purchases import record_purchase
from models.members import Member
from tests import factories
from tests.moments import BANGKOK, NOW


def joined(session, vault, name, phone):
    member = factories.friend(session, name)
    around = Surroundings(session, vault, member, NOW, BANGKOK)
    join(
        around,
        Answers(name=name, phone=phone, birthday="1995-03-05", marketing=True),
        channel="chat",
    )
    branch = factories.make_branch(session, f"b{member.id}")
    record_purchase(
        session, member_id=member.id, branch=branch, amount_satang=25_000,
        operation_id=f"till:{member.id}", now=NOW, tz=BANGKOK,
    )  # fmt: skip
    return member


def test_the_list_of_members_reads_back_as_an_import(session, vault):
    factories.make_policy(session)
    joined(session, vault, "ปิยะ =1+1", "+66812345678")
    factories.friend(session, "ผ่านมา")
    rows = list(exports.member_rows(session, vault, BANGKOK))
    assert [row[1:] for row in rows[1:]] == [
        ("ปิยะ =1+1", "0812345678", "1995-03-05", 10, "2026-11-22", "yes", "yes")
    ]
    reading = imports.read(session, vault, csv_text(rows).encode(), NOW.date())
    assert [trouble.code for trouble in reading.troubles] in ([], ["phone_taken"])
    assert (reading.counts["points"], reading.counts["wrong"]) in ((10, 0), (0, 1))


def test_members_get_everything_about_themselves_and_nobody_else(session, vault):
    factories.make_policy(session)
    member = joined(session, vault, "ปิยะ", "+66812345678")
    joined(session, vault, "มาลี", "+66899999999")
    data = exports.own_data(session, vault, member, NOW)
    assert data["profile"]["phone"] == "+66812345678"
    assert {one["purpose"] for one in data["consents"]} >= {"membership", "marketing"}
    assert [line["kind"] for line in data["movements"]].count("purchase") == 1
    assert sum(line["points"] for line in data["movements"] if line["kind"] == "points") == (
        points.balance_of(session, member.id, NOW).balance
    )
    text = json.dumps(data, ensure_ascii=False)
    assert "มาลี" not in text
    assert "899999999" not in text
    assert session.scalars(select(Member)).all()
