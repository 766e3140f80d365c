"""After a restore: nothing leaves until somebody has said what becomes of what was under way.

A restored database has forgotten what was sent since it was backed up. Sending again what a member
already has is worse than not sending it, so the restore holds every sender, and a person decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, func, inspect, or_, select, update
from sqlalchemy.orm import Session

from bot.gateway import Line
from core.errors import OutsideFault, Refused
from engagement import campaigns, delivery, outbox
from loyalty import audit, shop
from models.campaigns import Campaign
from models.journeys import Enrolment, EnrolmentState, Intent, IntentState
from models.outbox import Call, CallState, Message, MessageState

HELD = "held"
DROPPED = "delivery.restored"
_OWED = (MessageState.WAITING, MessageState.CALLING, MessageState.PARKED)
_OPEN = (CallState.WAITING, CallState.SENDING, CallState.PARKED)


@dataclass(frozen=True)
class Pending:
    """What the backup says is still owed; some of it may have arrived meanwhile."""

    taken_at: datetime
    restored_at: datetime
    messages: int
    #: Wishes that would have become messages before the restore.
    intents: int


def hold(session: Session, taken_at: datetime, now: datetime) -> None:
    """Remember what was restored; stop every sender before its next call, and every campaign.

    A campaign would write anew to everybody whom the backup believes unwritten to, and those
    messages would be newer than what `release` drops.
    """
    moments = {"taken_at": taken_at.isoformat(), "restored_at": now.isoformat()}
    shop.set(session, "backups.restored", moments, now)
    outbox.pause_sending(session, HELD, now)
    if inspect(session.connection()).has_table(Campaign.__tablename__):  # older backups have none
        campaigns.pause_restored(session, now)
    audit.record(session, "cli", "backups.restored", moments, now)


def pending(session: Session) -> Pending | None:
    """What waits for a decision; None where nothing was restored, or it was decided."""
    moments = shop.get(session, "backups.restored")
    if not moments:
        return None
    taken_at = datetime.fromisoformat(moments["taken_at"])
    restored_at = datetime.fromisoformat(moments["restored_at"])
    messages = session.scalar(select(func.count()).select_from(Message).where(*_owed(restored_at)))
    intents = session.scalar(select(func.count()).select_from(Intent).where(*_wished(restored_at)))
    return Pending(taken_at, restored_at, int(messages or 0), int(intents or 0))


def is_undecided(session: Session) -> bool:
    """Whether journeys stand still: what they would say now may have been said since the backup,
    and would be newer than what `release` drops."""
    return shop.get(session, "backups.restored") is not None


def refuse_while_elsewhere(line: Line, public_url: str) -> None:
    """Only the installation that LINE sends its events to may send (FS11): where a backup was
    brought back on another machine, the old one may still be at work.

    One call to LINE. Refused: `backups.elsewhere`, `backups.line_away`.
    """
    try:
        endpoint = line.webhook()
    except OutsideFault as error:
        raise Refused("backups.line_away", status=502) from error
    here = f"{public_url}/callback"
    if endpoint is not None and endpoint.url != here:
        raise Refused("backups.elsewhere", elsewhere=endpoint.url, here=here)


def release(
    session: Session, *, is_sent: bool, actor: str, now: datetime, tz: ZoneInfo
) -> Pending | None:
    """Let sending go on; what was pending is sent, or dropped for good. Returns what it was.

    Messages keep their retry keys: what LINE has taken within a day is not shown twice.
    """
    found = pending(session)
    if found is None:
        return None
    if not is_sent:
        _drop(session, found.restored_at, now)
    shop.set(session, "backups.restored", None, now)
    delivery.keep_quiet(session, now, tz)
    outbox.resume_sending(session)
    facts = {"messages": found.messages, "intents": found.intents, "sent": is_sent}
    audit.record(session, actor, "backups.released", facts, now)
    return found


def _drop(session: Session, restored_at: datetime, now: datetime) -> None:
    calls = select(Message.call_id).where(*_owed(restored_at), Message.call_id.is_not(None))
    waits_for_it = Enrolment.id.in_(select(Intent.enrolment_id).where(*_wished(restored_at)))
    session.execute(
        update(Enrolment)
        .where(
            Enrolment.state == EnrolmentState.ACTIVE,
            or_(Enrolment.due_at <= restored_at, waits_for_it),
        )
        .values(
            state=EnrolmentState.EXITED, ended_at=now, due_at=None, why_ended=DROPPED,
        )
    )  # fmt: skip
    session.execute(
        update(Call)
        .where(Call.id.in_(calls), Call.state.in_(_OPEN))
        .values(state=CallState.DROPPED, finished_at=now, lease_until=None)
    )
    session.execute(
        update(Message)
        .where(*_owed(restored_at))
        .values(state=MessageState.SKIPPED, reason=DROPPED, finished_at=now)
    )
    session.execute(
        update(Intent)
        .where(*_wished(restored_at))
        .values(state=IntentState.SKIPPED, reason=DROPPED, decided_at=now)
    )


def _owed(restored_at: datetime) -> tuple[ColumnElement[bool], ...]:
    return Message.state.in_(_OWED), Message.created_at <= restored_at


def _wished(restored_at: datetime) -> tuple[ColumnElement[bool], ...]:
    """Intents whose hour came between the backup and the restore: they may have been sent."""
    return Intent.state == IntentState.WAITING, Intent.deadline <= restored_at
