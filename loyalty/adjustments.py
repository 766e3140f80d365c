"""Points given or taken by hand (P8): a reason, a ceiling by role, and a second person above it.

What somebody gives and takes in one local day counts together, so that a large sum in small pieces
is still a large sum. Above the ceiling of their role the adjustment waits until somebody else has
agreed; nobody adjusts, or agrees to, what is their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

import structlog
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.errors import Invalid, NotFound, Refused
from core.text import fit
from loyalty import points, second_person
from models.base import table_of
from models.members import Member
from models.points import Adjustment, AdjustmentState
from models.staff import Role, Staff

log = structlog.get_logger("adjustments")
ADJUSTMENTS = table_of(Adjustment)
#: Who adjusts, and the setting that holds their ceiling in points a day.
CEILINGS = {
    Role.OWNER: "adjustments.owner_ceiling",
    Role.MANAGER: "adjustments.manager_ceiling",
}
#: More than anybody could mean; below what a balance may hold.
MOST = 10_000_000
REASON_LETTERS = 200


def ceiling_of(session: Session, role: Role) -> int:
    """Points that somebody of this role may give or take in a day alone; 0 for nobody's role."""
    return second_person.ceiling(session, CEILINGS, role)


def give(
    session: Session,
    member: Member,
    amount: int,
    *,
    reason: str,
    staff: Staff,
    now: datetime,
    tz: ZoneInfo,
) -> Adjustment:
    """Give points, or take them (`amount` below 0); above the ceiling the row waits.

    Refused: `adjustments.not_allowed`, `adjustments.own_account`, `adjustments.needs_reason`,
    `members.not_joined`, and as `points.adjust` refuses.
    """
    _refuse_unless_may(session, member.id, staff)
    why = fit(reason, REASON_LETTERS, REASON_LETTERS)
    if not why:
        raise Invalid("adjustments.needs_reason")
    if not amount or abs(amount) > MOST:
        raise Invalid("errors.invalid_field", field="points")
    if not member.is_member:
        raise Refused("members.not_joined")
    second_person.lock_giver(session, staff)
    row = Adjustment(
        member_id=member.id, points=amount, reason=why, staff_id=staff.id, at=now,
        state=AdjustmentState.WAITING,
    )  # fmt: skip
    is_within = abs(amount) + given_today(session, staff, now, tz) <= ceiling_of(
        session, staff.role
    )
    session.add(row)
    session.flush()  # its id is the entry's business key
    if is_within:
        row.state = AdjustmentState.DONE
        row.entry_id = _move(session, row, now, tz)
    else:
        log.warning("adjustment_waits", adjustment=row.id, points=amount)
    return row


def given_today(session: Session, staff: Staff, now: datetime, tz: ZoneInfo) -> int:
    """Points that this person has given and taken today without anybody else."""
    alone = select(func.coalesce(func.sum(func.abs(ADJUSTMENTS.c.points)), 0)).where(
        second_person.is_given_alone(ADJUSTMENTS, staff, now, tz),
        ADJUSTMENTS.c.state == AdjustmentState.DONE,
    )
    return int(session.scalar(alone) or 0)


def decide(
    session: Session,
    adjustment_id: int,
    *,
    staff: Staff,
    is_agreed: bool,
    now: datetime,
    tz: ZoneInfo,
) -> Adjustment:
    """A second person agrees or refuses; once.

    Refused: `adjustments.same_person`, `adjustments.already_decided`, `adjustments.own_account`.
    """
    row = session.get(Adjustment, adjustment_id)
    if row is None:
        raise NotFound
    if row.staff_id == staff.id:
        raise Refused("adjustments.same_person", status=403)
    points.lock_member(session, row.member_id)  # first, as a merge does, which hands the row on
    session.refresh(row)
    _refuse_unless_may(session, row.member_id, staff)
    second_person.take_decision(
        session, ADJUSTMENTS, adjustment_id, staff=staff, waiting=AdjustmentState.WAITING,
        values={"state": AdjustmentState.DONE if is_agreed else AdjustmentState.REFUSED},
        now=now, sabotage="adjustments.once",
    )  # fmt: skip
    session.refresh(row)
    if is_agreed:
        member = session.get_one(Member, row.member_id)
        if not member.is_member:
            raise Refused("members.not_joined")
        row.entry_id = _move(session, row, now, tz)
    return row


def _move(session: Session, row: Adjustment, now: datetime, tz: ZoneInfo) -> int | None:
    moved = points.adjust(
        session,
        row.member_id,
        row.points,
        reason=row.reason,
        staff_id=row.staff_id,
        source_id=f"adjustment:{row.id}",
        now=now,
        tz=tz,
    )
    return moved.entry_id


def _refuse_unless_may(session: Session, member_id: int, staff: Staff) -> None:
    if staff.role not in CEILINGS:
        raise Refused("adjustments.not_allowed", status=403)
    if second_person.is_own_account(session, member_id, staff):
        raise Refused("adjustments.own_account", status=403)


def recent_of(session: Session, member_id: int, limit: int = 10) -> Sequence[Adjustment]:
    """A member's last adjustments, newest first."""
    mine = select(Adjustment).where(Adjustment.member_id == member_id)
    return session.scalars(mine.order_by(Adjustment.id.desc()).limit(limit)).all()
