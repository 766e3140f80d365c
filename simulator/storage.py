"""Keeps the world in one JSON file, so that a restart continues the same chats and menus.

Pictures lie beside it, one file each, because they are large and never change.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from pathlib import Path
from typing import Any

from simulator.people import CHAT_LIMIT, Customer
from simulator.shelf import Menu
from simulator.world import World

SAVE_DELAY_SECONDS = 0.5
SILENT_FRIENDS_LIMIT = 50_000
RETRY_KEYS_LIMIT = 2_000
_FORMAT = 1


class Storage:
    def __init__(self, world: World, path: Path) -> None:
        self._world = world
        self._path = path
        self._pictures = path.with_name(path.name + ".pictures")
        self._task: asyncio.Task[None] | None = None

    def load(self) -> None:
        """Take over the saved state; a file that cannot be read is set aside, never lost."""
        if not self._path.exists():
            return
        try:
            saved = json.loads(self._path.read_text("utf-8"))
            if saved["format"] != _FORMAT:
                raise ValueError("unknown format")
            self._restore(saved)
        except (ValueError, KeyError, TypeError):
            self._path.replace(self._path.with_name(self._path.name + ".unreadable"))
            self._world.reset()

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._watch())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._write(self._snapshot())

    async def _watch(self) -> None:
        """Write a moment after a change, so that a burst of messages is one write."""
        changed = self._world.changed
        while True:
            await changed.wait()
            await asyncio.sleep(SAVE_DELAY_SECONDS)
            changed.clear()
            snapshot = self._snapshot()
            await asyncio.to_thread(self._write, snapshot)

    def _write(self, snapshot: tuple[str, dict[str, bytes]]) -> None:
        text, pictures = snapshot
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._pictures.mkdir(exist_ok=True)
        for name, body in pictures.items():
            target = self._pictures / name
            if not target.exists():
                _put(target, body)
        _put(self._path, text.encode("utf-8", "replace"))
        for stale in {one.name for one in self._pictures.iterdir()} - pictures.keys():
            (self._pictures / stale).unlink(missing_ok=True)

    def _snapshot(self) -> tuple[str, dict[str, bytes]]:
        world = self._world
        menus = world.menus
        pictures = {menu.id: menu.picture for menu in menus.menus.values() if menu.picture}
        pictures |= {f"photo-{number}": body for number, body in world.contents.items()}
        silent = sorted(world.people.silent_friends)[:SILENT_FRIENDS_LIMIT]
        saved = {
            "format": _FORMAT,
            "taemUrl": world.settings.taem_url,
            "webhookEndpoint": world.webhook_endpoint,
            "shownOffsetSeconds": world.clock.shown_offset_seconds,
            "loginKey": world.login_tokens.private_jwk(),
            "customers": [_customer_out(one) for one in world.people.customers.values()],
            "silentFriends": silent,
            "menus": [
                {"id": menu.id, "body": menu.body, "contentType": menu.content_type}
                for menu in menus.menus.values()
            ],
            "aliases": menus.aliases,
            "defaultMenu": menus.default_id,
            "retryKeys": world.retry_keys.newest(RETRY_KEYS_LIMIT),
            "months": dict(world.quota.months),
            "days": [[kind, day, count] for (kind, day), count in world.quota.days.items()],
        }
        return json.dumps(saved, ensure_ascii=False), pictures

    def _restore(self, saved: dict[str, Any]) -> None:
        world = self._world
        customers = [_customer_in(one) for one in saved["customers"]]
        world.people.clear()
        for customer in customers:
            world.people.restore(customer)
        world.people.silent_friends = set(saved["silentFriends"])
        world.login_tokens.set_key(saved["loginKey"])
        world.clock.shown_offset_seconds = saved["shownOffsetSeconds"]
        for one in saved["menus"]:
            picture = self._picture(one["id"])
            world.menus.menus[one["id"]] = Menu(one["id"], one["body"], picture, one["contentType"])
        world.menus.aliases.update(saved["aliases"])
        world.menus.default_id = saved["defaultMenu"]
        world.retry_keys.restore(saved["retryKeys"])
        world.quota.months.update(saved["months"])
        world.quota.days.update({(kind, day): count for kind, day, count in saved["days"]})
        # An address set for another Taem would send the webhooks astray.
        if saved["taemUrl"] == world.settings.taem_url:
            world.webhook_endpoint = saved["webhookEndpoint"]
        if self._pictures.exists():
            for path in self._pictures.glob("photo-*"):
                world.contents[path.name.removeprefix("photo-")] = path.read_bytes()

    def _picture(self, menu_id: str) -> bytes:
        path = self._pictures / menu_id
        return path.read_bytes() if path.exists() else b""


def _put(path: Path, body: bytes) -> None:
    """Whole or not at all."""
    temporary = path.with_name(path.name + ".new")
    temporary.write_bytes(body)
    temporary.replace(path)


def _customer_out(customer: Customer) -> dict[str, Any]:
    return {
        "id": customer.id,
        "userId": customer.user_id,
        "name": customer.name,
        "language": customer.language,
        "picture": customer.picture,
        "isFriend": customer.is_friend,
        "isBlocking": customer.is_blocking,
        "unread": customer.unread,
        "menuId": customer.menu_id,
        "wroteAt": customer.wrote_at,
        "isDeauthorized": customer.is_deauthorized,
        "chat": list(customer.chat),
    }


def _customer_in(saved: dict[str, Any]) -> Customer:
    return Customer(
        id=saved["id"],
        user_id=saved["userId"],
        name=saved["name"],
        language=saved["language"],
        picture=saved["picture"],
        is_friend=saved["isFriend"],
        is_blocking=saved["isBlocking"],
        unread=saved["unread"],
        menu_id=saved["menuId"],
        wrote_at=saved["wroteAt"],
        is_deauthorized=saved["isDeauthorized"],
        chat=deque(saved["chat"], maxlen=CHAT_LIMIT),
    )
