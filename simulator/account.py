"""Profiles, the account itself, quota and counts, the webhook setting, chat courtesies."""

from __future__ import annotations

import re
import secrets
from datetime import date
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

from simulator import identifiers, pictures
from simulator.answers import Call, Endpoints, Refused, Result
from simulator.limits import INSIGHT, LOADING, WEBHOOK_ENDPOINT, WEBHOOK_TEST
from simulator.people import Customer
from simulator.validation.problems import LOOPBACK_HOSTS
from simulator.webhooks import WebhookSender
from simulator.world import World

PRIVATE_BELOW = 20
# How far `to` may lie behind `from`.
UNIT_DAYS = 30
WEBHOOK_URL_LIMIT = 500
FOLLOWERS_DEFAULT, FOLLOWERS_LIMIT = 300, 1000
_DAY = re.compile(r"\d{8}\Z")
# LINE counts sent messages from this day on.
_FIRST_DAY = "20180331"


class Account:
    def __init__(self, world: World, webhooks: WebhookSender) -> None:
        self._world = world
        self._webhooks = webhooks

    def register(self, endpoints: Endpoints) -> None:
        def add(method: str, path: str, name: str, handler: Any, **more: Any) -> None:
            endpoints.add(method, f"/v2/bot{path}", name, handler, **more)

        add("GET", "/profile/{user}", "profile", self.profile)
        add("GET", "/followers/ids", "account.followers", self.followers)
        add("GET", "/info", "account.info", self.info)
        add("POST", "/user/{user}/linkToken", "account.link_token", self.link_token)
        add("GET", "/message/quota", "quota", self.quota)
        add("GET", "/message/quota/consumption", "quota.consumption", self.consumption)
        add("GET", "/message/delivery/{kind}", "quota.delivery", self.delivery)
        add("GET", "/message/aggregation/info", "quota.units", self.unit_count)
        add("GET", "/message/aggregation/list", "quota.unit_list", self.unit_list)
        add(
            "GET", "/insight/message/event/aggregation", "insight.unit", self.unit_figures,
            rate=INSIGHT,
        )  # fmt: skip
        add("GET", "/insight/followers", "insight.followers", self.follower_figures, rate=INSIGHT)
        path = "/channel/webhook/endpoint"
        add("GET", path, "account.webhook_get", self.webhook, rate=WEBHOOK_ENDPOINT)
        add(
            "PUT", path, "account.webhook_set", self.set_webhook,
            rate=WEBHOOK_ENDPOINT, takes_json=True,
        )  # fmt: skip
        add(
            "POST", "/channel/webhook/test", "account.webhook_test", self.test_webhook,
            rate=WEBHOOK_TEST,
        )  # fmt: skip
        add("POST", "/chat/loading/start", "loading", self.loading, rate=LOADING, takes_json=True)
        add("POST", "/chat/markAsRead", "loading.read", self.mark_as_read, takes_json=True)
        add("GET", "/message/{message}/content", "content", self.content)
        add("GET", "/message/{message}/content/preview", "content.preview", self.preview)
        add("GET", "/message/{message}/content/transcoding", "content.state", self.transcoding)

    # People.

    async def profile(self, call: Call) -> Result:
        customer = self._customer(call.path("user"))
        is_hidden = self._world.faults.strikes("profile_404", frozenset({call.path("user")}))
        if customer is None or is_hidden or not customer.can_receive(self._world.clock.now()):
            raise Refused(404, "Not found")
        return profile_of(customer, self._world.settings.public_url)

    async def followers(self, call: Call) -> Result:
        """Verified accounts only; everybody else is refused."""
        settings, faults = self._world.settings, self._world.faults
        is_refused = faults.values.get("followers_403", not settings.is_verified_account)
        if is_refused:
            raise Refused(403, "Access to this API is not available for your account")
        query = call.request.query
        limit = min(_number(query.get("limit"), FOLLOWERS_DEFAULT), FOLLOWERS_LIMIT)
        start = _number(query.get("start"), 0)
        everyone = self._world.people.friend_ids()
        body: dict[str, Any] = {"userIds": everyone[start : start + limit]}
        if start + limit < len(everyone):
            body["next"] = str(start + limit)
        return body

    async def info(self, call: Call) -> Result:
        settings = self._world.settings
        return {
            "userId": self._world.bot_user_id,
            "basicId": "@216sim00",
            "displayName": settings.shop_name,
            "pictureUrl": f"{settings.public_url}/sim/pictures/shop.png",
            "chatMode": "bot",
            "markAsReadMode": "auto",
        }

    async def link_token(self, call: Call) -> Result:
        if self._customer(call.path("user")) is None:
            raise Refused(404, "Not found")
        return {"linkToken": secrets.token_urlsafe(24)}

    # Quota and counts.

    async def quota(self, call: Call) -> Result:
        limit = self._world.quota.limit
        return {"type": "none"} if limit is None else {"type": "limited", "value": limit}

    async def consumption(self, call: Call) -> Result:
        return {"totalUsage": self._world.quota.used}

    async def delivery(self, call: Call) -> Result:
        kind = call.path("kind")
        if kind not in {"reply", "push", "multicast", "broadcast"}:
            raise Refused(404, "Not found")
        day = _day(call, "date")
        if day >= self._world.clock.line_day():
            return {"status": "unready"}
        if day < _FIRST_DAY:
            return {"status": "out_of_service"}
        return {"status": "ready", "success": self._world.quota.days[(kind, day)]}

    async def unit_count(self, call: Call) -> Result:
        return {"numOfCustomAggregationUnits": len(self._world.quota.unit_names())}

    async def unit_list(self, call: Call) -> Result:
        return {"customAggregationUnits": self._world.quota.unit_names()}

    async def unit_figures(self, call: Call) -> Result:
        """Whoever was reached counts as having seen it, each once; nobody's opening of a link is
        counted. Anything of fewer than 20 people stays private."""
        unit = call.needed_query("customAggregationUnit")
        start, end = _day(call, "from"), _day(call, "to")
        if end < start or _days_between(start, end) > UNIT_DAYS:
            raise Refused(400, "The value for the 'to' parameter is invalid")
        reached = self._world.quota.reached_by(unit, start, end)
        people = len(set(reached))
        seen = people if people >= PRIVATE_BELOW else None
        shown = len(reached) if people >= PRIVATE_BELOW else None
        return {
            "overview": {
                "uniqueImpression": seen,
                "uniqueClick": None,
                "uniqueMediaPlayed": None,
                "uniqueMediaPlayed100Percent": None,
            },
            "messages": [{"seq": 1, "impression": shown, "uniqueImpression": seen}],
            "clicks": [],
        }

    async def follower_figures(self, call: Call) -> Result:
        day = _day(call, "date")
        if day >= self._world.clock.line_day():
            return {"status": "unready"}
        people = self._world.people
        friends = len(people.friend_ids())
        blocks = sum(1 for one in people.customers.values() if one.is_blocking)
        return {
            "status": "ready",
            "followers": friends + blocks,
            "targetedReaches": friends,
            "blocks": blocks,
        }

    # Webhook setting.

    async def webhook(self, call: Call) -> Result:
        return {"endpoint": self._world.webhook_endpoint, "active": True}

    async def set_webhook(self, call: Call) -> Result:
        self._world.webhook_endpoint = _webhook_url(call.body.get("endpoint"))
        self._world.touch(None, "state")
        return {}

    async def test_webhook(self, call: Call) -> Result:
        """Send an empty list of events and report how that went."""
        endpoint = self._world.webhook_endpoint
        if call.request.can_read_body:
            body = await call.load()
            if body.get("endpoint"):
                endpoint = _webhook_url(body["endpoint"])
        return await self._webhooks.test(endpoint)

    # Courtesies of the chat.

    async def loading(self, call: Call) -> Result:
        chat, seconds = call.body.get("chatId"), call.body.get("loadingSeconds", 20)
        if not isinstance(chat, str) or not identifiers.USER_ID.match(chat):
            raise Refused(400, "The value for the 'chatId' parameter is invalid")
        is_number = isinstance(seconds, int) and not isinstance(seconds, bool)
        if not is_number or not 5 <= seconds <= 60 or seconds % 5:
            raise Refused(
                400,
                "The request body has 1 error(s)",
                details=[
                    {
                        "message": "must be a multiple of 5 between 5 and 60",
                        "property": "loadingSeconds",
                    }
                ],
            )
        customer = self._customer(chat)
        if customer is not None and customer.can_receive(self._world.clock.now()):
            customer.loading_until = self._world.clock.now() + seconds
            self._world.touch(customer.id, "loading")
        return 202, {}

    async def mark_as_read(self, call: Call) -> Result:
        token = call.body.get("markAsReadToken")
        owner = self._webhooks.reader_of(token) if isinstance(token, str) else None
        if owner is None:
            raise Refused(400, "Invalid mark as read token")
        customer = self._customer(owner)
        if customer is not None:
            for line in customer.chat:
                if line["from"] == "customer":
                    line["isRead"] = True
            self._world.touch(customer.id, "message")
        return {}

    # What customers sent.

    async def content(self, call: Call) -> Result:
        return web.Response(body=self._content(call), content_type="image/png")

    async def preview(self, call: Call) -> Result:
        return web.Response(body=pictures.preview(self._content(call)), content_type="image/png")

    async def transcoding(self, call: Call) -> Result:
        self._content(call)
        return {"status": "succeeded"}

    def _content(self, call: Call) -> bytes:
        body = self._world.contents.get(call.path("message"))
        if body is None:
            raise Refused(404, "Not found")
        return body

    def _customer(self, user_id: str) -> Customer | None:
        return self._world.people.by_user_id.get(user_id)


def profile_of(customer: Customer, public_url: str) -> dict[str, Any]:
    """A profile as LINE gives it: no picture key without a picture."""
    body = {"userId": customer.user_id, "displayName": customer.name}
    picture = picture_url(customer, public_url)
    if picture:
        body["pictureUrl"] = picture
    body["language"] = customer.language
    return body


def picture_url(customer: Customer, public_url: str) -> str:
    if customer.picture is not None:
        return customer.picture
    return f"{public_url}/sim/pictures/{customer.id}.png"


def _webhook_url(value: Any) -> str:
    """An https address (http on loopback) of at most 500 characters."""
    try:
        parts = urlsplit(value) if isinstance(value, str) else urlsplit("")
        host = parts.hostname or ""
    except ValueError:
        parts, host = urlsplit(""), ""
    is_loopback = host in LOOPBACK_HOSTS or host.endswith(".localhost")
    is_open = parts.scheme == "https" or (parts.scheme == "http" and is_loopback)
    if not host or not is_open or len(str(value)) > WEBHOOK_URL_LIMIT:
        raise Refused(400, "Invalid webhook endpoint URL")
    return str(value)


def _day(call: Call, name: str) -> str:
    day = call.needed_query(name)
    if _DAY.match(day) is None:
        raise Refused(400, f"The value for the '{name}' parameter is invalid")
    return day


def _days_between(first: str, last: str) -> int:
    try:
        start, end = date.fromisoformat(first), date.fromisoformat(last)
    except ValueError:
        raise Refused(400, "The value for the 'from' parameter is invalid") from None
    return (end - start).days


def _number(value: str | None, default: int) -> int:
    return int(value) if value and value.isdigit() else default
