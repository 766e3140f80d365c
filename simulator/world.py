"""The whole state of the stand-in platform, shared by everything that answers a request."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from simulator import identifiers
from simulator.clock import Clock, iso
from simulator.faults import Faults
from simulator.hub import Hub
from simulator.journal import Journal
from simulator.limits import Limiter
from simulator.people import Customer, People, ReplyToken, chat_line
from simulator.quota import Quota
from simulator.retries import RetryKeys
from simulator.settings import SimulatorSettings
from simulator.shelf import MenuShelf
from simulator.tokens import ChannelTokens, LoginTokens

REPLY_TOKEN_LIMIT = 200_000


@dataclass
class World:
    settings: SimulatorSettings
    clock: Clock = field(default_factory=Clock)
    faults: Faults = field(default_factory=Faults)
    hub: Hub = field(default_factory=Hub)
    retry_keys: RetryKeys = field(default_factory=RetryKeys)
    reply_tokens: dict[str, ReplyToken] = field(default_factory=dict)
    # Customers' pictures by message id, so that the shop can fetch them.
    contents: dict[str, bytes] = field(default_factory=dict)
    webhook_endpoint: str = ""
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        settings = self.settings
        self.people = People(settings.channel_id)
        self.journal = Journal(settings.journal_limit, keeps_messages=not settings.is_fast)
        self.limiter = Limiter(settings)
        self.quota = Quota(settings, self.clock, self.faults)
        self.menus = MenuShelf()
        self.channel_tokens = ChannelTokens(settings, self.clock, self.faults)
        self.login_tokens = LoginTokens(settings, self.clock)
        self.bot_user_id = identifiers.user_id(settings.channel_id, "bot")
        self.webhook_endpoint = f"{settings.taem_url}/callback"
        self.people.seed()
        #: A call that began before the last of them belongs to a world that is gone.
        self.resets = 0

    def reset(self, *, keeps_account: bool = False) -> None:
        """Back to a first start; issued tokens stay valid, as the product may hold them.

        `keeps_account` leaves what a shop that goes on relies on: its menus and who is linked to
        them, its quota, its webhook address, and the time it has moved to.
        """
        self.resets += 1
        links = {one.user_id: one.menu_id for one in self.people.customers.values()}
        self.people.clear()
        self.people.seed()
        self.journal.clear()
        self.retry_keys.clear()
        self.reply_tokens.clear()
        self.contents.clear()
        self.clear_faults()
        if keeps_account:
            for customer in self.people.customers.values():
                customer.menu_id = links.get(customer.user_id)
        else:
            self.menus.clear()
            self.quota.clear()
            self.clock.shown_offset_seconds = 0.0
            self.webhook_endpoint = f"{self.settings.taem_url}/callback"
        self.touch(None, "state")

    def clear_faults(self) -> None:
        self.faults.clear()
        self.clock.offset_seconds = 0.0
        self.channel_tokens.restore()

    def touch(self, customer_id: str | None, what: str) -> None:
        """Something a page shows or the state file holds has changed."""
        self.changed.set()
        self.hub.tell(customer_id, what)

    def shown_now(self) -> str:
        return iso(self.clock.shown_now())

    def new_reply_token(self, user_id: str, event_at: float) -> str:
        token = identifiers.reply_token()
        self.remember_reply_token(token, ReplyToken(user_id, event_at))
        return token

    def remember_reply_token(self, token: str, known: ReplyToken) -> ReplyToken:
        if len(self.reply_tokens) >= REPLY_TOKEN_LIMIT:
            del self.reply_tokens[next(iter(self.reply_tokens))]
        self.reply_tokens[token] = known
        return known

    def show(self, customer: Customer, sender: str, message: dict[str, Any], number: str) -> None:
        """Append one line to a chat and tell the page."""
        customer.chat.append(chat_line(sender, message, self.shown_now(), number))
        if sender == "shop":
            customer.unread += 1
            customer.loading_until = 0.0
        self.touch(customer.id, "message")

    def menu_shown_to(self, customer: Customer) -> str | None:
        """The customer's own menu, else the default one; strangers see only the default."""
        if customer.is_friend and customer.menu_id in self.menus.menus:
            return customer.menu_id
        return self.menus.default_id
