"""Every bill of every member: searched, filtered by branch, day and state, and taken out."""

from __future__ import annotations

from typing import Any

from flask import render_template, request
from sqlalchemy import select

from models.members import Member
from models.purchases import Purchase, PurchaseState
from models.staff import Branch, Cashier
from web.admin.ground import blueprint
from web.admin.members import matching
from web.admin.tables import Column, Listing, asked_day, listed, said
from web.auth import staff_only
from web.ground import db, locale

COLUMNS = (
    Column("at", "console.at", Purchase.purchased_at,
           lambda row: row.Purchase.purchased_at, "moment"),
    Column("name", "console.name", Member.name, lambda row: row.Member.shown_name),
    Column("branch", "console.branch", Branch.code,
           lambda row: row.Branch.name_en if locale() == "en" else row.Branch.name_th),
    Column("receipt", "purchases.receipt", Purchase.receipt_no,
           lambda row: row.Purchase.receipt_no, "mono"),
    Column("amount", "purchases.amount", Purchase.amount_satang,
           lambda row: row.Purchase.amount_satang, "money"),
    Column("returned", "purchases.returned", Purchase.returned_satang,
           lambda row: row.Purchase.returned_satang or None, "money"),
    Column("points", "console.points", Purchase.points, lambda row: row.Purchase.points, "num"),
    Column("by", "purchases.by", Cashier.name, lambda row: row.cashier),
    Column("state", "console.state", Purchase.state,
           said("purchase_states", lambda row: row.Purchase.state)),
)  # fmt: skip


@blueprint.get("/purchases")
@staff_only("members.read")
def purchases_page() -> str:
    """Bills, newest first."""
    return render_template(
        "admin/purchases.html",
        table=PURCHASES.page(),
        branches=db().scalars(select(Branch).order_by(Branch.code)).all(),
        states=PurchaseState,
        chosen={name: request.args.get(name, "") for name in ("branch", "state", "since", "until")},
    )


def _bills() -> Any:
    """What the address asks for; a branch, state or day that is none filters nothing."""
    query = (
        select(Purchase, Member, Branch, Cashier.name.label("cashier"))
        .join(Member, Member.id == Purchase.member_id)
        .join(Branch, Branch.id == Purchase.branch_id)
        .outerjoin(Cashier, Cashier.id == Purchase.cashier_id)
    )
    if code := request.args.get("branch", ""):
        query = query.where(Branch.code == code)
    state = request.args.get("state", "")
    if state in set(PurchaseState):
        query = query.where(Purchase.state == PurchaseState(state))
    if since := asked_day("since"):
        query = query.where(Purchase.local_on >= since)
    if until := asked_day("until"):
        query = query.where(Purchase.local_on <= until)
    return matching(query)


PURCHASES = listed(Listing("/purchases", COLUMNS, _bills, "at", Purchase.id.desc(), "lists.export"))
