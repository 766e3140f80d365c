"""The member's tier: where they stand, how far the next one is, and what each brings."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

from flask import g, redirect

from bot.flex.tiers import brings_words, progress_words
from loyalty import tier_gifts, tiers
from models.tiers import Tier
from web.auth import member_only
from web.ground import db, locale, runtime
from web.liff.ground import blueprint, page


@dataclass(frozen=True)
class ShownTier:
    """A step of the ladder as the member reads it."""

    name: str
    colour: str
    brings: list[str]
    is_mine: bool
    is_next: bool
    threshold: int


@dataclass(frozen=True)
class ShownStanding:
    """Where the member stands; `name` is None before the first tier."""

    name: str | None
    colour: str | None
    until: date | None
    progress: str | None
    percent: int
    code: str | None


@blueprint.get("/m/tier")
@member_only
def tier_page() -> Any:
    """The ladder with the member on it."""
    if not g.member.is_member:
        return redirect("/m/join")
    standing = standing_view()
    if standing is None:
        return redirect("/m/home")
    return page("tier", "home", standing=standing, steps=_steps(), basis=_basis())


def standing_view() -> ShownStanding | None:
    """The member's tier for the home page; None in a shop without tiers."""
    held = runtime()
    seen = tiers.progress_of(db(), g.member.id, held.clock.now(), held.clock.tz)
    if seen is None:
        return None
    progress = None
    if seen.next is not None and seen.missing > 0:
        progress = progress_words(locale(), seen.basis.value, seen.missing, _name(seen.next))
    code = tier_gifts.code_coupon(db(), seen.tier) if seen.tier is not None else None
    return ShownStanding(
        name=_name(seen.tier) if seen.tier is not None else None,
        colour=seen.tier.colour if seen.tier is not None else None,
        until=seen.until,
        progress=progress,
        percent=seen.percent,
        code=code.typed_code if code is not None else None,
    )


def _steps() -> list[ShownTier]:
    held = runtime()
    seen = tiers.progress_of(db(), g.member.id, held.clock.now(), held.clock.tz)
    return [
        ShownTier(
            name=_name(tier),
            colour=tier.colour,
            brings=_brings(tier),
            is_mine=seen is not None and seen.tier is tier,
            is_next=seen is not None and seen.next is tier,
            threshold=tier.threshold,
        )
        for tier in tiers.ladder_of(db())
    ]


def _brings(tier: Tier) -> list[str]:
    gifts = tier_gifts.entry_coupons(db(), tier)
    return brings_words(
        locale(),
        earn_percent=tier.earn_percent,
        percent_off=tier.percent_off,
        gifts=[one.name_en if locale() == "en" else one.name_th for one in gifts],
        early_days=tiers.early_days_of(tier),
        has_birthday_gift=bool(tier.benefits.get("birthday_coupon")),
        has_code=bool(tier.benefits.get("code_coupon")),
    )


def _name(tier: Tier) -> str:
    return tier.name_en if locale() == "en" else tier.name_th


def _basis() -> str:
    return tiers.rules_of(db()).basis.value
