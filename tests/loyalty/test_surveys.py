"""CSAT and NPS (L4): asked rarely, answered once, low marks looked after, reasons sealed."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select

from loyalty import conversations, shop, surveys, tickets
from loyalty.surveys import Mood
from models.activities import Activity
from models.conversations import Conversation, Ticket, TicketState
from models.scores import HIGH, LOW, SCALES, SurveyAnswer, SurveyKind
from tests import factories
from tests.moments import NOW

pytestmark = pytest.mark.usefixtures("somchai")


@pytest.fixture
def somchai(session, vault):
    return factories.somchai(session, vault=vault)


@pytest.fixture
def asked(session, somchai):
    """`asked("csat")` is the id of a question just put."""

    def put(kind: str = "csat", occasion: str = "purchase:1") -> int:
        question = surveys.ask(session, somchai.id, kind, occasion, NOW)
        assert question is not None
        return question.id

    return put


def kinds(session) -> list[str]:
    return list(session.scalars(select(Activity.kind).order_by(Activity.id)))


@pytest.mark.parametrize("kind, days", [("csat", 30), ("nps", 90)])
def test_l4_is_asked_at_most_once_in_its_days(session, somchai, asked, kind, days):
    asked(kind, "first")
    almost, after = NOW + timedelta(days=days, seconds=-1), NOW + timedelta(days=days)
    assert surveys.ask(session, somchai.id, kind, "second", almost) is None
    assert surveys.ask(session, somchai.id, kind, "second", after) is not None


def test_l4_one_kind_does_not_hold_up_the_other(session, somchai, asked):
    asked("csat")
    assert surveys.ask(session, somchai.id, "nps", "2026-Q4", NOW) is not None


def test_l4_the_same_occasion_is_the_same_question_until_it_is_answered(session, somchai, asked):
    first = asked()
    assert asked() == first
    surveys.answer(session, somchai.id, first, 4, NOW)
    assert surveys.ask(session, somchai.id, "csat", "purchase:1", NOW) is None


def test_l4_the_shop_may_ask_more_often(session, somchai, asked):
    asked("csat", "first")
    shop.set(session, "surveys.csat_every_days", 7, NOW)
    later = NOW + timedelta(days=7)
    assert surveys.ask(session, somchai.id, "csat", "second", later) is not None


def test_l4_one_answer_counts_whatever_is_tapped_twice(session, somchai, asked):
    question = asked()
    first = surveys.answer(session, somchai.id, question, 5, NOW)
    again = surveys.answer(session, somchai.id, question, 1, NOW)
    assert first is not None
    assert again is not None
    assert (first.is_first, again.is_first, again.answer.score) == (True, False, 5)
    assert kinds(session) == ["surveys.answered"]
    assert session.scalars(select(Ticket)).all() == []


@pytest.mark.parametrize("kind, score", [("csat", 0), ("csat", 6), ("nps", -1), ("nps", 11)])
def test_l4_marks_off_the_scale_are_no_answer(session, somchai, asked, kind, score):
    assert surveys.answer(session, somchai.id, asked(kind), score, NOW) is None


def test_l4_nobody_answers_for_another(session, asked):
    malee = factories.malee(session)
    assert surveys.answer(session, malee.id, asked(), 1, NOW) is None


@pytest.mark.parametrize(
    "kind, score, mood",
    [("csat", 2, "low"), ("csat", 3, "fine"), ("csat", 4, "high"),
     ("nps", 6, "low"), ("nps", 7, "fine"), ("nps", 8, "fine"), ("nps", 9, "high")],
)  # fmt: skip
def test_l4_low_marks_open_a_ticket(session, somchai, asked, kind, score, mood):
    taken = surveys.answer(session, somchai.id, asked(kind), score, NOW)
    assert taken is not None
    assert taken.mood == Mood(mood)
    found = session.scalars(select(Ticket)).all()
    assert len(found) == (mood == "low")
    assert [row.id for row in found] == [one for one in [taken.answer.ticket_id] if one]
    if found:
        assert str(score) in tickets.words(found[0], "th")


def test_a_ticket_is_done_once(session, somchai):
    ticket = tickets.open_ticket(session, somchai.id, "แก้วแตก", NOW)
    assert tickets.close(session, ticket.id, NOW)
    assert not tickets.close(session, ticket.id, NOW)
    session.refresh(ticket)
    assert (ticket.state, ticket.done_at) == (TicketState.DONE, NOW)
    assert tickets.words(ticket, "en") == "แก้วแตก"


@pytest.fixture
def says_why(session, vault, somchai):
    """`says_why(minutes=3)` is whether a text that much later was taken as the reason."""

    def say(text: str = "กาแฟเย็นไป", *, minutes: float = 3, at=NOW) -> bool:
        now = at + timedelta(minutes=minutes)
        row = surveys.take_why(session, vault, somchai, text, line_message_id="m1", now=now)
        return row is not None

    return say


def test_l4_why_is_the_next_text_within_ten_minutes_and_sealed(
    session, vault, somchai, asked, says_why
):
    assert not says_why()
    question = asked()
    surveys.answer(session, somchai.id, question, 2, NOW)
    assert not says_why(minutes=10)
    assert says_why(minutes=9)
    assert not says_why("อีกเรื่อง", minutes=9)
    row = session.get_one(SurveyAnswer, question)
    assert "กาแฟ".encode() not in row.why_sealed
    assert surveys.why_of(session, vault, somchai, row) == "กาแฟเย็นไป"
    assert session.scalars(select(Conversation)).all() == []


def test_l4_once_staff_have_written_a_text_is_for_them(session, vault, somchai, asked, says_why):
    surveys.answer(session, somchai.id, asked(), 2, NOW)
    prem = factories.prem(session)
    conversations.reply_of_staff(
        session, vault, somchai, staff_id=prem.id, text="ขอโทษค่ะ", now=NOW + timedelta(minutes=1)
    )
    assert not says_why()


def test_l4_a_reason_taken_back_is_gone_and_the_mark_stays(
    session, vault, somchai, asked, says_why
):
    question = asked()
    surveys.answer(session, somchai.id, question, 2, NOW)
    says_why()
    assert surveys.unsend(session, somchai, "m1")
    row = session.get_one(SurveyAnswer, question, populate_existing=True)
    assert (row.why_sealed, row.score) == (None, 2)
    assert not says_why()


def test_l1_a_tap_on_the_review_link_is_noted_once(session, vault, somchai, asked):
    question = asked("nps")
    assert not surveys.note_review(session, question, NOW)  # nobody praised yet
    surveys.answer(session, somchai.id, question, 9, NOW)
    row = session.get_one(SurveyAnswer, question)
    assert surveys.review_path(session, vault, row) is None
    shop.set(session, "shop.review_url", "https://g.page/r/cafe/review", NOW)
    path = surveys.review_path(session, vault, row)
    assert path is not None
    signature = path.rpartition(".")[2]
    assert surveys.review_of(session, vault, question, signature) == question
    assert surveys.review_of(session, vault, question, "0" * 32) is None
    assert surveys.note_review(session, question, NOW)
    assert not surveys.note_review(session, question, NOW)
    assert kinds(session).count("surveys.reviewed") == 1


def test_kinds_of_questions_are_those_of_the_table():
    assert set(SCALES) == set(LOW) == set(HIGH) == set(SurveyKind)
