"""What members choose to hear about, in the chat."""

from __future__ import annotations

import pytest

from core.i18n import t
from engagement import topics
from loyalty import consents
from models.members import Purpose
from tests.handlers.chat import actions_of, words_of
from tests.moments import NOW


@pytest.fixture
def member(chat):
    """Somebody who has joined and agreed to marketing."""
    chat.joins()
    consents.give(chat.session, chat.member.id, Purpose.MARKETING, channel="chat", now=NOW)
    return chat.member


def test_topics_are_turned_off_and_on_by_taps(chat, member):
    taps = [tap["data"] for tap in actions_of(chat.says("รับข่าวอะไรบ้าง"))]
    assert "topics.set?topic=offers&on=0" in taps
    assert "members.stop_marketing" in taps
    answer = chat.taps("topics.set?topic=offers&on=0")
    assert "topics.set?topic=offers&on=1" in [tap["data"] for tap in actions_of(answer)]
    assert topics.choice_of(chat.session, member.id).muted == {"offers"}
    chat.taps("topics.set?topic=offers&on=1")
    chat.taps("topics.set?topic=nonsense&on=0")
    assert topics.choice_of(chat.session, member.id).muted == frozenset()


def test_how_often_is_chosen_up_to_the_shops_own(chat, member):
    assert t("th", "topics.changed") in words_of(chat.taps("topics.often?times=1"))
    assert topics.choice_of(chat.session, member.id).per_week == 1
    chat.taps("topics.often?times=9")
    assert topics.choice_of(chat.session, member.id).per_week == 1


def test_who_stopped_everything_is_shown_the_way_back(chat, member):
    chat.taps("members.stop_marketing")
    taps = [tap["data"] for tap in actions_of(chat.says("what news"))]
    assert "members.start_marketing" in taps
    assert "topics.set?topic=offers&on=0" not in taps
