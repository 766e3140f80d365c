"""Every voucher of every member: what it is, where it came from, and what became of it."""

from __future__ import annotations

from typing import Any

from flask import render_template, request
from sqlalchemy import select

from core.i18n import t
from models.coupons import Coupon, Voucher, VoucherState
from models.members import Member
from web.admin.ground import blueprint
from web.admin.members import matching
from web.admin.tables import Column, Listing, listed, said
from web.auth import staff_only
from web.ground import db, locale

#: What issues vouchers; each has its words.
SOURCES = frozenset(
    "claim code points stamp_card draw tier referral join staff journey intent campaign import"
    .split()
)  # fmt: skip
COLUMNS = (
    Column("issued", "vouchers.issued_at", Voucher.id,
           lambda row: row.Voucher.issued_at, "moment"),
    Column("offer", "console.offer", Coupon.name_th,
           lambda row: row.Coupon.name_en if locale() == "en" else row.Coupon.name_th),
    Column("name", "console.name", Member.name, lambda row: row.Member.shown_name),
    Column("state", "console.state", Voucher.state,
           said("voucher_states", lambda row: row.Voucher.state)),
    Column("source", "vouchers.source", Voucher.source, lambda row: _source(row.Voucher.source)),
    Column("until", "vouchers.good_until", Voucher.expires_at,
           lambda row: row.Voucher.expires_at, "moment"),
    Column("redeemed", "vouchers.redeemed_at", Voucher.redeemed_at,
           lambda row: row.Voucher.redeemed_at, "moment"),
)  # fmt: skip


def _source(source: str) -> str:
    """How the member came by it, in words; what only a later release knows, as it is written."""
    return t(locale(), f"voucher_sources.{source}") if source in SOURCES else source


@blueprint.get("/vouchers")
@staff_only("members.read")
def vouchers_page() -> str:
    """Vouchers, newest first."""
    return render_template(
        "admin/vouchers.html",
        table=VOUCHERS.page(),
        offers=db().scalars(select(Coupon).order_by(Coupon.name_th, Coupon.id)).all(),
        states=VoucherState,
        chosen={name: request.args.get(name, "") for name in ("offer", "state")},
    )


def _vouchers() -> Any:
    """What the address asks for; an offer or state that is none filters nothing."""
    query = (
        select(Voucher, Coupon, Member)
        .join(Coupon, Coupon.id == Voucher.coupon_id)
        .join(Member, Member.id == Voucher.member_id)
    )
    if key := request.args.get("offer", ""):
        query = query.where(Coupon.key == key)
    state = request.args.get("state", "")
    if state in set(VoucherState):
        query = query.where(Voucher.state == VoucherState(state))
    return matching(query)


VOUCHERS = listed(
    Listing("/vouchers", COLUMNS, _vouchers, "issued", Voucher.id.desc(), "lists.export")
)
