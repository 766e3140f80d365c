"""What a customer does on the phone, as changes of state and as webhooks."""

from __future__ import annotations

import time
from typing import Any

from simulator import identifiers, pictures
from simulator.people import Customer
from simulator.webhooks import WebhookSender
from simulator.world import World

# Where a customer says to be when the page sends no place of its own.
PLACE = {
    "title": "สยามสแควร์",
    "address": "ถนนพระรามที่ 1 แขวงปทุมวัน เขตปทุมวัน กรุงเทพมหานคร 10330",
    "latitude": 13.7447,
    "longitude": 100.5345,
}
CONTENT_LIMIT = 200


class CannotAct(Exception):
    """The phone would not offer this: the shop is blocked, or the link is broken."""


class PhoneActions:
    def __init__(self, world: World, webhooks: WebhookSender) -> None:
        self._world = world
        self._webhooks = webhooks

    # Friendship.

    def follow(self, customer: Customer) -> None:
        if customer.is_blocking:
            self.unblock(customer)
            return
        customer.is_friend = True
        self._notice(customer, "followed")
        self._send(customer, "follow", follow={"isUnblocked": False})

    def block(self, customer: Customer) -> None:
        """The link to a menu of one's own ends with the friendship."""
        customer.is_blocking = True
        customer.is_friend = False
        customer.menu_id = None
        customer.loading_until = 0.0
        self._notice(customer, "blocked")
        self._send(customer, "unfollow", can_reply=False)

    def unblock(self, customer: Customer) -> None:
        customer.is_blocking = False
        customer.is_friend = True
        self._notice(customer, "unblocked")
        self._send(customer, "follow", follow={"isUnblocked": True})

    # Messages.

    def text(self, customer: Customer, text: str) -> str:
        return self._message(customer, {"type": "text", "text": text}, is_quotable=True)

    def sticker(self, customer: Customer, package_id: str, sticker_id: str) -> str:
        content = {
            "type": "sticker",
            "packageId": package_id,
            "stickerId": sticker_id,
            "stickerResourceType": "STATIC",
        }
        return self._message(customer, content, is_quotable=True)

    def location(self, customer: Customer, place: dict[str, Any]) -> str:
        return self._message(customer, {"type": "location", **PLACE, **place})

    def image(self, customer: Customer) -> str:
        number = identifiers.message_id()
        contents = self._world.contents
        if len(contents) >= CONTENT_LIMIT:
            del contents[next(iter(contents))]
        contents[number] = pictures.snapshot(f"{customer.id}{len(contents) % 16}")
        url = f"{self._world.settings.public_url}/sim/photos/{number}.png"
        shown = {"type": "image", "originalContentUrl": url, "previewImageUrl": url}
        content = {"type": "image", "contentProvider": {"type": "line"}}
        return self._message(customer, content, is_quotable=True, shown=shown, number=number)

    def say(self, customer: Customer, message: dict[str, Any]) -> None:
        """A message sent by a LIFF page in the customer's name."""
        kind = message["type"]
        if kind == "text":
            self.text(customer, message["text"])
        elif kind == "sticker":
            self.sticker(customer, message["packageId"], message["stickerId"])
        elif kind == "location":
            place = {name: message[name] for name in PLACE}
            self.location(customer, place)
        elif kind == "image":
            provider = {"type": "external"}
            provider |= {name: message[name] for name in ("originalContentUrl", "previewImageUrl")}
            content = {"type": "image", "contentProvider": provider}
            self._message(customer, content, is_quotable=True, shown=message)
        else:
            # LINE makes no webhook of a template or Flex message sent this way.
            self._check_open(customer)
            self._world.show(customer, "customer", message, identifiers.message_id())

    def unsend(self, customer: Customer, message_id: str) -> None:
        for line in customer.chat:
            if line["id"] == message_id and line["from"] == "customer":
                customer.chat.remove(line)
                self._world.contents.pop(message_id, None)
                self._notice(customer, "unsent")
                unsent = {"messageId": message_id}
                self._send(customer, "unsend", can_reply=False, unsend=unsent)
                return
        raise CannotAct("no such message")

    # Taps.

    def postback(
        self,
        customer: Customer,
        data: str,
        params: dict[str, Any] | None = None,
        display_text: str | None = None,
    ) -> None:
        self._check_open(customer)
        if display_text:
            shown = {"type": "text", "text": display_text}
            self._world.show(customer, "customer", shown, identifiers.message_id())
        content: dict[str, Any] = {"data": data}
        if params:
            content["params"] = params
        self._wrote(customer)
        self._send(customer, "postback", postback=content)

    def switch_menu(self, customer: Customer, alias: str, data: str) -> str:
        """A tab of the rich menu: the new menu becomes a link of the customer's own."""
        self._check_open(customer)
        menus = self._world.menus
        menu_id = menus.aliases.get(alias)
        if menu_id is None:
            params = {"status": "RICHMENU_ALIAS_ID_NOTFOUND"}
        elif menu_id not in menus.menus:
            params = {"status": "RICHMENU_NOTFOUND"}
        else:
            if customer.is_friend:
                customer.menu_id = menu_id
                self._world.touch(customer.id, "menu")
            params = {"newRichMenuAliasId": alias, "status": "SUCCESS"}
        self._send(customer, "postback", postback={"data": data, "params": params})
        return params["status"]

    # Shared steps.

    def _message(
        self,
        customer: Customer,
        content: dict[str, Any],
        *,
        is_quotable: bool = False,
        shown: dict[str, Any] | None = None,
        number: str | None = None,
    ) -> str:
        self._check_open(customer)
        number = number or identifiers.message_id()
        self._world.show(customer, "customer", shown or content, number)
        message = {**content, "id": number}
        if is_quotable:
            message["quoteToken"] = identifiers.quote_token(number)
        message["markAsReadToken"] = self._webhooks.read_token(customer.user_id)
        self._wrote(customer)
        self._send(customer, "message", message=message)
        return number

    @staticmethod
    def _check_open(customer: Customer) -> None:
        if customer.is_blocking:
            raise CannotAct("the customer blocks the shop")

    def _wrote(self, customer: Customer) -> None:
        customer.wrote_at = time.time()

    def _notice(self, customer: Customer, name: str) -> None:
        shown = customer.notice(name)
        self._world.show(customer, "system", shown, identifiers.message_id())
        self._world.touch(customer.id, "menu")
        self._world.touch(None, "state")

    def _send(self, customer: Customer, kind: str, **content: Any) -> None:
        self._webhooks.send(self._webhooks.event(customer, kind, **content))
