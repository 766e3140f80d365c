"""Who sees which menu: rules over member rows, links kept in step with them at LINE.

A fact about a member marks the link due in the same transaction; the worker then tells LINE,
one person at once, many in bulk calls. The link row is the wish and what LINE last took.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from bot.gateway import Line
from core.db import insert_into
from core.errors import OutsideFault
from core.runtime import Runtime
from loyalty import tiers
from models.activities import Activity
from models.members import Member, MemberState
from models.menus import Menu, MenuLink, MenuPublication, MenuVersion, PublicationState
from models.tiers import Tier

LEASE = timedelta(seconds=60)
RETRY_SECONDS = (5, 30, 120, 600, 3600)
NOT_PUBLISHED_YET = timedelta(seconds=30)
BATCH = 500


def wanted_key(menus: Sequence[Menu], member: Member, tier: Tier | None = None) -> str:
    """`<menu>:<locale>` for this member: one set by hand first, then their tier's own, then the
    first rule that fits."""
    own = tier.benefits.get("menu") if tier is not None else None
    is_free = member.menu_override is None and member.state == MemberState.MEMBER
    if own and is_free and any(menu.key == own for menu in menus):
        return f"{own}:{member.locale}"
    for menu in sorted(menus, key=lambda one: one.priority):
        rule = menu.audience
        if "override" in rule:
            fits = member.menu_override is not None and rule["override"] == member.menu_override
            fits = fits and member.state == MemberState.MEMBER
        else:
            fits = rule.get("state") == member.state.value
        if fits:
            return f"{menu.key}:{member.locale}"
    return f"{next((menu.key for menu in menus if menu.is_default), '')}:{member.locale}"


def react(runtime: Runtime, session: Session, activities: list[Activity], now: datetime) -> None:
    """The `Reaction` of menus: what happens to a person may change what they should see."""
    del now  # links to LINE are made in real time
    touched = {
        one.member_id: one.kind
        for one in activities
        if one.kind.startswith("members.") or one.kind == "tiers.changed"
    }
    if not touched:
        return
    menus = session.scalars(select(Menu)).all()
    for member_id, kind in touched.items():
        member = session.get_one(Member, member_id)
        want(
            session,
            menus,
            member,
            runtime.clock.real_now(),
            is_forced=kind == "members.followed",  # a block or re-follow drops LINE's own link
        )


def want(
    session: Session,
    menus: Sequence[Menu],
    member: Member,
    real_now: datetime,
    *,
    is_forced: bool = False,
) -> None:
    """Note what this person should see; due only when that is new (or forced)."""
    if member.line_user_id is None or not menus:
        return
    key = wanted_key(menus, member, tiers.tier_of(session, member.id, real_now))
    statement = insert_into(session, MenuLink).values(
        member_id=member.id, wanted_key=key, is_due=True, next_try_at=real_now, attempts=0
    )
    changes = {"wanted_key": key, "is_due": True, "next_try_at": real_now, "attempts": 0}
    where = None if is_forced else MenuLink.wanted_key != key
    session.execute(
        statement.on_conflict_do_update(index_elements=["member_id"], set_=changes, where=where)
    )


def link_due(runtime: Runtime, line: Line, limit: int = BATCH) -> int:
    """Tell LINE about due links: claim, commit, call, then record. Returns how many were tried."""
    claimed = _claim(runtime, limit)
    groups: dict[str | None, list[tuple[int, str]]] = defaultdict(list)
    for member_id, user_id, menu_id in claimed:
        groups[menu_id].append((member_id, user_id))
    for menu_id, people in groups.items():
        is_done = _tell(line, menu_id, [user for _, user in people])
        _record(
            runtime,
            [one for one, _ in people],
            menu_id,
            is_done=is_done,
            is_confirmed=len(people) == 1,
        )
    return len(claimed)


def _claim(runtime: Runtime, limit: int) -> list[tuple[int, str, str | None]]:
    """Due (member id, LINE user id, LINE menu id or None for the default), leased for a minute."""
    real = runtime.clock.real_now()
    with runtime.database.write() as session:
        live = live_menus(session)
        default = next(iter(session.scalars(select(Menu.key).where(Menu.is_default))), None)
        rows = session.execute(
            select(MenuLink, Member.line_user_id)
            .join(Member, Member.id == MenuLink.member_id)
            .where(MenuLink.is_due.is_(True), MenuLink.next_try_at <= real)
            .order_by(MenuLink.next_try_at)
            .limit(limit)
            .with_for_update(skip_locked=True, of=MenuLink)
        ).all()
        claimed: list[tuple[int, str, str | None]] = []
        for link, user_id in rows:
            is_default = link.wanted_key == f"{default}:{runtime.settings.shop_locale}"
            menu_id = live.get(link.wanted_key)
            if user_id is None or (is_default and link.linked_line_menu_id is None):
                link.is_due = False  # erased, or already sees the default
            elif menu_id is None and not is_default:
                link.next_try_at = real + NOT_PUBLISHED_YET
            else:
                link.next_try_at = real + LEASE
                claimed.append((link.member_id, user_id, None if is_default else menu_id))
    return claimed


def _tell(line: Line, menu_id: str | None, users: list[str]) -> bool:
    try:
        if menu_id is None:
            for user in users:
                line.unlink_menu(user)
        elif len(users) == 1:
            line.link_menu(users[0], menu_id)
        else:
            line.link_menus(users, menu_id)
    except OutsideFault:
        return False
    return True


def _record(
    runtime: Runtime,
    member_ids: list[int],
    menu_id: str | None,
    *,
    is_done: bool,
    is_confirmed: bool,
) -> None:
    real = runtime.clock.real_now()
    with runtime.database.write() as session:
        links = session.scalars(select(MenuLink).where(MenuLink.member_id.in_(member_ids)))
        for link in links:
            if is_done:
                link.linked_line_menu_id, link.is_due, link.attempts = menu_id, False, 0
                link.confirmed_at = real if is_confirmed else None
            else:
                wait = RETRY_SECONDS[min(link.attempts, len(RETRY_SECONDS) - 1)]
                link.attempts += 1
                link.next_try_at = real + timedelta(seconds=wait)


def live_menus(session: Session) -> dict[str, str]:
    """`<menu>:<locale>` -> LINE's id of the first tab that is live."""
    rows = session.execute(
        select(Menu.key, MenuPublication, MenuVersion.definition)
        .join(Menu, Menu.id == MenuPublication.menu_id)
        .join(MenuVersion, MenuVersion.id == MenuPublication.version_id)
        .where(MenuPublication.state == PublicationState.LIVE)
    )
    return {
        f"{key}:{row.locale}": row.line_menu_id
        for key, row, definition in rows
        if row.line_menu_id and row.tab == definition["tabs"][0]["key"]
    }


def relink(session: Session, menu_key: str, real_now: datetime) -> None:
    """Everybody of one menu is to be linked again: a new version went live."""
    for link in session.scalars(
        select(MenuLink).where(MenuLink.wanted_key.startswith(f"{menu_key}:", autoescape=True))
    ):
        link.is_due, link.next_try_at, link.attempts = True, real_now, 0


def repair(session: Session, now: datetime, *, after_id: int, limit: int) -> tuple[int, int]:
    """The nightly repair: unconfirmed, changed or stale links become due again.

    Returns (links looked at, last member id).
    """
    menus = session.scalars(select(Menu)).all()
    live = set(live_menus(session).values())
    rows = session.execute(
        select(MenuLink, Member)
        .join(Member, Member.id == MenuLink.member_id)
        .where(MenuLink.member_id > after_id)
        .order_by(MenuLink.member_id)
        .limit(limit)
    ).all()
    standing = tiers.tiers_of(session, [member.id for _, member in rows])
    for link, member in rows:
        key = wanted_key(menus, member, standing.get(member.id))
        is_stale = link.linked_line_menu_id is not None and link.linked_line_menu_id not in live
        is_unconfirmed = link.linked_line_menu_id is not None and link.confirmed_at is None
        if key != link.wanted_key or is_stale or is_unconfirmed:
            link.wanted_key, link.is_due, link.next_try_at, link.attempts = key, True, now, 0
    return len(rows), rows[-1][0].member_id if rows else after_id
