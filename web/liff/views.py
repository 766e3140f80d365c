"""Rows as the member pages show them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

from flask import g

from bot.flex.coupons import value_words
from core.clock import last_day
from core.i18n import t
from core.ids import public_id
from loyalty import coupons, stamp_pictures, vouchers
from loyalty.stamps import CardView
from models.coupons import Coupon, Voucher
from web.ground import db, locale, runtime


@dataclass(frozen=True)
class ShownReward:
    """The nearest reward and how far it is."""

    name: str
    price: int
    missing: int
    percent: int


@dataclass(frozen=True)
class ShownStamps:
    """A stamp card as a picture with words."""

    picture: str
    program: str
    filled: int
    size: int
    prize: str | None
    expires_on: date | None


@dataclass(frozen=True)
class ShownVoucher:
    """A voucher on the member's own pages."""

    id: str
    name: str
    value: str
    terms: str
    expires_on: date | None
    is_held: bool
    is_waiting: bool
    conditions: list[str]
    left: str


@dataclass(frozen=True)
class ShownOffer:
    """An offer to claim, or a reward to exchange; `refusal` is the code of what stands against it."""

    id: int
    name: str
    value: str
    terms: str
    left: int | None
    ends_on: date | None
    price: int | None
    refusal: str | None
    why: str
    left_today: int | None
    conditions: list[str]
    key: str
    picture: str | None


def name_of(coupon: Coupon) -> str:
    """A coupon's name in the reader's language."""
    return coupon.name_en if locale() == "en" else coupon.name_th


def value_of(coupon: Coupon) -> str:
    """A coupon's worth in a few big words."""
    return value_words(
        coupon.kind.value,
        locale(),
        amount_satang=coupon.value_satang,
        percent=coupon.percent,
        max_satang=coupon.max_satang,
    )


def terms_of(coupon: Coupon) -> str:
    """A coupon's terms in the reader's language."""
    return coupon.terms_en if locale() == "en" else coupon.terms_th


def stamp_view(view: CardView) -> ShownStamps:
    """A stamp card with the address of its picture."""
    held, program, goal = runtime(), view.program, view.goal
    token = stamp_pictures.token_of(held.settings.secret_key, program.id, view.filled, locale())
    return ShownStamps(
        picture=f"/p/stamps/{token}.png",
        program=program.name_en if locale() == "en" else program.name_th,
        filled=view.filled,
        size=view.size,
        prize=name_of(goal) if goal else None,
        expires_on=last_day(view.expires_at, held.clock.tz) if view.expires_at else None,
    )


def voucher_view(voucher: Voucher) -> ShownVoucher:
    """One of the member's vouchers."""
    tz = runtime().clock.tz
    return ShownVoucher(
        id=voucher.public_id,
        name=name_of(voucher.coupon),
        value=value_of(voucher.coupon),
        terms=terms_of(voucher.coupon),
        expires_on=last_day(voucher.expires_at, tz) if voucher.expires_at else None,
        is_held=vouchers.is_at_till(db(), voucher, runtime().clock.real_now()),
        is_waiting=vouchers.waits_for_proof(db(), voucher, g.member),
        conditions=coupons.describe(db(), voucher.coupon, locale()),
        left=left.in_(locale()) if (left := coupons.left_words(voucher.left_satang)) else "",
    )


def offer_views(obtained: str) -> list[ShownOffer]:
    """What the member can claim, or exchange points for."""
    held = runtime()
    found = coupons.offers_for(db(), g.member, held.clock.now(), held.clock.tz, obtained)
    return [
        ShownOffer(
            id=offer.coupon.id,
            name=name_of(offer.coupon),
            value=value_of(offer.coupon),
            terms=terms_of(offer.coupon),
            left=offer.left,
            ends_on=last_day(offer.coupon.ends_at, held.clock.tz) if offer.coupon.ends_at else None,
            price=offer.coupon.price_points,
            refusal=offer.refusal,
            why=t(locale(), offer.refusal, **offer.facts) if offer.refusal else "",
            left_today=offer.left_today,
            conditions=coupons.describe(db(), offer.coupon, locale()),
            key=public_id(),
            picture=offer.coupon.picture_url,
        )
        for offer in found
        if offer.refusal != "coupons.already_claimed"
    ]


def next_reward(available: int) -> ShownReward | None:
    """The cheapest reward still out of reach, else the dearest within it."""
    rewards: list[Any] = sorted(
        (
            offer
            for offer in offer_views("points")
            if offer.refusal in (None, "points.not_enough") and offer.price
        ),
        key=lambda offer: offer.price,
    )
    if not rewards:
        return None
    chosen = next((offer for offer in rewards if offer.price > available), rewards[-1])
    missing = max(0, chosen.price - available)
    percent = 100 * max(0, min(available, chosen.price)) // chosen.price
    return ShownReward(chosen.name, chosen.price, missing, percent)
