"""The shop's own settings: one table of fields, one form per group, each read strictly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import time
from typing import Any

from flask import Response, abort, g, make_response, render_template, request
from sqlalchemy import select

from bot import palette
from core.errors import Refused
from core.i18n import t
from core.pictures import drawn_anew
from loyalty import shop
from models.coupons import Coupon, CouponState
from rich_menus import definitions, shelf
from web.admin import forms
from web.admin.ground import back, blueprint, may, noted
from web.auth import staff_only
from web.ground import LOGO_BYTES, db, locale, runtime

#: So long before the quiet hours a deadline inside them is moved (M5).
BEFORE_QUIET_MINUTES = 5
SHOWN_LETTERS = 600
#: Pixels: twice what the largest place shows.
LOGO_SIDE = 512


@dataclass(frozen=True)
class Field:
    """One setting: its key in `shop.DEFAULTS`, how it is typed, and what it may be."""

    key: str
    #: `line`, `text`, `whole`, `hour`, `yes`, `url`, `coupon` or `colour`.
    kind: str
    least: int = 0
    most: int = 100
    is_needed: bool = False

    @property
    def name(self) -> str:
        """Its name in the form."""
        return self.key.partition(".")[2]

    @property
    def words(self) -> str:
        """Its label."""
        return f"settings.{self.key.replace('.', '_')}"


GROUPS: dict[str, tuple[Field, ...]] = {
    "shop": (
        Field("shop.name_th", "line", is_needed=True),
        Field("shop.name_en", "line", is_needed=True),
        Field("shop.phone", "line", most=40),
        Field("shop.line_id", "line", most=40),
        Field("shop.hours_th", "line", most=200),
        Field("shop.hours_en", "line", most=200),
        Field("shop.about_th", "text", most=500),
        Field("shop.about_en", "text", most=500),
        Field("shop.map_url", "url", most=500),
    ),
    "look": (Field("shop.colour", "colour"),),
    "members": (
        Field("members.join_gift", "coupon"),
        Field("members.asks_birthday", "yes"),
        Field("members.asks_guardian", "yes"),
        Field("members.guardian_age", "whole", 10, 25, is_needed=True),
    ),
    "messages": (
        Field("messages.promotional_per_week", "whole", 0, 7, is_needed=True),
        Field("messages.quiet_from", "hour", is_needed=True),
        Field("messages.quiet_until", "hour", is_needed=True),
        Field("messages.quota_reserve_percent", "whole", 0, 50, is_needed=True),
        Field("messages.holdout_from", "whole", 60, 1_000_000, is_needed=True),
    ),
    "tills": (
        Field("purchases.void_minutes", "whole", 0, 1440, is_needed=True),
        Field("purchases.api_age_days", "whole", 1, 90, is_needed=True),
        Field("tills.queue_hours", "whole", 1, 48, is_needed=True),
    ),
}


@blueprint.get("/settings")
@staff_only("settings.read")
def settings_page() -> str:
    """Every group with what it says now."""
    return _page()


@blueprint.post("/settings/logo")
@staff_only("settings.edit")
def settings_logo() -> Response:
    """Take a new mark from a file, or the old one away."""
    given = request.files.get("logo")
    try:
        jpeg = None
        if request.form.get("act") != "remove":
            body = given.read(LOGO_BYTES + 1) if given else b""
            jpeg = drawn_anew(body, most_bytes=LOGO_BYTES, side=LOGO_SIDE).body
    except Refused as error:
        refusal = t(locale(), error.code, **error.facts)
        return make_response(_page(refused="logo", refusal=refusal), error.status)
    shop.change_logo(db(), jpeg, runtime().clock.now())
    noted("settings.changed", keys=["shop.logo"])
    return back("admin.settings_page", note="console.saved")


@blueprint.post("/settings/<group>")
@staff_only("settings.edit")
def settings_save(group: str) -> Response:
    """Save one group, whole or not at all."""
    fields = GROUPS.get(group) or abort(404)
    try:
        forms.refuse_if_changed(_kept(group))
        values = {field.key: _READERS[field.kind](field) for field in fields}
        if group == "messages":
            values["messages.before_quiet"] = _before(values["messages.quiet_from"])
    except Refused as error:
        refusal = t(locale(), error.code, **error.facts)
        return make_response(_page(refused=group, refusal=refusal), error.status)
    before = {key: shop.get(db(), key) for key in values}
    changed = [key for key, value in values.items() if before[key] != value]
    for key in changed:
        shop.set(db(), key, values[key], runtime().clock.now())
    if changed:
        noted("settings.changed", keys=changed)
    menus = _dress(before["shop.colour"], values["shop.colour"]) if "shop.colour" in changed else []
    return back("admin.settings_page", note="settings.noted_menus" if menus else "console.saved")


def _dress(before: str, colour: str) -> list[str]:
    """Menus drawn in the shop's colour follow it."""
    now = runtime().clock.real_now()
    return shelf.follow_colour(db(), before, colour, made_by=f"staff:{g.staff.id}", now=now)


def _page(*, refused: str = "", refusal: str = "") -> str:
    live = select(Coupon).where(Coupon.state == CouponState.LIVE).order_by(Coupon.id)
    return render_template(
        "admin/settings.html",
        groups=GROUPS,
        values=_values(refused),
        coupons=db().scalars(live).all(),
        refused=refused,
        refusal=refusal,
        seen=lambda group: forms.mark_of(_kept(group)),
        presets=palette.PRESETS,
        built_in=palette.BUILT_IN.main,
        can_edit=may("settings.edit"),
    )


def _kept(group: str) -> dict[str, Any]:
    """What is in force of a group."""
    return {field.key: shop.get(db(), field.key) for field in GROUPS[group]}


def _values(refused: str) -> dict[str, Any]:
    """What is in force; of a refused form, what was typed, unless it came too late."""
    values = {key: value for group in GROUPS for key, value in _kept(group).items()}
    for field in GROUPS.get(refused, ()) if "is_outdated" not in g else ():
        if field.kind == "colour":
            continue  # buttons cannot show what is none of them
        typed = request.form.get(field.name, "")[:SHOWN_LETTERS]
        values[field.key] = typed == "1" if field.kind == "yes" else typed
    return values


# --- Reading ------------------------------------------------------------------------------------


def _line(field: Field) -> str:
    return forms.words(field.name, field.words, field.most, needed=field.is_needed)


def _whole(field: Field) -> int:
    return forms.whole(field.name, field.words, field.least, field.most)


def _yes(field: Field) -> bool:
    return request.form.get(field.name) == "1"


def _hour(field: Field) -> str:
    try:
        return time.fromisoformat(request.form.get(field.name, "")).strftime("%H:%M")
    except ValueError:
        raise forms.bad(field.words) from None


def _url(field: Field) -> str:
    text = _line(field)
    if text and not (text.lower().startswith("https:") and definitions.is_address(text)):
        raise forms.bad(field.words)
    return text


def _coupon(field: Field) -> str:
    live = select(Coupon.key).where(Coupon.state == CouponState.LIVE)
    chosen = request.form.get(field.name, "")
    if chosen == shop.get(db(), field.key):
        return chosen  # also one that has ended since
    return forms.choice(field.name, field.words, ["", *db().scalars(live)])


def _colour(field: Field) -> str:
    """One of ours, or any: `palette_of` makes it legible."""
    chosen = request.form.get(field.name, "")
    if chosen == "own":
        chosen = request.form.get("own_colour", "")
    colour = palette.parse(chosen)
    if colour is None:
        raise forms.bad(field.words)
    return "" if colour == palette.BUILT_IN.main else colour


_READERS: dict[str, Callable[[Field], Any]] = {
    "line": _line,
    "text": _line,
    "whole": _whole,
    "hour": _hour,
    "yes": _yes,
    "url": _url,
    "coupon": _coupon,
    "colour": _colour,
}


def _before(quiet_from: str) -> str:
    """A little before the quiet hours, whose start may be midnight."""
    hours, minutes = map(int, quiet_from.split(":"))
    before = (hours * 60 + minutes - BEFORE_QUIET_MINUTES) % (24 * 60)
    return f"{before // 60:02}:{before % 60:02}"
