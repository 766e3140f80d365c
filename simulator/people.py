"""Simulated customers: who they are, whether they are friends, and what stands in their chat."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from simulator import identifiers

CHAT_LIMIT = 300
# A person who is no friend still gets pushes for so long after writing to the shop.
STRANGER_WINDOW_SECONDS = 7 * 86_400

# The customers of a first start: two Thai, one English.
FIRST_CUSTOMERS = (
    ("c1", "สมชาย ใจดี", "th"),
    ("c2", "มาลี รักกาแฟ", "th"),
    ("c3", "Anan Smith", "en"),
)

NOTICES = {
    "followed": ("คุณเพิ่มร้านนี้เป็นเพื่อนแล้ว", "You added this shop as a friend"),
    "blocked": ("คุณบล็อกร้านนี้แล้ว จะไม่ได้รับข้อความอีก", "You blocked this shop and will get no messages"),
    "unblocked": ("คุณเลิกบล็อกร้านนี้แล้ว", "You unblocked this shop"),
    "unsent": ("คุณยกเลิกการส่งข้อความ", "You unsent a message"),
}  # fmt: skip


@dataclass
class Customer:
    id: str
    user_id: str
    name: str
    language: str = "th"
    # None shows the drawn avatar; "" means the customer has no picture.
    picture: str | None = None
    is_friend: bool = False
    is_blocking: bool = False
    unread: int = 0
    menu_id: str | None = None
    wrote_at: float = 0.0
    loading_until: float = 0.0
    is_deauthorized: bool = False
    chat: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=CHAT_LIMIT))

    def can_receive(self, now: float) -> bool:
        if self.is_blocking:
            return False
        return self.is_friend or now - self.wrote_at < STRANGER_WINDOW_SECONDS

    def notice(self, name: str) -> dict[str, Any]:
        thai, english = NOTICES[name]
        return {"type": "text", "text": thai if self.language == "th" else english}


class People:
    """The customers by their short id and by user id, and ids known without a phone."""

    def __init__(self, channel_id: str) -> None:
        self._channel_id = channel_id
        self.customers: dict[str, Customer] = {}
        self.by_user_id: dict[str, Customer] = {}
        # Friends of the account that have no phone on the page, for load and for old history.
        self.silent_friends: set[str] = set()

    def seed(self) -> None:
        for customer_id, name, language in FIRST_CUSTOMERS:
            self._put(Customer(customer_id, self._user_id(customer_id), name, language))

    def add(self, name: str | None, language: str | None) -> Customer:
        number = 1 + max((int(key[1:]) for key in self.customers), default=0)
        customer_id = f"c{number}"
        shown = name or f"ลูกค้า {number}"
        customer = Customer(customer_id, self._user_id(customer_id), shown, language or "th")
        self._put(customer)
        return customer

    def restore(self, customer: Customer) -> None:
        self._put(customer)

    def clear(self) -> None:
        self.customers.clear()
        self.by_user_id.clear()
        self.silent_friends.clear()

    def knows(self, user_id: str) -> bool:
        return user_id in self.by_user_id or user_id in self.silent_friends

    def friend_ids(self) -> list[str]:
        friends = [one.user_id for one in self.customers.values() if one.is_friend]
        return friends + sorted(self.silent_friends)

    def _user_id(self, customer_id: str) -> str:
        return identifiers.user_id(self._channel_id, customer_id)

    def _put(self, customer: Customer) -> None:
        self.customers[customer.id] = customer
        self.by_user_id[customer.user_id] = customer


def chat_line(sender: str, message: dict[str, Any], at: str, message_id: str) -> dict[str, Any]:
    """One line of the chat as the page shows it; `sender` is shop, customer or system."""
    line: dict[str, Any] = {"id": message_id, "from": sender, "at": at, "message": message}
    if sender == "shop" and "sender" in message:
        line["sender"] = message["sender"]
    return line


@dataclass
class ReplyToken:
    """Single use, one minute from each delivery, never later than 20 minutes after the event."""

    user_id: str
    event_at: float
    valid_until: float = 0.0
    is_used: bool = False

    LIFE_SECONDS = 60.0
    EVENT_LIFE_SECONDS = 1200.0

    def delivered(self) -> None:
        """Real elapsed time on purpose: a moved demonstration clock does not age a token."""
        now = time.monotonic()
        if not self.is_used and now - self.event_at < self.EVENT_LIFE_SECONDS:
            self.valid_until = now + self.LIFE_SECONDS

    @property
    def is_valid(self) -> bool:
        return not self.is_used and time.monotonic() < self.valid_until
