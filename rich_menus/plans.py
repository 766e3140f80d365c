"""Menus published at a moment, and perhaps taken back at another.

A plan is carried out once: its state changes in the transaction that chooses the version, and LINE
is brought in line after it, as often as that takes. Late policy: a plan that nobody could carry out
in time is carried out as soon as somebody can, unless its end is over; then it is missed.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import bindparam, exists, func, select, update
from sqlalchemy.orm import Session

from core.errors import Invalid, Refused
from models.base import UtcDateTime
from models.menus import Menu, MenuPlan, MenuVersion, PlanState
from rich_menus import publish, upkeep

FARTHEST = timedelta(days=366)


def open_plan(session: Session, menu_id: int) -> MenuPlan | None:
    """The plan of a menu that waits or is showing."""
    return session.scalar(
        select(MenuPlan).where(MenuPlan.menu_id == menu_id, MenuPlan.state.in_(publish.OPEN_PLANS))
    )


def make(
    session: Session,
    menu: Menu,
    version: MenuVersion,
    *,
    publish_at: datetime,
    ends_at: datetime | None,
    made_by: str,
    now: datetime,
) -> MenuPlan:
    """Plan a version. Refuses a moment that is over or a year away, and a second open plan."""
    if not now < publish_at <= now + FARTHEST:
        raise Invalid("menus.plan_not_ahead")
    if ends_at is not None and not publish_at < ends_at <= publish_at + FARTHEST:
        raise Invalid("menus.plan_ends_early")
    if ends_at is not None and menu.published_version is None:
        raise Invalid("menus.plan_nothing_before")
    if open_plan(session, menu.id) is not None:
        raise Refused("menus.plan_open")
    publish.check_count(session, menu, publish.definition_of(version))
    plan = MenuPlan(
        menu_id=menu.id,
        version=version.version,
        publish_at=publish_at,
        ends_at=ends_at,
        made_by=made_by,
        made_at=now,
    )
    session.add(plan)
    return plan


def cancel(session: Session, menu: Menu, real_now: datetime) -> MenuPlan | None:
    """Call a menu's plan off; one that is showing goes back to what was shown before."""
    plan = open_plan(session, menu.id)
    if plan is None:
        return None
    if plan.state == PlanState.SHOWING:
        _go_back(session, menu, plan, real_now)
    plan.state = PlanState.CANCELLED
    return plan


def is_any_due_at(now: datetime) -> Any:
    """Whether a plan is to be begun or ended by then, in SQL."""
    begins = (MenuPlan.state == PlanState.WAITING) & (MenuPlan.publish_at <= now)
    ends = (MenuPlan.state == PlanState.SHOWING) & (MenuPlan.ends_at <= now)
    return exists().where(begins | ends)


_AFTER: Any = bindparam("after", type_=UtcDateTime())
#: The next moments after one `after` at which a plan begins or ends, for a clock that is moved by
#: hand; whoever looks for more looks for these with it.
MOMENTS = (
    select(func.min(MenuPlan.publish_at))
    .where(MenuPlan.state == PlanState.WAITING, MenuPlan.publish_at > _AFTER)
    .scalar_subquery(),
    select(func.min(MenuPlan.ends_at))
    .where(MenuPlan.state.in_(publish.OPEN_PLANS), MenuPlan.ends_at > _AFTER)
    .scalar_subquery(),
)


def carry_out(session: Session, now: datetime, real_now: datetime) -> int:
    """Begin and end what is due, each by a compare-and-set of its own. Returns how many."""
    did = 0
    due = select(MenuPlan).where(
        (MenuPlan.state == PlanState.WAITING) & (MenuPlan.publish_at <= now)
        | (MenuPlan.state == PlanState.SHOWING) & (MenuPlan.ends_at <= now)
    )
    for plan in session.scalars(due.order_by(MenuPlan.publish_at, MenuPlan.id)).all():
        menu = session.get_one(Menu, plan.menu_id, with_for_update=True)
        if plan.state == PlanState.SHOWING:
            if _becomes(session, plan, PlanState.SHOWING, PlanState.DONE):
                _go_back(session, menu, plan, real_now)
                did += 1
            continue
        is_missed = plan.ends_at is not None and plan.ends_at <= now
        is_gone = menu.archived_at is not None
        after = PlanState.SHOWING if plan.ends_at is not None else PlanState.DONE
        after = PlanState.MISSED if is_missed or is_gone else after
        if _becomes(session, plan, PlanState.WAITING, after):
            did += 1
            if after != PlanState.MISSED and not _begin(session, menu, plan, now, real_now):
                plan.state = PlanState.MISSED
    return did


def _becomes(session: Session, plan: MenuPlan, before: PlanState, after: PlanState) -> bool:
    """Whether it was us who moved the plan on: two schedulers may try."""
    return (
        session.execute(
            update(MenuPlan)
            .where(MenuPlan.id == plan.id, MenuPlan.state == before)
            .values(state=after)
            .returning(MenuPlan.id)
        ).scalar()
        is not None
    )


def _begin(session: Session, menu: Menu, plan: MenuPlan, now: datetime, real_now: datetime) -> bool:
    """False where it has become more menus than LINE takes: other plans must not wait for it."""
    before = menu.published_version
    try:
        publish.choose(session, menu, publish.version_of(session, menu.id, plan.version))
    except Refused:
        return False
    plan.before_version, plan.published_at = before, now
    upkeep.ask(session, real_now)
    return True


def _go_back(session: Session, menu: Menu, plan: MenuPlan, real_now: datetime) -> None:
    """What was shown before comes back, unless somebody has published another version since."""
    if plan.before_version is None or menu.published_version != plan.version:
        return
    publish.choose(session, menu, publish.version_of(session, menu.id, plan.before_version))
    upkeep.ask(session, real_now)
