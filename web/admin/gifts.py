"""Vouchers given by hand: on the member's page, and the list of those that wait for a second person."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flask import Response, g, render_template, request
from sqlalchemy import case, select
from sqlalchemy.orm import aliased

from core import ids
from core.i18n import t
from core.text import parse_whole
from loyalty import coupons, shop
from models.coupons import Coupon, GiftState, VoucherGift
from models.members import Member
from models.staff import Staff
from web.admin import forms
from web.admin.ground import back, blueprint, noted
from web.admin.members import matching, member_of
from web.admin.tables import Column, Listing, listed
from web.auth import staff_only
from web.ground import db, locale, runtime

_second = aliased(Staff)


@dataclass(frozen=True)
class Line:
    """A gift with its offer and the people around it."""

    gift: VoucherGift
    coupon: Coupon
    member: Member
    by: str
    decided_by: str | None

    @property
    def offer(self) -> str:
        return self.coupon.name_en if locale() == "en" else self.coupon.name_th


def _gifts() -> Any:
    query = (
        select(VoucherGift, Coupon, Member, Staff.name, _second.name)
        .join(Coupon, Coupon.id == VoucherGift.coupon_id)
        .join(Member, Member.id == VoucherGift.member_id)
        .join(Staff, Staff.id == VoucherGift.staff_id)
        .outerjoin(_second, _second.id == VoucherGift.decided_by_id)
    )
    return matching(query)


GIFTS = listed(
    Listing(
        "/vouchers/given",
        (
            Column("state", "console.state", case((VoucherGift.state == "waiting", 1), else_=0),
                   lambda line: t(locale(), f"adjustments.state_{line.gift.state.value}")),
            Column("at", "adjustments.at", VoucherGift.at, lambda line: line.gift.at, "moment"),
            Column("offer", "console.offer", Coupon.name_th, lambda line: line.offer),
            Column("reason", "adjustments.reason", None, lambda line: line.gift.reason),
            Column("name", "console.name", Member.name, lambda line: line.member.shown_name),
            Column("people", "adjustments.people", None,
                   lambda line: " → ".join(one for one in (line.by, line.decided_by) if one)),
            Column("acts", ""),
        ),
        _gifts,
        "state",
        VoucherGift.id.desc(),
        "lists.export",
        shape=lambda row: Line(*row),
    )
)  # fmt: skip


@blueprint.get("/vouchers/given")
@staff_only("adjustments.read")
def gifts_page() -> str:
    """Every voucher given by hand; those that wait for a second person first."""
    return render_template(
        "admin/gifts.html",
        table=GIFTS.page(),
        waiting=GiftState.WAITING,
        ceilings={role.value: coupons.gift_ceiling(db(), role) for role in coupons.GIFT_CEILINGS},
    )


@blueprint.post("/vouchers/ceilings")
@staff_only("adjustments.ceilings")
def gift_ceilings() -> Response:
    """How many each role may give in a day alone."""
    now = runtime().clock.now()
    given = {
        role: forms.whole(role.value, f"gifts.role_{role.value}", 0, coupons.MOST_A_DAY)
        for role in coupons.GIFT_CEILINGS
    }
    for role, most in given.items():
        shop.set(db(), coupons.GIFT_CEILINGS[role], most, now)
    noted("vouchers.ceilings", **{role.value: most for role, most in given.items()})
    return back("admin.gifts_page", note="console.saved")


@blueprint.post("/members/<string:public_id>/vouchers")
@staff_only("vouchers.give")
def voucher_give(public_id: str) -> Any:
    """Give a voucher to a member, with a reason."""
    held, member = runtime(), member_of(public_id)
    made = coupons.give(
        db(),
        parse_whole(request.form.get("coupon", "")) or 0,
        member,
        g.staff,
        request.form.get("reason", ""),
        request.form.get("key", "")[:32] or ids.public_id(),
        held.clock.now(),
        held.clock.tz,
    )
    _note("vouchers.given", made)
    is_done = made.state == GiftState.DONE
    note = "gifts.noted_done" if is_done else "gifts.noted_waiting"
    return back("admin.member", note=note, public_id=public_id)


@blueprint.post("/vouchers/given/<int:gift_id>/<any(agree, refuse):what>")
@staff_only("adjustments.decide")
def gift_decide(gift_id: int, what: str) -> Response:
    """A second person agrees or refuses."""
    held = runtime()
    made = coupons.decide_gift(
        db(),
        gift_id,
        staff=g.staff,
        is_agreed=what == "agree",
        now=held.clock.now(),
        tz=held.clock.tz,
    )
    _note("vouchers.decided", made)
    return back("admin.gifts_page", note="console.decided")


def _note(act: str, made: VoucherGift) -> None:
    noted(
        act,
        gift=made.id,
        member=made.member_id,
        offer=made.coupon_id,
        voucher=made.voucher_id,
        reason=made.reason,
        state=made.state.value,
    )


def giveable() -> Any:
    """What may be given on a member's page, and the key of its form."""
    return coupons.giveable(db()), ids.public_id()


def ceiling() -> int:
    """How many the one signed in may give in a day alone."""
    return coupons.gift_ceiling(db(), g.staff.role)
