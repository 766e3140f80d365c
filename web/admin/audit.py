"""The audit log: who did what, newest first, and whether the chain still holds."""

from __future__ import annotations

import json
from typing import Any

from flask import render_template, request
from sqlalchemy import select

from core.i18n import t
from loyalty import audit as rules
from models.staff import AuditRow, Cashier, Staff
from web.admin.ground import blueprint
from web.admin.tables import Column, Listing, listed, search_text
from web.auth import staff_only
from web.ground import db, locale

COLUMNS = (
    Column("at", "audit.at", AuditRow.id, lambda one: one["row"].at, "moment"),
    Column("who", "audit.who", AuditRow.actor, lambda one: one["who"]),
    Column("act", "audit.act", AuditRow.act, lambda one: one["row"].act, "mono"),
    Column("facts", "audit.facts", None, lambda one: json.dumps(one["row"].facts)),
    Column("digest", "audit.digest", None, lambda one: one["row"].digest, "mono"),
)


@blueprint.get("/audit")
@staff_only("audit.read")
def audit_page() -> str:
    """Privileged acts, searched by act or actor; `?verify=1` walks the whole chain."""
    is_asked = request.args.get("verify") == "1"
    return render_template(
        "admin/audit.html",
        table=AUDIT.page(),
        head=rules.head(db()),
        is_verified=is_asked,
        broken=rules.verify(db()) if is_asked else None,
    )


def _query() -> Any:
    query = select(AuditRow)
    if text := search_text():
        query = query.where(AuditRow.act.contains(text, autoescape=True) | (AuditRow.actor == text))
    return query


def _shown(row: Any) -> dict[str, Any]:
    one: AuditRow = row[0]
    return {"row": one, "who": _name_of(one.actor), "facts": _in_short(one.facts)}


def _name_of(actor: str) -> str:
    """The person behind `staff:3` or `cashier:5`; the word itself for anything else."""
    kind, _, number = actor.partition(":")
    if kind == "staff" and number.isdecimal() and (staff := db().get(Staff, int(number))):
        return staff.email
    if kind == "cashier" and number.isdecimal() and (cashier := db().get(Cashier, int(number))):
        return cashier.name
    return t(locale(), f"audit.by_{actor}") if actor in ("cli", "job", "member") else actor


def _in_short(facts: dict[str, Any]) -> str:
    return " · ".join(f"{name} {value}" for name, value in facts.items())[:300]


AUDIT = listed(
    Listing("/audit", COLUMNS, _query, "at", AuditRow.id.desc(), "audit.export", shape=_shown)
)
