"""Inviting friends: the gifts for both, and every invitation with how far it has come."""

from __future__ import annotations

from typing import Any

from flask import make_response, render_template
from sqlalchemy import select
from sqlalchemy.orm import aliased

from core.errors import Refused
from core.i18n import t
from loyalty import members, referrals, shop
from models.coupons import Coupon, CouponState, Obtained
from models.members import Member, Referral
from web.admin import forms
from web.admin.ground import back, blueprint, may, noted
from web.admin.tables import Column, Listing, found_in, listed
from web.auth import staff_only
from web.ground import db, locale, runtime

COLUMNS = (
    Column("at", "console.at", Referral.id, lambda row: row["at"], "moment"),
    Column("friend", "referrals.friend", None, lambda row: row["friend"]),
    Column("referrer", "referrals.referrer", None, lambda row: row["referrer"]),
    Column("step", "console.state", None,
           lambda row: t(locale(), f"referrals.step_{row['step']}")),
)  # fmt: skip
_friend, _referrer = aliased(Member), aliased(Member)


@blueprint.get("/referrals")
@staff_only("referrals.read")
def referrals_page() -> str:
    """The gifts and the list."""
    return _page("")


def _page(refusal: str) -> str:
    session = db()
    gifts = select(Coupon).where(
        Coupon.state == CouponState.LIVE, Coupon.obtained == Obtained.JOURNEY
    )
    return render_template(
        "admin/referrals.html",
        table=REFERRALS.page(),
        gifts=session.scalars(gifts.order_by(Coupon.name_th, Coupon.id)).all(),
        friend_gift=shop.get(session, "referrals.friend_gift"),
        referrer_gift=shop.get(session, "referrals.referrer_gift"),
        min_satang=int(shop.get(session, "referrals.min_satang")),
        refusal=refusal,
    )


def _invitations() -> Any:
    query = (
        select(Referral, _friend, _referrer)
        .join(_friend, _friend.id == Referral.friend_id)
        .join(_referrer, _referrer.id == Referral.referrer_id)
    )
    if not may("members.read"):  # a search would tell what is masked
        return query
    return found_in(query, _friend.name, _referrer.name, _friend.member_no, _referrer.member_no)


def _row(row: Any) -> dict[str, Any]:
    """Names as this reader may see them: whoever may not see members sees them masked."""
    referral, friend, referrer = row
    show = members.shown_name if may("members.read") else _masked
    return {
        "at": referral.at,
        "friend": show(friend),
        "friend_id": friend.public_id if friend.is_member else None,
        "referrer": show(referrer),
        "referrer_id": referrer.public_id if referrer.is_member else None,
        "step": referrals.step_of(referral).value,
        "refused": referral.refused,
        "moved_at": referral.rewarded_at or referral.bought_at or referral.joined_at,
    }


def _masked(member: Member) -> str:
    return members.masked(members.shown_name(member))


REFERRALS = listed(
    Listing("/referrals", COLUMNS, _invitations, "at", Referral.id, "lists.export", shape=_row)
)


@blueprint.post("/referrals/rules")
@staff_only("referrals.edit")
def referral_rules() -> Any:
    """Which coupons friend and referrer get, and from which bill on."""
    keys = db().scalars(
        select(Coupon.key).where(
            Coupon.state == CouponState.LIVE, Coupon.obtained == Obtained.JOURNEY
        )
    )
    known = ["", *keys]
    try:
        values = {
            "friend_gift": forms.choice("friend_gift", "referrals.friend_gift", known),
            "referrer_gift": forms.choice("referrer_gift", "referrals.referrer_gift", known),
            "min_satang": forms.maybe_money("min_baht", "referrals.min_baht") or 0,
        }
    except Refused as error:
        return make_response(_page(t(locale(), error.code, **error.facts)), 422)
    for name, value in values.items():
        shop.set(db(), f"referrals.{name}", value, runtime().clock.now())
    noted("referrals.rules_changed", **values)
    return back("admin.referrals_page", note="console.saved")
