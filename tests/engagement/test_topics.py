"""Topics: what members choose to hear about is asked by the gate, and goes along in a merge."""

from __future__ import annotations

import pytest
from sqlalchemy.orm import Session

from core.crypto import Vault
from core.errors import Refused
from engagement import delivery, topics
from loyalty import erasure, merges
from models.members import Member
from models.outbox import Message, MessageClass
from models.segments import MemberChoice, MemberTag
from tests import factories
from tests.moments import BANGKOK, NOW

PROMOTIONAL = MessageClass.PROMOTIONAL


def why(
    session: Session, vault: Vault, member: Member, klass: MessageClass, topic: str | None
) -> str | None:
    about = {"now": NOW, "tz": BANGKOK, "topic": topic}
    alone = delivery.decide(session, vault, member, klass, **about)
    together = delivery.decide_many(session, vault, [member], klass, **about)[member.id]
    assert alone == together, "one rule, asked two ways"
    return alone.reason


def test_m4_a_muted_topic_is_not_heard_of(session: Session, vault: Vault) -> None:
    somchai = factories.somchai(session)
    topics.set_topic(session, somchai.id, topics.OFFERS, NOW, is_on=False)
    assert why(session, vault, somchai, PROMOTIONAL, topics.OFFERS) == delivery.MUTED
    assert why(session, vault, somchai, PROMOTIONAL, topics.NEWS) is None
    assert why(session, vault, somchai, PROMOTIONAL, None) is None
    assert why(session, vault, somchai, MessageClass.SERVICE, topics.OFFERS) == delivery.MUTED
    assert why(session, vault, somchai, MessageClass.TRANSACTIONAL, topics.OFFERS) is None
    topics.set_topic(session, somchai.id, topics.OFFERS, NOW, is_on=True)
    assert why(session, vault, somchai, PROMOTIONAL, topics.OFFERS) is None


def test_m4_a_member_may_only_lower_the_cap(session: Session, vault: Vault) -> None:
    somchai = factories.somchai(session)
    session.add(
        Message(
            key="k", member_id=somchai.id, klass=PROMOTIONAL, kind="x.y", state="sent",
            created_at=NOW, due_at=NOW,
        )
    )  # fmt: skip
    assert why(session, vault, somchai, PROMOTIONAL, topics.OFFERS) is None
    topics.set_per_week(session, somchai.id, 1, NOW)
    assert why(session, vault, somchai, PROMOTIONAL, topics.OFFERS) == delivery.CAPPED
    topics.set_per_week(session, somchai.id, 0, NOW)
    assert why(session, vault, somchai, PROMOTIONAL, topics.OFFERS) == delivery.CAPPED
    assert why(session, vault, somchai, MessageClass.SERVICE, topics.REMINDERS) is None
    with pytest.raises(Refused):
        topics.set_per_week(session, somchai.id, 3, NOW)
    with pytest.raises(Refused):
        topics.set_muted(session, somchai.id, ["nonsense"], NOW)
    assert topics.choice_of(session, somchai.id).per_week == 0


def test_the_quieter_wish_holds_after_a_merge(session: Session, vault: Vault) -> None:
    kept = factories.somchai(session)
    gone = factories.make_member(session, "เบอร์เดียว", line_user_id=None, is_following=False)
    topics.set_muted(session, gone.id, [topics.NEWS], NOW)
    topics.set_per_week(session, gone.id, 1, NOW)
    topics.set_muted(session, kept.id, [topics.OFFERS], NOW)
    session.add(MemberTag(member_id=gone.id, tag="likes_matcha", at=NOW, by="staff:1"))
    session.flush()
    merges.merge(
        session, vault, kept.id, gone.id, now=NOW, real_now=NOW, tz=BANGKOK, staff_id=None, actor="x"
    )  # fmt: skip
    choice = topics.choice_of(session, kept.id)
    assert (choice.muted, choice.per_week) == ({topics.NEWS, topics.OFFERS}, 1)
    assert session.get(MemberTag, (kept.id, "likes_matcha")) is not None


def test_erasure_forgets_what_was_chosen(session: Session, vault: Vault) -> None:
    somchai = factories.somchai(session)
    topics.set_muted(session, somchai.id, [topics.NEWS], NOW)
    erasure.erase(session, vault, somchai, asked_by="member", now=NOW)
    session.expire_all()
    assert session.get(MemberChoice, somchai.id) is None
