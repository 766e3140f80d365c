"""How points are earned from which day on."""

from __future__ import annotations

from datetime import date

from sqlalchemy import (
    select,
)
from sqlalchemy.orm import Session

from models.points import EarnPolicy, ExpiryKind


def policy_for(session: Session, day: date) -> EarnPolicy:
    """The earn policy in force on a local day; the default one where none was set."""
    known: dict[date, EarnPolicy] = session.info.setdefault("earn_policies", {})
    if day not in known:
        newest = select(EarnPolicy).where(EarnPolicy.valid_from <= day)
        policy = session.scalars(newest.order_by(EarnPolicy.valid_from.desc()).limit(1)).first()
        known[day] = policy or default_policy()
    return known[day]


def set_policy(session: Session, policy: EarnPolicy) -> EarnPolicy:
    """Add a policy for the days from `policy.valid_from` on. Old lots keep theirs."""
    session.add(policy)
    session.flush()  # so that the next look-up in this transaction sees it
    session.info.pop("earn_policies", None)
    return policy


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
