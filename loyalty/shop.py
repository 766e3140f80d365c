"""The shop's settings: defaults here, what the owner changed in `shop_settings`."""

from __future__ import annotations

import hashlib
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from core.db import Database, insert_on, is_sqlite
from models.base import table_of
from models.shop import ShopLogo, ShopSetting

CLOCK_OFFSET = "demo.clock_offset_seconds"
DEFAULTS: dict[str, Any] = {
    CLOCK_OFFSET: 0,
    # Since a restore nobody has decided on what was pending: {"taken_at", "restored_at"}.
    "backups.restored": None,
    # How many days each kind of data is kept (`loyalty/retention.py`), and what was looked at.
    "retention.chats_days": 730,
    "retention.pictures_days": 365,
    "retention.events_days": 90,
    "retention.calls_days": 180,
    "retention.files_days": 2,
    "retention.looks_days": 90,
    "retention.reached": {},
    # Who the shop is.
    "shop.name_th": "ร้านแต้มดี",
    "shop.name_en": "Taem Dee Shop",
    "shop.phone": "",
    "shop.line_id": "",
    "shop.about_th": "",
    "shop.about_en": "",
    "shop.hours_th": "",
    "shop.hours_en": "",
    "shop.map_url": "",
    "shop.review_url": "",
    # `#RRGGBB` of the shop; empty for Taem's own green (`bot/palette.py`).
    "shop.colour": "",
    # The name of the picture in `shop_logos`; empty without one.
    "shop.logo": "",
    # Joining.
    "members.join_gift": "",
    "members.guardian_age": 20,
    "members.asks_guardian": False,
    "members.asks_birthday": True,
    # The gate (M4): promotional messages a week, and the local hours without any push.
    "messages.promotional_per_week": 2,
    "messages.quiet_from": "21:00",
    "messages.quiet_until": "09:00",
    "messages.before_quiet": "20:55",
    "messages.quota_reserve_percent": 10,
    "messages.monthly_stop": None,
    # Whether pushes carry a name under which LINE counts who saw and tapped them.
    "messages.line_units": True,
    # The plan at LINE (M6): fee and price in satang.
    "messages.plan_fee_satang": 0,
    "messages.plan_included": 300,
    "messages.extra_satang": 0,
    "messages.holdout_percent": 10,
    "messages.holdout_from": 300,
    # Members who hear of alarms on LINE, and get the weekly card.
    "alerts.members": [],
    # Points given and taken by hand: what one person may in a day without a second one (P8).
    "adjustments.owner_ceiling": 2000,
    "adjustments.manager_ceiling": 500,
    # Vouchers given by hand: how many one person may in a day without a second one (C2).
    "vouchers.owner_ceiling": 20,
    "vouchers.manager_ceiling": 10,
    # What a point costs the shop, for the figures of the liability.
    "points.satang_each": 25,
    # Where a member stands (L1, L2): days, times the own gap, counts; see `loyalty/lifecycle/`.
    "lifecycle.retention_days": 90,
    "lifecycle.retention_gaps": 3.0,
    "lifecycle.tickets": 3,
    "lifecycle.tickets_days": 90,
    "lifecycle.inactive_days": 90,
    "lifecycle.inactive_floor": 30,
    "lifecycle.inactive_gaps": 3.0,
    "lifecycle.at_risk_days": 45,
    "lifecycle.at_risk_floor": 14,
    "lifecycle.at_risk_gaps": 1.5,
    "lifecycle.drop_percent": 50,
    "lifecycle.drop_purchases": 3,
    "lifecycle.csat_low": 2,
    "lifecycle.csat_days": 90,
    "lifecycle.vip_percentile": 95,
    "lifecycle.vip_buyers": 20,
    "lifecycle.potential_vips": 20,
    "lifecycle.potential_days": 60,
    "lifecycle.potential_acts": 3,
    "lifecycle.regular_days": 3,
    # RFM below 100 buyers (L3): cuts in days of silence, bills and satang of a year, best first.
    "lifecycle.rfm_days": [14, 30, 60, 120],
    "lifecycle.rfm_bills": [24, 12, 6, 2],
    "lifecycle.rfm_satang": [500_000, 250_000, 100_000, 30_000],
    # What is left of a bill, in percent, for the worth of a customer (L4).
    "lifecycle.margin_percent": 50,
    # How often one member may be asked.
    "surveys.csat_every_days": 30,
    "surveys.nps_every_days": 90,
    # Tiers: `spend` or `points`; `rolling` or `year`; `one_step` or `to_earned`.
    "tiers.basis": "spend",
    "tiers.window": "rolling",
    "tiers.hold_months": 12,
    "tiers.fall": "one_step",
    "tiers.warn_days": 30,
    # Referrals: keys of the coupons that friend and referrer get; nobody gets one without a key.
    "referrals.friend_gift": "",
    "referrals.referrer_gift": "",
    "referrals.min_satang": 10_000,
    # Tills. Ceilings in satang, by role; a branch may have its own (`loyalty/ceilings.py`).
    "tills.ceilings": {
        "cashier": {"operation": 500_000, "shift": 5_000_000, "day": 10_000_000},
        "manager": {"operation": 5_000_000, "shift": 20_000_000, "day": 40_000_000},
    },
    "tills.ceilings_by_branch": {},
    # What a till without a signal may keep (K7), each local day: bills, and satang in all.
    "tills.queue_bills": 40,
    "tills.queue_satang": 2_000_000,
    "tills.queue_hours": 48,
    "purchases.void_minutes": 10,
    "purchases.api_age_days": 7,
}


_ALL = select(ShopSetting.key, ShopSetting.value)


def get(session: Session, key: str) -> Any:
    """The value of a setting; an unknown key is our own mistake."""
    assert key in DEFAULTS, key
    return _changed(session).get(key, DEFAULTS[key])


def set(session: Session, key: str, value: Any, now: datetime) -> None:  # noqa: A001 - get and set
    """Change a setting for everybody."""
    assert key in DEFAULTS, key
    setting = session.get(ShopSetting, key)
    if setting is None:
        session.add(ShopSetting(key=key, value={"value": value}, changed_at=now))
    else:
        setting.value = {"value": value}
        setting.changed_at = now
    _changed(session)[key] = value


def shop_name(session: Session, locale: str) -> str:
    """The shop's name in this language."""
    name: str = get(session, "shop.name_en" if locale == "en" else "shop.name_th")
    return name


def change_logo(session: Session, jpeg: bytes | None, now: datetime) -> None:
    """Put a new mark in the place of the old one, or take it away."""
    name = hashlib.sha256(jpeg).hexdigest() if jpeg else ""
    if name == get(session, "shop.logo"):
        return
    session.execute(delete(ShopLogo))
    if jpeg:
        session.add(ShopLogo(content_hash=name, jpeg=jpeg, changed_at=now))
    set(session, "shop.logo", name, now)


def logo(session: Session, name: str) -> bytes | None:
    """The JPEG of that name, while it is in use."""
    found = session.get(ShopLogo, name)
    return found.jpeg if found else None


_SETTINGS = table_of(ShopSetting)
_OFFSET = select(_SETTINGS.c.value).where(_SETTINGS.c.key == CLOCK_OFFSET)


def clock_offset(database: Database) -> int:
    """Seconds by which the demo clock runs ahead; 0 where nobody moved it."""
    with database.read() as session:
        return _offset_in(session)


def _offset_in(session: Session) -> int:
    value = session.execute(_OFFSET).scalar()
    return int(value["value"]) if value else 0


def raise_clock_offset(session: Session, seconds: int, now: datetime) -> int:
    """Move the demo clock forward for every process; a smaller offset changes nothing.

    Returns the offset that stands.
    """
    before = _offset_in(session)
    if seconds <= before:
        return before
    row = {"key": CLOCK_OFFSET, "value": {"value": seconds}, "changed_at": now}
    session.execute(_put_on(is_sqlite(session)), row)
    return seconds


@cache
def _put_on(on_sqlite: bool) -> Any:
    insert = insert_on(on_sqlite, _SETTINGS)
    new = {name: insert.excluded[name] for name in ("value", "changed_at")}
    return insert.on_conflict_do_update(index_elements=["key"], set_=new)


def _changed(session: Session) -> dict[str, Any]:
    """Every changed setting, read once in a session."""
    known: dict[str, Any] | None = session.info.get("shop")
    if known is None:
        rows = session.execute(_ALL)
        known = session.info["shop"] = {key: value["value"] for key, value in rows}
    return known
