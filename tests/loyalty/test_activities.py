"""The timeline: facts are written once and handed to reactions once."""

from __future__ import annotations

from sqlalchemy import func, select

from loyalty import activities
from models.activities import Activity
from tests.moments import NOW


def test_hands_the_fact_to_the_reactions(session, somchai):
    fact = activities.record(session, somchai.id, "members.joined", NOW, {"source": "poster"})
    assert session.info["activities"] == [fact]
    assert (fact.kind, fact.at, fact.facts) == ("members.joined", NOW, {"source": "poster"})


def test_same_key_is_written_once_and_reacted_to_once(session, somchai):
    key = f"members.joined:{somchai.id}"
    first = activities.record(session, somchai.id, "members.joined", NOW, key=key)
    again = activities.record(session, somchai.id, "members.joined", NOW, key=key)
    assert again is first
    assert session.info["activities"] == [first]
    assert session.scalar(select(func.count()).where(Activity.key == key)) == 1


def test_facts_without_a_key_may_repeat(session, somchai):
    for _ in range(2):
        activities.record(session, somchai.id, "members.renamed", NOW)
    session.flush()
    assert session.scalar(select(func.count()).where(Activity.kind == "members.renamed")) == 2
