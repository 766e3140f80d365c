"""The rich menus of the account, as data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Menu:
    id: str
    body: dict[str, Any]
    picture: bytes = b""
    content_type: str = ""

    def described(self) -> dict[str, Any]:
        return {"richMenuId": self.id, **self.body}


@dataclass
class MenuShelf:
    """All rich menus of the account made through the API."""

    menus: dict[str, Menu] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    default_id: str | None = None
    batches: dict[str, dict[str, Any]] = field(default_factory=dict)

    def clear(self) -> None:
        self.menus.clear()
        self.aliases.clear()
        self.batches.clear()
        self.default_id = None
