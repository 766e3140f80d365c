"""Consents by purpose and version: what somebody saw is what they agreed to (`product.md` 14)."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from core.errors import Refused
from loyalty import consents
from models.members import Consent, ConsentText, Purpose
from models.staff import AuditRow
from tests import factories
from tests.factories import NOW

WORDS = {"body_th": "ข้อความใหม่ของ {shop}", "body_en": "The new words of {shop}"}


@pytest.fixture
def somchai(session):
    return factories.somchai(session)


def publish(session, purpose=Purpose.MARKETING, *, asks_again=True, **more):
    return consents.publish(
        session, purpose, **WORDS | more, asks_again=asks_again, by="staff:1", now=NOW
    )


def held(session, member, purpose=Purpose.MARKETING):
    rows = session.execute(
        select(Consent.text_version, Consent.withdrawn_at.is_(None))
        .where(Consent.member_id == member.id, Consent.purpose == purpose)
        .order_by(Consent.id)
    )
    return [tuple(row) for row in rows]


def test_the_first_text_comes_with_the_product(session):
    first = consents.current(session, Purpose.MEMBERSHIP)
    assert first.version == 1
    assert "{shop}" in first.body_th
    assert "{shop}" not in consents.words(session, Purpose.MEMBERSHIP, "th")


def test_a_new_version_is_in_force_and_the_old_one_stays_readable(session):
    publish(session)
    publish(session, body_en="Third")
    assert [text.version for text in consents.texts(session)[Purpose.MARKETING]] == [3, 2, 1]
    assert consents.current(session, Purpose.MARKETING).body_en == "Third"
    assert consents.current(session, Purpose.BIRTHDAY).version == 1
    acts = session.scalars(select(AuditRow)).all()
    assert [row.facts["version"] for row in acts] == [2, 3]


def test_agreeing_again_ends_the_row_of_the_older_words(session, somchai):
    publish(session)
    consents.give(session, somchai.id, Purpose.MARKETING, channel="liff", now=NOW)
    assert held(session, somchai) == [("1", False), ("marketing-2", True)]
    consents.give(session, somchai.id, Purpose.MARKETING, channel="liff", now=NOW)
    assert len(held(session, somchai)) == 2


def test_what_was_shown_is_what_is_recorded(session, somchai):
    consents.withdraw(session, somchai.id, Purpose.MARKETING, NOW)
    publish(session)
    consents.give(session, somchai.id, Purpose.MARKETING, channel="chat", now=NOW, version=1)
    assert held(session, somchai)[-1] == ("marketing-1", True)
    assert [text.version for text in consents.stale(session, somchai.id)] == [2]
    consents.give(session, somchai.id, Purpose.MARKETING, channel="chat", now=NOW, version=99)
    assert held(session, somchai)[-1] == ("marketing-2", True)  # nobody saw a 99th


def test_an_older_answer_never_replaces_a_newer_one(session, somchai):
    publish(session)
    consents.give(session, somchai.id, Purpose.MARKETING, channel="chat", now=NOW)
    consents.give(session, somchai.id, Purpose.MARKETING, channel="chat", now=NOW, version=1)
    assert held(session, somchai)[-1] == ("marketing-2", True)


def test_a_guardians_word_goes_along(session, somchai):
    consents.withdraw(session, somchai.id, Purpose.MARKETING, NOW)
    consents.give(session, somchai.id, Purpose.MARKETING, channel="chat", now=NOW, by_guardian=True)
    publish(session)
    consents.give(session, somchai.id, Purpose.MARKETING, channel="chat", now=NOW)
    assert held(session, somchai)[-1] == ("marketing-2+guardian", True)
    assert consents.has_guardian(session, somchai.id)


def test_members_are_asked_once_for_each_version_that_asks(session, somchai):
    assert consents.ask_once(session, somchai, NOW) is None
    publish(session, asks_again=False)
    assert consents.stale(session, somchai.id) == []
    publish(session, body_en="Third")
    assert consents.ask_once(session, somchai, NOW).version == 3
    assert consents.ask_once(session, somchai, NOW) is None
    assert consents.is_given(session, somchai.id, Purpose.MARKETING)  # for the words they saw
    publish(session, body_en="Fourth")
    assert consents.ask_once(session, somchai, NOW).version == 4


def test_whoever_never_agreed_is_not_asked(session):
    malee = factories.malee(session, marketing=False)
    publish(session)
    assert consents.stale(session, malee.id) == []


def test_who_holds_which_version_is_counted(session, somchai):
    factories.malee(session)
    publish(session)
    consents.give(session, somchai.id, Purpose.MARKETING, channel="liff", now=NOW)
    assert consents.holders(session)[Purpose.MARKETING] == {1: 1, 2: 1}


@pytest.mark.parametrize(
    "odd", [{"body_th": " "}, {"body_en": "\u200b"}, {"body_th": "ก" * 1001}], ids=str
)
def test_odd_texts_are_not_published(session, odd):
    with pytest.raises(Refused):
        publish(session, **odd)
    assert session.scalars(select(ConsentText)).all() == []


def test_the_same_text_is_no_new_version(session):
    publish(session)
    with pytest.raises(Refused, match=r"consents\.text_same"):
        publish(session)


@pytest.mark.parametrize(
    "text, number",
    [("1", 1), ("marketing-1", 1), ("marketing-12", 12), ("marketing-2+guardian", 2), ("", 1)],
)
def test_reads_the_number_of_a_version(text, number):
    assert consents.version_of(text) == number
