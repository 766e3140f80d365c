"""LINE in memory, for tests that need its answers but no HTTP.

`FakeLine` keeps the promises of `bot.gateway.Line`; tests/bot/test_gateway.py runs one contract
suite on it and on the real gateway in front of the simulator.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any
from urllib.parse import urlsplit

from bot.gateway import (
    BotInfo,
    Content,
    LineForbidden,
    LineNotFound,
    LineRefused,
    LineUnavailable,
    Profile,
    Quota,
    WebhookEndpoint,
    WebhookTest,
)

_USER_ID = re.compile(r"U[0-9a-f]{32}")
_ALIAS = re.compile(r"[a-z0-9_-]{1,32}")
_LOOPBACK = ("127.0.0.1", "localhost")


class FakeLine:
    """One account: people, menus, links, quota. What it was asked is in `asked`."""

    def __init__(self) -> None:
        self.profiles: dict[str, Profile] = {}
        #: People who blocked the account: no profile, and no menu is linked.
        self.blocked: set[str] = set()
        self.info = BotInfo("U" + "b" * 32, "@216sim00", "ร้านกาแฟแต้มดี")
        self.month = Quota(limit=None, used=0)
        self.endpoint: WebhookEndpoint | None = None
        self.menu_bodies: dict[str, dict[str, Any]] = {}
        self.pictures: dict[str, bytes] = {}
        self.shown_by_default: str | None = None
        self.links: dict[str, str] = {}
        self.alias_targets: dict[str, str] = {}
        self.contents: dict[str, Content] = {}
        self.loading: list[tuple[str, int]] = []
        #: What LINE counted by unit; others are below what it shows.
        self.units: dict[str, dict[str, Any]] = {}
        #: Every call as (name, first argument), refused ones included.
        self.asked: list[tuple[str, Any]] = []
        #: Raised by every call while set.
        self.fault: LineUnavailable | LineRefused | None = None
        self._made = 0

    # What a test says about LINE.

    def add_friend(self, user_id: str, name: str, **more: Any) -> Profile:
        """Somebody who follows the account."""
        self.profiles[user_id] = Profile(user_id, name, **more)
        return self.profiles[user_id]

    def go_down(self) -> None:
        """Answer nothing from now on."""
        self.fault = LineUnavailable("HTTP 500", 500)

    def refuse_token(self) -> None:
        """Answer 401 from now on."""
        self.fault = LineForbidden(401, "Authentication failed")

    def come_back(self) -> None:
        self.fault = None

    # The protocol.

    def profile(self, user_id: str) -> Profile | None:
        self._ask("profile", user_id)
        return None if user_id in self.blocked else self.profiles.get(user_id)

    def bot_info(self) -> BotInfo:
        self._ask("bot_info", None)
        return self.info

    def quota(self) -> Quota:
        self._ask("quota", None)
        return self.month

    def unit_figures(self, unit: str, first_on: date, last_on: date) -> dict[str, Any]:
        self._ask("unit_figures", (unit, first_on, last_on))
        return self.units.get(unit) or {"overview": {"uniqueImpression": None}, "clicks": []}

    def webhook(self) -> WebhookEndpoint | None:
        self._ask("webhook", None)
        return self.endpoint

    def set_webhook(self, url: str) -> None:
        self._ask("set_webhook", url)
        parts = urlsplit(url)
        is_open = parts.scheme == "https" or parts.hostname in _LOOPBACK
        if not parts.hostname or not is_open or len(url) > 500:
            raise LineRefused(400, "Invalid webhook endpoint URL")
        self.endpoint = WebhookEndpoint(url, is_active=True)

    def test_webhook(self, url: str | None = None) -> WebhookTest:
        self._ask("test_webhook", url)
        return WebhookTest(is_success=True, status=200, reason="OK", detail="200")

    def create_menu(self, definition: Mapping[str, Any]) -> str:
        self._ask("create_menu", definition)
        if not 1 <= len(str(definition.get("chatBarText", ""))) <= 14:
            raise _invalid("chatBarText", "Length must be between 1 and 14")
        if len(definition.get("areas", ())) > 20:
            raise _invalid("areas", "Size must be between 0 and 20")
        self._made += 1
        menu_id = f"richmenu-{self._made:032x}"
        self.menu_bodies[menu_id] = dict(definition)
        return menu_id

    def upload_menu_image(
        self, menu_id: str, picture: bytes, content_type: str = "image/png"
    ) -> None:
        self._ask("upload_menu_image", menu_id)
        self._menu(menu_id)
        if menu_id in self.pictures:
            raise LineRefused(400, "An image has already been uploaded to the richmenu")
        self.pictures[menu_id] = picture

    def menus(self) -> list[dict[str, Any]]:
        self._ask("menus", None)
        return [{"richMenuId": key, **body} for key, body in self.menu_bodies.items()]

    def delete_menu(self, menu_id: str) -> None:
        self._ask("delete_menu", menu_id)
        self.menu_bodies.pop(menu_id, None)
        self.pictures.pop(menu_id, None)
        self.links = {user: menu for user, menu in self.links.items() if menu != menu_id}
        if self.shown_by_default == menu_id:
            self.shown_by_default = None

    def set_default_menu(self, menu_id: str | None) -> None:
        self._ask("set_default_menu", menu_id)
        if menu_id is not None:
            self._pictured(menu_id)
        self.shown_by_default = menu_id

    def default_menu(self) -> str | None:
        self._ask("default_menu", None)
        return self.shown_by_default

    def link_menu(self, user_id: str, menu_id: str) -> None:
        self._ask("link_menu", (user_id, menu_id))
        self._pictured(menu_id)
        self._check_user(user_id)
        if user_id in self.profiles and user_id not in self.blocked:
            self.links[user_id] = menu_id

    def link_menus(self, user_ids: Sequence[str], menu_id: str) -> None:
        self._ask("link_menus", (tuple(user_ids), menu_id))
        self._pictured(menu_id)
        for user_id in user_ids:
            if user_id in self.profiles and user_id not in self.blocked:
                self.links[user_id] = menu_id

    def unlink_menu(self, user_id: str) -> None:
        self._ask("unlink_menu", user_id)
        self._check_user(user_id)
        self.links.pop(user_id, None)

    def unlink_menus(self, user_ids: Sequence[str]) -> None:
        self._ask("unlink_menus", tuple(user_ids))
        for user_id in user_ids:
            self.links.pop(user_id, None)

    def linked_menu(self, user_id: str) -> str | None:
        self._ask("linked_menu", user_id)
        return self.links.get(user_id)

    def aliases(self) -> dict[str, str]:
        self._ask("aliases", None)
        return dict(self.alias_targets)

    def set_alias(self, alias: str, menu_id: str) -> None:
        self._ask("set_alias", (alias, menu_id))
        if not _ALIAS.fullmatch(alias):
            raise _invalid("richMenuAliasId", "invalid")
        self._pictured(menu_id)
        self.alias_targets[alias] = menu_id

    def delete_alias(self, alias: str) -> None:
        self._ask("delete_alias", alias)
        self.alias_targets.pop(alias, None)

    def show_loading(self, user_id: str, seconds: int = 20) -> None:
        self._ask("show_loading", user_id)
        self._check_user(user_id)
        if not 5 <= seconds <= 60 or seconds % 5:
            raise _invalid("loadingSeconds", "must be a multiple of 5 between 5 and 60")
        self.loading.append((user_id, seconds))

    def content(self, message_id: str) -> Content | None:
        self._ask("content", message_id)
        return self.contents.get(message_id)

    # Inside.

    def _ask(self, name: str, argument: Any) -> None:
        self.asked.append((name, argument))
        if self.fault is not None:
            raise self.fault

    def _menu(self, menu_id: str) -> dict[str, Any]:
        if menu_id not in self.menu_bodies:
            raise LineNotFound(404, "Not found")
        return self.menu_bodies[menu_id]

    def _pictured(self, menu_id: str) -> None:
        """LINE refuses to show a menu that is gone or has no picture."""
        self._menu(menu_id)
        if menu_id not in self.pictures:
            raise LineRefused(400, "must upload richmenu image before applying it to user")

    def _check_user(self, user_id: str) -> None:
        if not _USER_ID.fullmatch(user_id):
            raise LineRefused(400, "The value for the 'userId' parameter is invalid")


def _invalid(part: str, words: str) -> LineRefused:
    details = [{"message": words, "property": part}]
    return LineRefused(400, "The request body has 1 error(s)", details)
