"""Who is linked to which menu at LINE, kept in step with the rules of `audiences.py`.

A fact about a member marks the link due in the same transaction; the worker then tells LINE,
one person at once, many in bulk calls. The link row is the wish and what LINE last took. Changed
rules make a sweep go over everybody, in ranges.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, or_, select, update
from sqlalchemy.orm import Session
from sqlalchemy.sql.expression import ColumnElement

from bot.gateway import Line
from core.db import insert_into
from core.errors import OutsideFault
from core.runtime import Runtime
from models.activities import Activity
from models.members import Member
from models.menus import (
    Menu,
    MenuLink,
    MenuPublication,
    MenuUpkeep,
    MenuVersion,
    PublicationState,
)
from rich_menus import audiences
from rich_menus.definitions import SHOWS_STAMPS

LEASE = timedelta(seconds=60)
RETRY_SECONDS = (5, 30, 120, 600, 3600)
#: A person who left is not kept for longer than a week of tries for their menu's sake.
LEAVING_TRIES = 170
NOT_PUBLISHED_YET = timedelta(seconds=30)
BATCH = 500
SWEEP_ROWS = 2000
#: How many confirmed links the night asks LINE about.
SAMPLE = 1000


def react(runtime: Runtime, session: Session, activities: list[Activity], now: datetime) -> None:
    """The `Reaction` of menus: what happens to a person may change what they should see."""
    del now  # links to LINE are made in real time
    people = [one for one in activities if one.kind.startswith("members.")]
    others = [one for one in activities if one.kind.startswith(("tiers.", "stages.", "stamps."))]
    if not people and not others:
        return
    seen = audiences.sight(session)
    touched = {one.member_id for one in people}
    touched |= {one.member_id for one in others if _may_move(seen, one.kind)}
    real_now = runtime.clock.real_now()
    # A block or re-follow drops LINE's own link.
    forced = {one.member_id for one in people if one.kind == "members.followed"}
    want(session, seen, touched - forced, real_now)
    want(session, seen, forced, real_now, is_forced=True)
    left = [one.member_id for one in people if one.kind == "members.left"]
    if left:
        session.execute(
            update(MenuLink)
            .where(MenuLink.member_id.in_(left), MenuLink.leaving_user_id.is_not(None))
            .values(next_try_at=real_now)
        )


def _may_move(seen: audiences.Sight, kind: str) -> bool:
    """Whether any menu looks at what this fact is about."""
    if kind.startswith("tiers."):
        return True  # a tier may have a menu of its own
    if kind.startswith("stages."):
        return seen.asks("stages", "levels")
    return any((one.living or "").startswith(SHOWS_STAMPS) for one in seen.offers)


def want(
    session: Session,
    seen: audiences.Sight,
    member_ids: Iterable[int],
    real_now: datetime,
    *,
    is_forced: bool = False,
) -> int:
    """Note what these people should see; due only where that is new (or forced). Returns how many."""
    ids = sorted(member_ids)
    changed = 0
    for start in range(0, len(ids), SWEEP_ROWS):
        some = Member.id.in_(ids[start : start + SWEEP_ROWS])
        changed += len(_note(session, seen, some, real_now, SWEEP_ROWS, is_forced=is_forced)[1])
    return changed


def _note(
    session: Session,
    seen: audiences.Sight,
    among: ColumnElement[bool],
    real_now: datetime,
    limit: int,
    *,
    is_forced: bool = False,
) -> tuple[list[int], list[int]]:
    """Compare wish and row of these members: (ids looked at, ids made due)."""
    if not seen.offers:
        return [], []
    session.flush()  # what has just happened to them must be there before a Core statement runs
    rows = session.execute(
        select(Member.id, audiences.link_of(seen).label("key"), MenuLink.wanted_key)
        .outerjoin(MenuLink, MenuLink.member_id == Member.id)
        .where(Member.line_user_id.is_not(None), among)
        .order_by(Member.id)
        .limit(limit)
    ).all()
    due = [(one.id, one.key) for one in rows if is_forced or one.key != one.wanted_key]
    for start in range(0, len(due), BATCH):
        statement = insert_into(session, MenuLink).values(
            [
                {
                    "member_id": member_id,
                    "wanted_key": key,
                    "is_due": True,
                    "is_check": False,
                    "next_try_at": real_now,
                    "attempts": 0,
                }
                for member_id, key in due[start : start + BATCH]
            ]
        )
        names = ("wanted_key", "is_due", "is_check", "next_try_at", "attempts")
        session.execute(
            statement.on_conflict_do_update(
                index_elements=["member_id"],
                set_={name: statement.excluded[name] for name in names},
            )
        )
    return [one.id for one in rows], [member_id for member_id, _ in due]


# --- Everybody again ----------------------------------------------------------------------------
def ask_sweep(session: Session) -> None:
    """Have everybody looked at again, in ranges: rules, or what is published, have changed."""
    statement = insert_into(session, MenuUpkeep).values(id=1, attempts=0, sweep_after_id=0)
    session.execute(
        statement.on_conflict_do_update(index_elements=["id"], set_={"sweep_after_id": 0})
    )


def sweep_step(session: Session, real_now: datetime, limit: int = SWEEP_ROWS) -> int:
    """One range of a sweep that was asked for. Returns how many people were looked at."""
    upkeep = session.get(MenuUpkeep, 1, with_for_update=True)
    if upkeep is None or upkeep.sweep_after_id is None:
        return 0
    after = Member.id > upkeep.sweep_after_id
    looked, _ = _note(session, audiences.sight(session), after, real_now, limit)
    _link_again(session, looked, real_now, MenuLink.linked_line_menu_id.not_in(_live_ids(session)))
    upkeep.sweep_after_id = looked[-1] if looked else None
    return len(looked)


# --- Telling LINE -------------------------------------------------------------------------------
@dataclass(frozen=True)
class Claim:
    """One link to be made, taken away, or asked about."""

    member_id: int
    user_id: str
    #: None for the default, which nobody is linked to.
    menu_id: str | None
    #: Until when it is ours; another moment in the row says that it was wished anew meanwhile.
    until: datetime
    #: Any of these is right: a tap on a tab links the person to that one.
    right: frozenset[str] = frozenset()
    is_check: bool = False
    is_leaving: bool = False


def link_due(runtime: Runtime, line: Line, limit: int = BATCH) -> int:
    """Tell LINE about due links: claim, commit, call, then record. Returns how many were tried."""
    claimed = _claim(runtime, limit)
    groups: dict[str | None, list[Claim]] = defaultdict(list)
    for claim in claimed:
        if claim.is_check:
            _look(runtime, line, claim)
        else:
            groups[claim.menu_id].append(claim)
    for menu_id, people in groups.items():
        is_done = _tell(line, menu_id, [one.user_id for one in people])
        _record(runtime, people, is_done=is_done)
    return len(claimed)


def _claim(runtime: Runtime, limit: int) -> list[Claim]:
    """What is due, leased for a minute."""
    real = runtime.clock.real_now()
    with runtime.database.write() as session:
        live = live_menus(session)
        sets = _tab_sets(session)
        default = next(iter(session.scalars(select(Menu.key).where(Menu.is_default))), None)
        rows = session.execute(
            select(MenuLink, Member.line_user_id)
            .join(Member, Member.id == MenuLink.member_id)
            .where(MenuLink.is_due, MenuLink.next_try_at <= real)
            .order_by(MenuLink.next_try_at)
            .limit(limit)
            .with_for_update(skip_locked=True, of=MenuLink)
        ).all()
        claimed: list[Claim] = []
        for link, user_id in rows:
            if link.leaving_user_id is not None:
                until = link.next_try_at = real + LEASE
                claimed.append(
                    Claim(link.member_id, link.leaving_user_id, None, until, is_leaving=True)
                )
                continue
            is_default = link.wanted_key == f"{default}:{runtime.settings.shop_locale}"
            menu_id = live.get(link.wanted_key) or live.get(plain_key(link.wanted_key))
            is_unlinked = is_default and link.linked_line_menu_id is None and not link.is_check
            if user_id is None or is_unlinked:
                link.is_due = False  # erased, or already sees the default
            elif menu_id is None and not is_default:
                link.next_try_at = real + NOT_PUBLISHED_YET
            else:
                until = link.next_try_at = real + LEASE
                right = sets.get(link.wanted_key) or sets.get(plain_key(link.wanted_key), set())
                claimed.append(
                    Claim(
                        link.member_id,
                        user_id,
                        None if is_default else menu_id,
                        until,
                        frozenset(right),
                        is_check=link.is_check,
                    )
                )
    return claimed


def _tell(line: Line, menu_id: str | None, users: list[str]) -> bool:
    try:
        if menu_id is None and len(users) == 1:
            line.unlink_menu(users[0])
        elif menu_id is None:
            line.unlink_menus(users)
        elif len(users) == 1:
            line.link_menu(users[0], menu_id)
        else:
            line.link_menus(users, menu_id)
    except OutsideFault:
        return False
    return True


def _look(runtime: Runtime, line: Line, claim: Claim) -> None:
    """Ask LINE what one person is linked to; anything wrong is linked again at once."""
    try:
        linked = line.linked_menu(claim.user_id)
    except OutsideFault:
        _record(runtime, [claim], is_done=False)
        return
    real = runtime.clock.real_now()
    is_right = linked is None if claim.menu_id is None else linked in claim.right
    with runtime.database.write() as session:
        link = session.get(MenuLink, claim.member_id)
        if link is None or not link.is_check:
            return  # something has happened to them meanwhile
        link.is_check, link.attempts, link.linked_line_menu_id = False, 0, linked
        link.is_due = not is_right
        link.confirmed_at = real if is_right else None
        link.next_try_at = real


def _record(runtime: Runtime, people: Sequence[Claim], *, is_done: bool) -> None:
    real = runtime.clock.real_now()
    by_id = {one.member_id: one for one in people}
    with runtime.database.write() as session:
        ours = select(MenuLink).where(MenuLink.member_id.in_(by_id)).order_by(MenuLink.member_id)
        for link in session.scalars(ours.with_for_update()).all():
            claim = by_id[link.member_id]
            if link.next_try_at != claim.until:  # the new wish stands, and is told to LINE next
                if is_done and not claim.is_leaving:
                    link.linked_line_menu_id, link.confirmed_at = claim.menu_id, None
            elif is_done and claim.is_leaving:
                session.delete(link)
                _greet_again(session, claim.user_id, real)
            elif is_done:
                # LINE answers a bulk call before it has done it: only a repeat is believed.
                is_sure = len(people) == 1 or link.linked_line_menu_id == claim.menu_id
                link.linked_line_menu_id, link.is_due, link.attempts = claim.menu_id, False, 0
                link.confirmed_at = real if is_sure else None
            elif claim.is_leaving and link.attempts >= LEAVING_TRIES:
                session.delete(link)
            else:
                wait = RETRY_SECONDS[min(link.attempts, len(RETRY_SECONDS) - 1)]
                link.attempts += 1
                link.next_try_at = real + timedelta(seconds=wait)


def _greet_again(session: Session, user_id: str, real_now: datetime) -> None:
    """Whoever came back while their old menu was being taken away gets the new one again."""
    back = select(Member.id).where(Member.line_user_id == user_id)
    session.execute(
        update(MenuLink)
        .where(MenuLink.member_id.in_(back))
        .values(is_due=True, is_check=False, next_try_at=real_now)
    )


# --- What is live -------------------------------------------------------------------------------
def plain_key(wanted_key: str) -> str:
    """The link that shows no figure: `member:th` of `member:th:s6`."""
    return ":".join(wanted_key.split(":")[:2])


def live_menus(session: Session) -> dict[str, str]:
    """`<menu>:<locale>` (and `:<variant>`) -> LINE's id of the first tab that is live."""
    rows = session.execute(
        select(Menu.key, MenuPublication, MenuVersion.definition)
        .join(Menu, Menu.id == MenuPublication.menu_id)
        .join(MenuVersion, MenuVersion.id == MenuPublication.version_id)
        .where(MenuPublication.state == PublicationState.LIVE)
    )
    return {
        _key_of(key, row): row.line_menu_id
        for key, row, definition in rows
        if row.line_menu_id and row.tab == definition["tabs"][0]["key"]
    }


def _tab_sets(session: Session) -> dict[str, set[str]]:
    """The same, with LINE's ids of all tabs."""
    sets: dict[str, set[str]] = defaultdict(set)
    rows = session.execute(
        select(Menu.key, MenuPublication)
        .join(Menu, Menu.id == MenuPublication.menu_id)
        .where(
            MenuPublication.state == PublicationState.LIVE,
            MenuPublication.line_menu_id.is_not(None),
        )
    )
    for key, row in rows:
        sets[_key_of(key, row)].add(str(row.line_menu_id))
    return sets


def _live_ids(session: Session) -> list[str]:
    """LINE's ids of every tab that is live."""
    return sorted({one for some in _tab_sets(session).values() for one in some})


def _link_again(
    session: Session, member_ids: list[int], real_now: datetime, which: ColumnElement[bool]
) -> None:
    """Make links of these people due that LINE has been told of."""
    session.execute(
        update(MenuLink)
        .where(MenuLink.member_id.in_(member_ids), MenuLink.is_due.is_(False), which)
        .values(is_due=True, is_check=False, next_try_at=real_now, attempts=0)
    )


def _key_of(menu_key: str, row: MenuPublication) -> str:
    return f"{menu_key}:{row.locale}" + (f":{row.variant}" if row.variant else "")


# --- The night ----------------------------------------------------------------------------------
def repair(
    session: Session, real_now: datetime, *, after_id: int, limit: int, is_sampling: bool = True
) -> tuple[int, int]:
    """The nightly repair: changed, stale and unconfirmed links become due again; those who came
    back since they were confirmed, and a sample of the others, are asked about.

    Returns (links looked at, last member id).
    """
    if after_id == 0 and is_sampling:
        _sample(session, real_now)
    among = (Member.id > after_id) & Member.id.in_(select(MenuLink.member_id))
    looked, _ = _note(session, audiences.sight(session), among, real_now, limit)
    if not looked:
        return 0, after_id
    linked = MenuLink.linked_line_menu_id
    is_unsure = linked.is_not(None) & MenuLink.confirmed_at.is_(None)
    is_over = linked.not_in(_live_ids(session))
    _link_again(session, looked, real_now, or_(is_over, is_unsure))
    came_back = select(Member.id).where(
        Member.id == MenuLink.member_id, Member.follow_decided_at > MenuLink.confirmed_at
    )
    session.execute(
        update(MenuLink)
        .where(MenuLink.member_id.in_(looked), MenuLink.is_due.is_(False), came_back.exists())
        .values(is_due=True, is_check=True, next_try_at=real_now, attempts=0)
    )
    return len(looked), looked[-1]


def _sample(session: Session, real_now: datetime) -> None:
    """Some confirmed links, whoever they are, are asked about."""
    some = (
        select(MenuLink.member_id)
        .join(Member, Member.id == MenuLink.member_id)
        .where(
            MenuLink.is_due.is_(False),
            MenuLink.confirmed_at.is_not(None),
            Member.is_following.is_(True),
        )
        .order_by(func.random())
        .limit(SAMPLE)
    )
    session.execute(
        update(MenuLink)
        .where(MenuLink.member_id.in_(some))
        .values(is_due=True, is_check=True, next_try_at=real_now, attempts=0)
    )
