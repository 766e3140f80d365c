"""`Not me`: a member says that what was done with their points or coupons was not their doing.

Using points and coupons stops at once, for what is there is theirs; earning goes on. Somebody at
the shop looks into it and lets it go on again.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from core.errors import Refused
from loyalty import activities, alarms, points
from models.activities import Activity
from models.base import table_of
from models.members import MemberTotals

TOTALS = table_of(MemberTotals)
#: What of theirs a member can disown, and for how long.
DISPUTABLE = ("vouchers.redeemed", "points.adjusted")
TO_SAY_SO = timedelta(days=7)
KIND = "members.disputed"
NOT_ME = "not_me"


def dispute(session: Session, member_id: int, activity_id: int, now: datetime) -> None:
    """Freeze what the member has and tell the shop; said twice is said once.

    Refused `members.not_disputable`: nothing of theirs, of another kind, or long ago. Locks the
    member.
    """
    points.lock_member(session, member_id)
    act = session.get(Activity, activity_id)
    is_theirs = act is not None and act.member_id == member_id and act.kind in DISPUTABLE
    if act is None or not is_theirs or act.at < now - TO_SAY_SO:
        raise Refused("members.not_disputable")
    session.execute(
        update(TOTALS)
        .where(TOTALS.c.member_id == member_id, TOTALS.c.frozen_at.is_(None))
        .values(frozen_at=now, frozen_why=NOT_ME)
    )
    points.forget_totals(session, member_id)
    facts = {"activity_id": act.id, "what": act.kind}
    activities.record(session, member_id, KIND, now, facts, key=f"{KIND}:{act.id}")
    about = {"member_id": member_id, "disputed": act.kind}
    alarms.raise_alarm(session, _key(member_id), KIND, about, now)


def lift(session: Session, member_id: int, now: datetime) -> None:
    """Let the member use what they have again, whoever had stopped it.

    Refused: `points.not_frozen`; `points.still_wrong` while the balance is not what the entries
    say. Locks the member.
    """
    frozen = points.lock_member(session, member_id).frozen_at
    if frozen is None:
        raise Refused("points.not_frozen", status=409)
    if points.find_wrong(session, [member_id]):
        raise Refused("points.still_wrong", status=409)
    points.unfreeze(session, member_id)
    activities.record(session, member_id, "members.unfrozen", now)
    alarms.end_alarm(session, _key(member_id), now)


def drop(session: Session, member_id: int, now: datetime) -> None:
    """Somebody leaves: nobody is left to have what they said looked into. Locked by the caller."""
    why = select(TOTALS.c.frozen_why).where(TOTALS.c.member_id == member_id)
    if session.scalar(why) == NOT_ME:
        points.unfreeze(session, member_id)
    alarms.end_alarm(session, _key(member_id), now)


def refuse_if_disputed(session: Session, member_id: int) -> None:
    """Coupons of a member who said "not me" are not used meanwhile: `coupons.frozen`."""
    why = select(TOTALS.c.frozen_why).where(TOTALS.c.member_id == member_id)
    if session.scalar(why) == NOT_ME:
        raise Refused("coupons.frozen", status=409)


def _key(member_id: int) -> str:
    return f"{KIND}:{member_id}"
