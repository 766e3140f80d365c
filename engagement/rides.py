"""Free first (M5): a lifecycle message rides the free reply of an event in its window."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.runtime import Runtime
from engagement import delivery, journeys, outbox, restoring
from models.conversations import Conversation, ConversationState
from models.journeys import Intent, IntentState
from models.members import JoinForm, Member, MemberState

MAX_BUBBLES = 5
CANDIDATES = 5
#: Friends too: who has not finished joining hears of that, and of nothing else.
HEARD = (MemberState.MEMBER, MemberState.FRIEND)


def ride(
    session: Session,
    runtime: Runtime,
    member: Member,
    answer: list[dict[str, Any]],
    now: datetime,
) -> tuple[list[dict[str, Any]], list[int]]:
    """What may be added to this answer: (messages, ids of their `messages` rows).

    At most one intent rides, the dearest class first, then the one whose deadline is nearest.
    Never during joining or an open staff chat; the caller never asks after an error, nor where
    nothing is answered (but for a switched tab). The rows are claimed here, in the transaction that
    writes the reply; the caller ties them to it.
    """
    if len(answer) >= MAX_BUBBLES or member.state not in HEARD:
        return [], []
    intents = session.scalars(
        select(Intent)
        .where(
            Intent.member_id == member.id,
            Intent.state == IntentState.WAITING,
            Intent.window_from <= now,
            Intent.not_after >= now,
        )
        .order_by(Intent.klass.desc(), Intent.deadline)
        .limit(CANDIDATES)
    ).all()
    if not intents or _is_busy(session, member.id) or restoring.is_undecided(session):
        return [], []
    for intent in intents:
        decision = delivery.decide(
            session,
            runtime.vault,
            member,
            intent.klass,
            now=now,
            tz=runtime.clock.tz,
            not_after=intent.not_after,
            is_ride=True,
            topic=journeys.topic_of(session, intent),
        )
        if not decision.is_go:
            continue
        why = journeys.why_pointless(session, intent, now, runtime.clock.tz)
        if why is None:
            claimed = _claim(session, runtime, intent, member, now)
            if claimed is not None:
                return claimed
            why = journeys.ASKED_RECENTLY
        journeys.settle(session, intent, IntentState.SKIPPED, now, why)
    return [], []


def _claim(
    session: Session, runtime: Runtime, intent: Intent, member: Member, now: datetime
) -> tuple[list[dict[str, Any]], list[int]] | None:
    """Its messages and their row; None when it has nothing to say after all."""
    content = journeys.compose(session, runtime, intent, member, now)
    if not content:
        return None
    message = outbox.queue_ride(
        session,
        key=f"intent:{intent.id}",
        member=member,
        klass=intent.klass,
        kind=journeys.key_of(session, intent),
        messages=content,
        now=now,
        intent_id=intent.id,
        source=journeys.source_of(intent),
    )
    if message is None:
        return [], []
    journeys.settle(session, intent, IntentState.TURNED, now)
    return content, [message.id]


def _is_busy(session: Session, member_id: int) -> bool:
    joining = session.scalar(
        select(JoinForm.member_id).where(
            JoinForm.member_id == member_id, JoinForm.is_paused.is_(False)
        )
    )
    if joining is not None:
        return True
    chatting = session.scalar(
        select(Conversation.id).where(
            Conversation.member_id == member_id, Conversation.state == ConversationState.OPEN
        )
    )
    return chatting is not None
