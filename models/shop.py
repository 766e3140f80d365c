"""The shop's own settings: name, look, message rules, and the demo clock."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, Json, moment, short


class ShopSetting(Base):
    """One setting by key; `value` is {"value": ...}. Defaults live in `loyalty/shop.py`."""

    __tablename__ = "shop_settings"

    key: Mapped[short] = mapped_column(primary_key=True)
    value: Mapped[dict[str, Any]] = mapped_column(Json)
    changed_at: Mapped[moment]
