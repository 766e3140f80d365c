"""The API of the phone page and of tests: customers, taps, faults, clock, journal."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from simulator import pictures
from simulator.account import picture_url
from simulator.actions import CannotAct, PhoneActions
from simulator.clock import iso
from simulator.faults import NAMED, UnknownFault
from simulator.hub import CLOSING
from simulator.liff import opened
from simulator.login import claims_of
from simulator.people import Customer
from simulator.webhooks import WebhookSender
from simulator.world import World

_HERE = Path(__file__).parent
PING_SECONDS = 15
CLOCK_TIMEOUT_SECONDS = 900
JOURNAL_PAGE = 100_000
NAME_LIMIT = 60


class Page:
    def __init__(self, world: World, webhooks: WebhookSender, actions: PhoneActions) -> None:
        self._world = world
        self._webhooks = webhooks
        self._actions = actions

    def register(self, router: web.UrlDispatcher) -> None:
        get, post = router.add_get, router.add_post
        get("/", self.phone)
        router.add_static("/static", _HERE / "static")
        get("/fonts/sarabun-{weight:400|600|700}.ttf", self.font)
        get("/sim/pictures/{name}.png", self.avatar)
        get("/sim/photos/{number}.png", self.photo)
        get("/sim/richmenus/{menu}/image", self.menu_image)
        get("/sim/state", self.state)
        router.add_route("*", "/sim/elsewhere", self.elsewhere)
        get("/sim/stream", self.stream)
        post("/sim/reset", self.reset)
        post("/sim/clock", self.clock)
        get("/sim/faults", self.fault_list)
        post("/sim/faults", self.switch_faults)
        post("/sim/faults/clear", self.clear_faults)
        get("/sim/journal", self.journal)
        get("/sim/journal/count", self.journal_count)
        get("/sim/journal/recipients", self.journal_recipients)
        post("/sim/journal/clear", self.journal_clear)
        get("/sim/calls", self.calls)
        post("/sim/webhook/redeliver", self.redeliver)
        post("/sim/webhook/raw", self.raw_webhook)
        post("/sim/silent-friends", self.add_silent_friends)
        post("/sim/id-token", self.id_token)
        post("/sim/customers", self.add_customer)
        one = "/sim/customers/{customer}"
        get(one, self.customer)
        router.add_patch(one, self.change_customer)
        for name, handler in (
            ("follow", self.follow),
            ("block", self.block),
            ("unblock", self.unblock),
            ("text", self.text),
            ("sticker", self.sticker),
            ("image", self.image),
            ("location", self.location),
            ("unsend", self.unsend),
            ("postback", self.postback),
            ("richmenuswitch", self.switch_menu),
            ("open", self.open_link),
        ):
            post(f"{one}/{name}", handler)

    # Files.

    async def phone(self, request: web.Request) -> web.StreamResponse:
        path = _HERE / "templates" / "phone.html"
        if not path.exists():
            raise web.HTTPNotFound(text="phone.html is missing")
        return web.FileResponse(path, headers={"Cache-Control": "no-cache"})

    async def font(self, request: web.Request) -> web.StreamResponse:
        path = pictures.font_path(int(request.match_info["weight"]))
        headers = {
            "Cache-Control": "public, max-age=86400",
            "Access-Control-Allow-Origin": "*",
            "Content-Type": "font/ttf",
        }
        return web.FileResponse(path, headers=headers)

    async def avatar(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        customer = self._world.people.customers.get(name)
        if customer is None and name != "shop":
            raise web.HTTPNotFound
        shown = customer.name if customer else self._world.settings.shop_name
        body = await asyncio.to_thread(pictures.avatar, shown)
        headers = {"Cache-Control": "no-cache"}
        return web.Response(body=body, content_type="image/png", headers=headers)

    async def photo(self, request: web.Request) -> web.Response:
        body = self._world.contents.get(request.match_info["number"])
        if body is None:
            raise web.HTTPNotFound
        return web.Response(body=body, content_type="image/png")

    async def menu_image(self, request: web.Request) -> web.Response:
        menu = self._world.menus.menus.get(request.match_info["menu"])
        if menu is None or not menu.picture:
            raise web.HTTPNotFound
        # A picture never changes: LINE has no way to replace it.
        headers = {"Cache-Control": "public, max-age=31536000, immutable"}
        return web.Response(body=menu.picture, content_type=menu.content_type, headers=headers)

    # The whole.

    async def state(self, request: web.Request) -> web.Response:
        world, settings = self._world, self._world.settings
        limit = world.quota.limit
        quota: dict[str, Any] = {"type": "none" if limit is None else "limited"}
        quota |= {"value": limit, "used": world.quota.used}
        return web.json_response(
            {
                "shop": {
                    "name": settings.shop_name,
                    "taemUrl": settings.taem_url,
                    "pictureUrl": "/sim/pictures/shop.png",
                    "links": {
                        "cashier": f"{settings.taem_url}/cashier",
                        "console": f"{settings.taem_url}/admin",
                    },
                },
                "customers": [self._brief(one) for one in world.people.customers.values()],
                "faults": world.faults.values,
                "quota": quota,
                "pendingWebhooks": self._webhooks.pending,
                "undeliveredWebhooks": len(self._webhooks.undelivered),
                "webhookOutcomes": dict(self._webhooks.outcomes),
                "webhookEndpoint": world.webhook_endpoint,
                "clockOffsetSeconds": world.clock.shown_offset_seconds,
                "now": world.shown_now(),
            }
        )

    async def stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"}
        )
        await response.prepare(request)
        queue = self._world.hub.listen()
        try:
            await response.write(b"retry: 1000\n\n")
            while True:
                try:
                    customer, what = await asyncio.wait_for(queue.get(), PING_SECONDS)
                except TimeoutError:
                    await response.write(b": still here\n\n")
                    continue
                if (customer, what) == CLOSING:
                    return response
                notice = json.dumps({"customer": customer, "what": what})
                await response.write(f"data: {notice}\n\n".encode())
        except (ConnectionResetError, asyncio.CancelledError):
            return response
        finally:
            self._world.hub.leave(queue)

    async def reset(self, request: web.Request) -> web.Response:
        """Begin anew: the whole account, or with `keepAccount` what is on the phone alone."""
        keeps_account = bool((await _body(request)).get("keepAccount"))
        self._webhooks.forget()
        self._world.reset(keeps_account=keeps_account)
        return web.json_response({})

    async def clock(self, request: web.Request) -> web.Response:
        """Move the demonstration shop's clock; the chat's times follow it."""
        advance = (await _body(request)).get("advance")
        if not isinstance(advance, int) or isinstance(advance, bool) or advance <= 0:
            return _problem(400, "advance must be whole seconds above 0")
        world = self._world
        # Moved first, so that what the shop sends meanwhile carries the new time.
        world.clock.shown_offset_seconds += advance
        try:
            timeout = aiohttp.ClientTimeout(total=CLOCK_TIMEOUT_SECONDS, connect=3)
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.post(
                    f"{world.settings.taem_url}/demo/clock",
                    json={"advance": advance},
                    allow_redirects=False,
                ) as answer,
            ):
                raw, status = await answer.read(), answer.status
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            world.clock.shown_offset_seconds -= advance
            return _problem(502, f"the shop did not answer: {type(error).__name__}")
        if status >= 300:
            world.clock.shown_offset_seconds -= advance
        world.touch(None, "state")
        try:
            told = json.loads(raw)
        except ValueError:
            return _problem(status if status >= 400 else 502, "the shop's answer is not JSON")
        if isinstance(told, dict) and isinstance(told.get("now"), str):
            # An earlier move may have failed midway, when the shop had gone some of its days.
            world.clock.follow(told["now"])
        return web.json_response(told, status=status)

    # Faults.

    async def fault_list(self, request: web.Request) -> web.Response:
        return web.json_response({"active": self._world.faults.values, "known": NAMED})

    async def switch_faults(self, request: web.Request) -> web.Response:
        world = self._world
        for name, value in (await _body(request)).items():
            try:
                world.faults.switch(name, value)
            except (UnknownFault, ValueError, TypeError) as error:
                return _problem(400, f"unknown fault or value: {error}")
            if name == "time_offset_seconds":
                world.clock.offset_seconds = float(value or 0)
            elif name == "token_revoked":
                if value:
                    world.channel_tokens.revoke_all()
                else:
                    world.channel_tokens.restore()
            elif name == "quota_used":
                world.quota.set_used(int(value or 0))
        world.touch(None, "state")
        return web.json_response(world.faults.values)

    async def clear_faults(self, request: web.Request) -> web.Response:
        self._world.clear_faults()
        self._world.touch(None, "state")
        return web.json_response({})

    # The oracle.

    async def journal(self, request: web.Request) -> web.Response:
        entries = []
        since = request.query.get("since", "0")
        for entry in self._world.journal.since(int(since) if since.isdigit() else 0):
            entries.append(entry)
            if len(entries) >= JOURNAL_PAGE:
                break
        return web.json_response(entries)

    async def journal_count(self, request: web.Request) -> web.Response:
        return web.json_response(self._world.journal.figures())

    async def journal_recipients(self, request: web.Request) -> web.Response:
        return web.json_response(self._world.journal.received())

    async def journal_clear(self, request: web.Request) -> web.Response:
        self._world.journal.clear()
        return web.json_response({})

    async def calls(self, request: web.Request) -> web.Response:
        return web.json_response(list(self._world.journal.calls))

    # Webhooks by hand.

    async def redeliver(self, request: web.Request) -> web.Response:
        what = (await _body(request)).get("what", "last")
        if what == "last":
            count = self._webhooks.redeliver_last()
        elif what == "undelivered":
            count = self._webhooks.redeliver_undelivered()
        else:
            return _problem(400, "what must be last or undelivered")
        return web.json_response({"redelivered": count})

    async def raw_webhook(self, request: web.Request) -> web.Response:
        """Sign and post given events, or a body as it is; tells what the product answered."""
        body = await _body(request)
        if isinstance(body.get("body"), str):
            raw = body["body"].encode("utf-8", "surrogatepass")
        elif isinstance(body.get("events"), list):
            raw = self._webhooks.envelope(body["events"], body.get("destination"))
        else:
            return _problem(400, "events or body must be given")
        outcome = await self._webhooks.send_raw(raw, signature=body.get("signature"))
        return web.json_response(
            {
                "status": outcome.status,
                "reason": outcome.reason,
                "body": outcome.body,
                "seconds": round(outcome.seconds, 4),
            }
        )

    async def elsewhere(self, request: web.Request) -> web.Response:
        """Where the 302 fault leads; nobody should follow, least of all with a token."""
        self._world.journal.calls.append(
            {
                "endpoint": "elsewhere",
                "method": request.method,
                "path": request.path_qs,
                "status": 200,
                "hasToken": "Authorization" in request.headers,
                "at": self._world.clock.now(),
            }
        )
        return web.json_response({"sentMessages": [{"id": "1"}]})

    async def add_silent_friends(self, request: web.Request) -> web.Response:
        """Friends without a phone: pushes to them are accepted and reach nobody's screen."""
        ids = (await _body(request)).get("userIds")
        if not isinstance(ids, list):
            return _problem(400, "userIds must be a list")
        self._world.people.silent_friends.update(str(one) for one in ids)
        self._world.changed.set()
        return web.json_response({"count": len(self._world.people.silent_friends)})

    async def id_token(self, request: web.Request) -> web.Response:
        """An ID token with any claims: `customer`, `claims` that override, `alg`, `forged`."""
        body = await _body(request)
        customer = self._world.people.customers.get(str(body.get("customer", "c1")))
        if customer is None:
            return _problem(404, "no such customer")
        claims = claims_of(customer, self._world.settings.public_url) | body.get("claims", {})
        algorithm = body.get("alg", "ES256")
        if algorithm not in {"ES256", "HS256"}:
            return _problem(400, "alg must be ES256 or HS256")
        token = self._world.login_tokens.id_token(
            claims, algorithm=algorithm, is_forged=bool(body.get("forged"))
        )
        return web.json_response({"idToken": token})

    # Customers.

    async def add_customer(self, request: web.Request) -> web.Response:
        body = await _body(request)
        customer = self._world.people.add(_name(body), body.get("language"))
        self._world.touch(None, "state")
        return web.json_response(self._brief(customer), status=201)

    async def change_customer(self, request: web.Request) -> web.Response:
        customer, body = self._customer(request), await _body(request)
        customer.name = _name(body) or customer.name
        if body.get("language") in {"th", "en"}:
            customer.language = body["language"]
        if "picture" in body:
            customer.picture = body["picture"]
        self._world.touch(None, "state")
        return web.json_response(self._brief(customer))

    async def customer(self, request: web.Request) -> web.Response:
        """The chat of one customer; reading it clears the unread mark, unless `peek` is set."""
        customer, world = self._customer(request), self._world
        if "peek" not in request.query and customer.unread:
            customer.unread = 0
            world.touch(None, "state")
        is_loading = customer.loading_until > world.clock.now()
        return web.json_response(
            {
                "customer": self._brief(customer),
                "messages": list(customer.chat),
                "richMenu": self._menu_of(customer),
                "loadingUntil": iso(customer.loading_until) if is_loading else None,
            }
        )

    async def follow(self, request: web.Request) -> web.Response:
        return await self._act(request, lambda one, _: self._actions.follow(one))

    async def block(self, request: web.Request) -> web.Response:
        return await self._act(request, lambda one, _: self._actions.block(one))

    async def unblock(self, request: web.Request) -> web.Response:
        return await self._act(request, lambda one, _: self._actions.unblock(one))

    async def text(self, request: web.Request) -> web.Response:
        return await self._act(
            request, lambda one, body: {"id": self._actions.text(one, _needed(body, "text"))}
        )

    async def sticker(self, request: web.Request) -> web.Response:
        return await self._act(
            request,
            lambda one, body: {
                "id": self._actions.sticker(
                    one, str(body.get("packageId", "446")), str(body.get("stickerId", "1988"))
                )
            },
        )

    async def image(self, request: web.Request) -> web.Response:
        return await self._act(request, lambda one, _: {"id": self._actions.image(one)})

    async def location(self, request: web.Request) -> web.Response:
        return await self._act(request, lambda one, body: {"id": self._actions.location(one, body)})

    async def unsend(self, request: web.Request) -> web.Response:
        return await self._act(
            request, lambda one, body: self._actions.unsend(one, _needed(body, "messageId"))
        )

    async def postback(self, request: web.Request) -> web.Response:
        return await self._act(
            request,
            lambda one, body: self._actions.postback(
                one, _needed(body, "data"), body.get("params"), body.get("displayText")
            ),
        )

    async def switch_menu(self, request: web.Request) -> web.Response:
        return await self._act(
            request,
            lambda one, body: {
                "status": self._actions.switch_menu(
                    one, _needed(body, "richMenuAliasId"), str(body.get("data", ""))
                )
            },
        )

    async def open_link(self, request: web.Request) -> web.Response:
        settings = self._world.settings
        return await self._act(
            request, lambda one, body: opened(settings, one, _needed(body, "uri"))
        )

    # Shared steps.

    async def _act(self, request: web.Request, act: Any) -> web.Response:
        customer, body = self._customer(request), await _body(request)
        try:
            result = act(customer, body)
        except CannotAct as refused:
            return _problem(409, str(refused))
        return web.json_response(result if isinstance(result, dict) else {})

    def _customer(self, request: web.Request) -> Customer:
        customer = self._world.people.customers.get(request.match_info["customer"])
        if customer is None:
            raise web.HTTPNotFound(text="no such customer")
        return customer

    def _brief(self, customer: Customer) -> dict[str, Any]:
        return {
            "id": customer.id,
            "userId": customer.user_id,
            "name": customer.name,
            "picture": picture_url(customer, self._world.settings.public_url) or None,
            "language": customer.language,
            "friend": customer.is_friend,
            "blocked": customer.is_blocking,
            "unread": customer.unread,
            "deauthorized": customer.is_deauthorized,
        }

    def _menu_of(self, customer: Customer) -> dict[str, Any] | None:
        menu_id = self._world.menu_shown_to(customer)
        menu = self._world.menus.menus.get(menu_id) if menu_id else None
        if menu is None:
            return None
        return {**menu.described(), "imageUrl": f"/sim/richmenus/{menu.id}/image"}


async def _body(request: web.Request) -> dict[str, Any]:
    """The JSON object of a request; nothing counts as an empty one."""
    raw = await request.read()
    if not raw:
        return {}
    try:
        body = json.loads(raw)
    except ValueError:
        raise web.HTTPBadRequest(text="the body is not JSON") from None
    if not isinstance(body, dict):
        raise web.HTTPBadRequest(text="the body must be a JSON object")
    return body


def _needed(body: dict[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not value:
        raise web.HTTPBadRequest(text=f"{name} is needed")
    return value


def _name(body: dict[str, Any]) -> str | None:
    name = body.get("name")
    return name.strip()[:NAME_LIMIT] or None if isinstance(name, str) else None


def _problem(status: int, message: str) -> web.Response:
    return web.json_response({"error": message}, status=status)
