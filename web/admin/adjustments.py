"""Points given or taken by hand: on the member's page, and the list of those that wait."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flask import Response, g, render_template, request
from sqlalchemy import case, select
from sqlalchemy.orm import aliased

from core import ids
from core.i18n import t
from core.text import parse_whole
from loyalty import adjustments as rules
from loyalty import operations, shop
from models.members import Member
from models.points import Adjustment, AdjustmentState
from models.staff import Staff
from web.admin import forms
from web.admin.ground import back, blueprint, noted
from web.admin.members import matching, member_of
from web.admin.tables import Column, Listing, listed
from web.auth import staff_only
from web.ground import db, locale, runtime

COLUMNS = (
    Column("state", "console.state", case((Adjustment.state == "waiting", 1), else_=0),
           lambda line: t(locale(), f"adjustments.state_{line.adjustment.state.value}")),
    Column("at", "adjustments.at", Adjustment.at, lambda line: line.adjustment.at, "moment"),
    Column("points", "console.points", Adjustment.points,
           lambda line: line.adjustment.points, "num"),
    Column("reason", "adjustments.reason", None, lambda line: line.adjustment.reason),
    Column("name", "console.name", Member.name, lambda line: line.member.shown_name),
    Column("people", "adjustments.people", None,
           lambda line: " → ".join(one for one in (line.by, line.decided_by) if one)),
    Column("acts", ""),
)  # fmt: skip
_second = aliased(Staff)


@dataclass(frozen=True)
class Line:
    """An adjustment with the people around it."""

    adjustment: Adjustment
    member: Member
    by: str
    decided_by: str | None


@blueprint.get("/adjustments")
@staff_only("adjustments.read")
def adjustments() -> str:
    """Every adjustment; those that wait for a second person first."""
    return render_template(
        "admin/adjustments.html",
        table=ADJUSTMENTS.page(),
        waiting=AdjustmentState.WAITING,
        ceilings={role.value: rules.ceiling_of(db(), role) for role in rules.CEILINGS},
    )


def _adjustments() -> Any:
    query = (
        select(Adjustment, Member, Staff.name, _second.name)
        .join(Member, Member.id == Adjustment.member_id)
        .join(Staff, Staff.id == Adjustment.staff_id)
        .outerjoin(_second, _second.id == Adjustment.decided_by_id)
    )
    return matching(query)


ADJUSTMENTS = listed(
    Listing(
        "/adjustments",
        COLUMNS,
        _adjustments,
        "state",
        Adjustment.id.desc(),
        "lists.export",
        shape=lambda row: Line(*row),
    )
)


@blueprint.post("/adjustments/ceilings")
@staff_only("adjustments.ceilings")
def adjustment_ceilings() -> Response:
    """What each role may give or take in a day alone."""
    now = runtime().clock.now()
    given = {
        role: forms.whole(role.value, f"adjustments.role_{role.value}", 0, rules.MOST)
        for role in rules.CEILINGS
    }
    for role, most in given.items():
        shop.set(db(), rules.CEILINGS[role], most, now)
    noted("adjustments.ceilings", **{role.value: most for role, most in given.items()})
    return back("admin.adjustments", note="console.saved")


@blueprint.post("/members/<string:public_id>/adjust")
@staff_only("adjustments.give")
def member_adjust(public_id: str) -> Response:
    """Give points to a member, or take them; a form sent twice does it once (P2)."""
    person, held = member_of(public_id), runtime()
    sign = -1 if forms.choice("direction", "adjustments.direction", ("up", "down")) == "down" else 1
    amount = parse_whole(request.form.get("points", ""))
    if not amount:
        raise forms.bad("console.points")
    reason, real = request.form.get("reason", ""), held.clock.real_now()
    name = f"staff:{g.staff.id}:{request.form.get('key', '')[:32] or ids.public_id()}"
    asked = hashlib.sha256(f"{public_id}\n{sign * amount}\n{reason}".encode()).hexdigest()
    stored = operations.once(db(), name, asked, real)
    if stored is not None:
        return back("admin.member", note=stored.answer["note"], public_id=public_id)
    made = rules.give(
        db(),
        person,
        sign * amount,
        reason=reason,
        staff=g.staff,
        now=held.clock.now(),
        tz=held.clock.tz,
    )
    _note("points.adjusted", made)
    is_done = made.state == AdjustmentState.DONE
    note = "adjustments.noted_done" if is_done else "adjustments.noted_waiting"
    operations.finish(db(), name, 303, {"note": note}, real)
    return back("admin.member", note=note, public_id=public_id)


@blueprint.post("/adjustments/<int:adjustment_id>/<any(agree, refuse):what>")
@staff_only("adjustments.decide")
def adjustment_decide(adjustment_id: int, what: str) -> Response:
    """A second person agrees or refuses."""
    held = runtime()
    made = rules.decide(
        db(),
        adjustment_id,
        staff=g.staff,
        is_agreed=what == "agree",
        now=held.clock.now(),
        tz=held.clock.tz,
    )
    _note("adjustments.decided", made)
    return back("admin.adjustments", note="console.decided")


def _note(act: str, made: Adjustment) -> None:
    noted(
        act,
        adjustment=made.id,
        member=made.member_id,
        points=made.points,
        state=made.state.value,
    )


def recent_of(person: Member) -> Sequence[Any]:
    """What a member's page shows."""
    return rules.recent_of(db(), person.id)


def ceiling() -> int:
    """What the one signed in may give in a day alone."""
    return rules.ceiling_of(db(), g.staff.role)
