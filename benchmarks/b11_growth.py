"""B11: what must not grow with the shop: an earn, a bill, a member's page, the console's list.

The same acts on databases of ten thousand, a hundred thousand and a million members, on PostgreSQL;
the limit is the smallest one's own time in this run. Each figure is the median of single acts, so
that a rest of the machine in between costs one of them only.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

from sqlalchemy import func, select

from app import build_runtime, create_app
from benchmarks.b2_handling import add_members
from benchmarks.ground import Bench, Result, median
from core import ids
from core.runtime import Runtime
from loyalty import doors, points, purchases
from models.members import Member
from models.staff import Branch, StaffSession
from tests import factories

SIZES = (10_000, 100_000, 1_000_000)
ACTS = 200
MOST = 1.3


def run(bench: Bench) -> Iterator[Result]:
    """One line for each act and larger size."""
    first: dict[str, float] = {}
    for size in SIZES:
        members = bench.scaled(size)
        url = bench.database("postgresql")
        add_members(url, members)
        for name, seconds in figures(url, members).items():
            first.setdefault(name, seconds)
            if size != SIZES[0]:
                yield Result(
                    f"B11 {name}, ms at {members:,} members",
                    seconds * 1000,
                    first[name] * 1000,
                    f"<= {MOST} of the smallest",
                    seconds <= MOST * first[name],
                )


def figures(url: str, members: int) -> dict[str, float]:
    """Median seconds of each act on this database."""
    runtime = build_runtime(factories.make_settings(url))
    with runtime.database.write() as session:
        session.connection().exec_driver_sql("ANALYZE")
        branch = factories.make_branch(session)
        lowest = session.scalar(select(func.min(Member.id))) or 0
    # Spread over the table, the same number of strides at every size.
    chosen = [lowest + place * (members // ACTS) for place in range(ACTS)]
    try:
        return {
            "earn": timed(lambda place: earn(runtime, chosen[place], place)),
            "bill": timed(lambda place: buy(runtime, branch, chosen[place], place)),
            **pages(runtime, chosen),
        }
    finally:
        runtime.database.dispose()


def timed(act: Callable[[int], object]) -> float:
    """Median seconds of an act, warmed up."""
    took = []
    for place in range(ACTS):
        began = time.perf_counter()
        act(place)
        took.append(time.perf_counter() - began)
    return median(took[ACTS // 10 :])


def earn(runtime: Runtime, member_id: int, place: int) -> None:
    with runtime.transaction() as session:
        points.earn(
            session, member_id, 10, source="bench", source_id=f"growth:{place}",
            now=runtime.clock.now(), tz=runtime.clock.tz,
        )  # fmt: skip


def buy(runtime: Runtime, branch: Branch, member_id: int, place: int) -> None:
    with runtime.transaction() as session:
        purchases.record_purchase(
            session, member_id=member_id, branch=session.get_one(Branch, branch.id),
            amount_satang=25_000, operation_id=f"growth:{place}", now=runtime.clock.now(),
            tz=runtime.clock.tz,
        )  # fmt: skip


def pages(runtime: Runtime, chosen: list[int]) -> dict[str, float]:
    """The member's home page, and the console's list as it opens and searched by number."""
    app = create_app(runtime=runtime)
    app.extensions["taem_intake"].close()
    phone, console = app.test_client(), app.test_client()
    phone.set_cookie("taem_member", member_token(runtime, chosen[0]))
    console.set_cookie("taem_staff", staff_token(runtime))
    with runtime.database.read() as session:
        numbers = list(session.scalars(select(Member.member_no).where(Member.id.in_(chosen))))
    found = {
        "member page": lambda _: phone.get("/m/home"),
        "member list": lambda _: console.get("/admin/members"),
        "member search": lambda place: console.get(
            "/admin/members", query_string={"q": numbers[place % len(numbers)]}
        ),
    }
    for name, act in found.items():
        answer = act(0)
        assert answer.status_code == 200, (name, answer.status_code, answer.headers)
    return {name: timed(act) for name, act in found.items()}


def member_token(runtime: Runtime, member_id: int) -> str:
    now = datetime.now(UTC)
    with runtime.transaction() as session:
        member = session.get_one(Member, member_id)
        return doors.open_session(session, member, "link", now)


def staff_token(runtime: Runtime) -> str:
    token, now = ids.secret_token(), datetime.now(UTC)
    with runtime.transaction() as session:
        staff = factories.prem(session)
        session.add(
            StaffSession(
                token_hash=ids.token_hash(token), staff_id=staff.id, created_at=now,
                last_seen_at=now, expires_at=now + timedelta(hours=12),
            )
        )  # fmt: skip
    return token
