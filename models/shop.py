"""The shop's own settings: name, look, message rules, the demo clock; and what nights removed."""

from __future__ import annotations

from typing import Any

from sqlalchemy import LargeBinary
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, Json, local_date, moment, short


class ShopSetting(Base):
    """One setting by key; `value` is {"value": ...}. Defaults live in `loyalty/shop.py`."""

    __tablename__ = "shop_settings"

    key: Mapped[short] = mapped_column(primary_key=True)
    value: Mapped[dict[str, Any]] = mapped_column(Json)
    changed_at: Mapped[moment]


class ShopLogo(Base):
    """The shop's mark, as we drew it anew; the setting `shop.logo` names the one in use."""

    __tablename__ = "shop_logos"

    #: SHA-256 of the picture: its name in addresses.
    content_hash: Mapped[short] = mapped_column(primary_key=True)
    jpeg: Mapped[bytes] = mapped_column(LargeBinary)
    changed_at: Mapped[moment]


class RetentionRun(Base):
    """What one night threw away of one kind: the proof that what was promised is done."""

    __tablename__ = "retention_runs"

    day: Mapped[local_date] = mapped_column(primary_key=True)
    #: `chats`, `pictures`, `events`, `calls`, `looks`, `files`.
    kind: Mapped[short] = mapped_column(primary_key=True)
    #: How many days the shop kept it that night.
    kept_days: Mapped[int]
    removed: Mapped[int] = mapped_column(default=0)
    at: Mapped[moment]
