"""Programmes as the owner makes them: checked, and every change a new version (T1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from core.errors import Invalid, Refused
from loyalty.stamps.cards import branches_of
from models.base import table_of
from models.stamps import (
    CardExpiry,
    CardState,
    StampCard,
    StampPrize,
    StampProgram,
    StampRule,
)

PROGRAMS = table_of(StampProgram)
SMALLEST, LARGEST = 1, 50
LONGEST_DAYS = 3650


@dataclass(frozen=True)
class Plan:
    """Everything that makes a version of a programme. `prizes` are (at stamp, coupon id)."""

    name_th: str
    name_en: str
    size: int
    prizes: tuple[tuple[int, int], ...]
    rule: StampRule = StampRule.PER_VISIT
    unit_satang: int = 0
    sku: str | None = None
    daily_limit: int | None = None
    expiry: CardExpiry = CardExpiry.NEVER
    expiry_days: int | None = None
    branches: tuple[str, ...] = ()
    starts_on: date | None = None
    ends_on: date | None = None
    design: str = "classic"

    def check(self) -> None:
        """Refuse what could never work: Invalid with the field, Refused `stamps.…` with why."""
        if not SMALLEST <= self.size <= LARGEST:
            raise Invalid("stamps.bad_size", least=SMALLEST, most=LARGEST)
        places = [at_stamp for at_stamp, _ in self.prizes]
        if len(set(places)) != len(places) or any(not 0 < at <= self.size for at in places):
            raise Invalid("stamps.bad_prizes", size=self.size)
        if self.size not in places:
            raise Invalid("stamps.no_goal", size=self.size)
        if self.rule == StampRule.PER_AMOUNT and self.unit_satang <= 0:
            raise Invalid("stamps.needs_amount")
        if self.rule == StampRule.PER_ITEM and not self.sku:
            raise Invalid("stamps.needs_sku")
        if self.expiry != CardExpiry.NEVER and not self.expiry_days:
            raise Invalid("stamps.needs_days")
        if self.expiry_days is not None and not 0 < self.expiry_days <= LONGEST_DAYS:
            raise Invalid("stamps.needs_days")
        if self.daily_limit is not None and self.daily_limit < 1:
            raise Invalid("stamps.bad_limit")
        if self.starts_on and self.ends_on and self.ends_on < self.starts_on:
            raise Invalid("coupons.ends_before_start")


def plan_of(session: Session, program: StampProgram) -> Plan:
    """What a version says, for a form and for comparing."""
    prizes = session.execute(
        select(StampPrize.at_stamp, StampPrize.coupon_id)
        .where(StampPrize.program_id == program.id)
        .order_by(StampPrize.at_stamp)
    )
    return Plan(
        name_th=program.name_th,
        name_en=program.name_en,
        size=program.size,
        prizes=tuple((row.at_stamp, row.coupon_id) for row in prizes),
        rule=program.rule,
        unit_satang=program.unit_satang,
        sku=program.sku,
        daily_limit=program.daily_limit,
        expiry=program.expiry,
        expiry_days=program.expiry_days,
        branches=tuple(branches_of(program)),
        starts_on=program.starts_on,
        ends_on=program.ends_on,
        design=program.design,
    )


def create_program(session: Session, key: str, plan: Plan) -> StampProgram:
    """Make a programme. Refused `stamps.key_taken`."""
    plan.check()
    if session.scalar(select(StampProgram.id).where(StampProgram.key == key)) is not None:
        raise Refused("stamps.key_taken")
    return _write(session, key, 1, plan)


def save_program(session: Session, program: StampProgram, plan: Plan) -> StampProgram:
    """Save a changed programme as its next version; cards under way stay under theirs.

    Nothing changed, nothing made. Refused `stamps.changed_meanwhile` when `program` is the current
    version no more: somebody else saved first.
    """
    plan.check()
    if plan_of(session, program) == plan:
        return program
    session.flush()  # Core statements must see what the caller has added so far
    replaced: Any = session.connection().execute(
        update(PROGRAMS)
        .where(PROGRAMS.c.id == program.id, PROGRAMS.c.is_current)
        .values(is_current=False)
    )
    if replaced.rowcount != 1:
        raise Refused("stamps.changed_meanwhile", status=409)
    session.expire(program)
    return _write(session, program.key, program.version + 1, plan, is_on=program.is_on)


def switch(session: Session, program: StampProgram, *, is_on: bool) -> None:
    """Start or stop a programme; stopped, it gives no stamps and shows no card."""
    program.is_on = is_on
    session.flush()


def every_current(session: Session) -> Sequence[StampProgram]:
    """Every programme in its current version, on or off, oldest first."""
    current = select(StampProgram).where(StampProgram.is_current)
    return session.scalars(current.order_by(StampProgram.id)).all()


def versions_of(session: Session, key: str) -> Sequence[StampProgram]:
    """All versions of a programme, newest first."""
    versions = select(StampProgram).where(StampProgram.key == key)
    return session.scalars(versions.order_by(StampProgram.version.desc())).all()


def cards_by_version(session: Session, key: str) -> dict[int, dict[str, int]]:
    """How many cards of each version are open, full and expired, by the version's id."""
    rows = session.execute(
        select(StampCard.program_id, StampCard.state, func.count())
        .where(
            StampCard.program_key == key,
            (StampCard.filled > 0) | (StampCard.state != CardState.OPEN),
        )
        .group_by(StampCard.program_id, StampCard.state)
    )
    counts: dict[int, dict[str, int]] = {}
    for program_id, state, count in rows:
        counts.setdefault(program_id, {})[state.value] = count
    return counts


def _write(
    session: Session, key: str, version: int, plan: Plan, *, is_on: bool = True
) -> StampProgram:
    program = StampProgram(
        key=key,
        version=version,
        is_current=True,
        is_on=is_on,
        name_th=plan.name_th,
        name_en=plan.name_en,
        size=plan.size,
        rule=plan.rule,
        unit_satang=plan.unit_satang,
        sku=plan.sku,
        daily_limit=plan.daily_limit,
        expiry=plan.expiry,
        expiry_days=plan.expiry_days,
        branches=" ".join(plan.branches) or None,
        starts_on=plan.starts_on,
        ends_on=plan.ends_on,
        design=plan.design,
    )
    session.add(program)
    session.flush()  # prizes need its id
    session.add_all(
        StampPrize(program_id=program.id, at_stamp=at_stamp, coupon_id=coupon_id)
        for at_stamp, coupon_id in plan.prizes
    )
    session.flush()  # a version is whole or not there
    return program
