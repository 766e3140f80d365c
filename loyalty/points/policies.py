"""How points are earned from which day on."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

from sqlalchemy import bindparam, delete, select
from sqlalchemy.orm import Session

from core.errors import NotFound, Refused
from models.base import table_of
from models.points import EarnPolicy, ExpiryKind
from models.purchases import Purchase

POLICIES = table_of(EarnPolicy)
_NEWEST = (
    select(*POLICIES.c)
    .where(POLICIES.c.valid_from <= bindparam("day"))
    .order_by(POLICIES.c.valid_from.desc())
    .limit(1)
)


def policy_for(session: Session, day: date) -> EarnPolicy:
    """The earn policy in force on a local day; the default one where none was set.

    What is returned is a copy to read from, looked up once in a session.
    """
    known: dict[date, EarnPolicy] = session.info.setdefault("earn_policies", {})
    if day not in known:
        session.flush()  # a policy may have just been added
        row = session.execute(_NEWEST, {"day": day}).first()
        known[day] = EarnPolicy(**row._asdict()) if row else default_policy()
    return known[day]


def set_policy(session: Session, policy: EarnPolicy) -> EarnPolicy:
    """Add a policy for the days from `policy.valid_from` on. Old lots keep theirs."""
    session.add(policy)
    session.flush()  # so that the next look-up in this transaction sees it
    session.info.pop("earn_policies", None)
    return policy


def plan_policy(session: Session, policy: EarnPolicy, today: date) -> EarnPolicy:
    """Let a policy hold from a day on; another plan for that day gives way.

    Never from a day whose bills may have earned and carried by the old one already: a bill of one
    day would be worth two things. Refused `points.policy_too_early`.
    """
    if policy.valid_from < first_day(session, today):
        raise Refused("points.policy_too_early")
    session.execute(delete(EarnPolicy).where(EarnPolicy.valid_from == policy.valid_from))
    return set_policy(session, policy)


def first_day(session: Session, today: date) -> date:
    """The first day from which another policy may hold: tomorrow, or today before the first bill."""
    has_bills = session.scalar(select(Purchase.id).limit(1)) is not None
    return today + timedelta(days=1) if has_bills else today


def cancel_plan(session: Session, policy_id: int, today: date) -> EarnPolicy:
    """Drop a policy that has not begun. One that has stays: lots were made by it."""
    policy = session.get(EarnPolicy, policy_id)
    if policy is None:
        raise NotFound
    if policy.valid_from <= today:
        raise Refused("points.policy_has_begun")
    session.delete(policy)
    session.flush()  # so that the next look-up in this transaction sees it
    session.info.pop("earn_policies", None)
    return policy


def policies(session: Session) -> Sequence[EarnPolicy]:
    """Every policy there was, is and will be, newest first."""
    return session.scalars(select(EarnPolicy).order_by(EarnPolicy.valid_from.desc())).all()


def default_policy() -> EarnPolicy:
    """25 baht a point with carry, usable at once, good to the end of the month a year later."""
    return EarnPolicy(
        valid_from=date.min,
        satang_per_point=2500,
        has_carry=True,
        pending_days=0,
        expiry_kind=ExpiryKind.END_OF_MONTH,
        expiry_months=12,
    )
