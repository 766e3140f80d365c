"""LIFF without LINE: the script, the sign-in behind it, and where LIFF links lead."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from aiohttp import web

from simulator.actions import CannotAct, PhoneActions
from simulator.login import claims_of
from simulator.people import Customer
from simulator.settings import SimulatorSettings
from simulator.tokens import ID_TOKEN_SECONDS
from simulator.validation.messages import check_messages
from simulator.validation.problems import LOOPBACK_HOSTS
from simulator.world import World

_HERE = Path(__file__).parent
_CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Headers": "Content-Type, Authorization",
    "Access-Control-Allow-Methods": "GET, POST, OPTIONS",
    "Cache-Control": "no-store",
}
_REAL_LIFF_HOSTS = frozenset({"liff.line.me", "miniapp.line.me"})


class Liff:
    def __init__(self, world: World, actions: PhoneActions) -> None:
        self._world = world
        self._actions = actions

    def register(self, router: web.UrlDispatcher) -> None:
        router.add_get("/liff/sdk.js", self.script)
        router.add_get("/liff/session", self.session)
        router.add_get("/liff/friendship", self.friendship)
        router.add_post("/liff/messages", self.messages)
        router.add_route("OPTIONS", "/liff/{rest:.*}", self.preflight)
        router.add_get("/liff/{liff_id}{rest:.*}", self.door)

    async def script(self, request: web.Request) -> web.StreamResponse:
        text = (_HERE / "liff_sdk.js").read_text("utf-8")
        return web.Response(
            text=text,
            content_type="text/javascript",
            charset="utf-8",
            headers={"Cache-Control": "no-cache", "Access-Control-Allow-Origin": "*"},
        )

    async def preflight(self, request: web.Request) -> web.Response:
        return web.Response(status=204, headers=_CORS)

    async def session(self, request: web.Request) -> web.Response:
        """What init() needs: tokens, profile and context of the customer of this host."""
        world, settings = self._world, self._world.settings
        customer = world.people.customers.get(request.query.get("customer", ""))
        if request.query.get("liffId") != settings.liff_id:
            return _error(400, "INVALID_CONFIG", "The LIFF ID is not one of this channel.")
        if customer is None:
            return _error(401, "UNAUTHORIZED", "No customer opens this page.")
        claims = claims_of(customer, settings.public_url)
        token = world.login_tokens.id_token(claims)
        return web.json_response(
            {
                "idToken": token,
                "decodedIdToken": world.login_tokens.checked_claims(
                    token, settings.login_channel_id, None, None
                ),
                "accessToken": world.login_tokens.issue_user_token(customer.user_id),
                "expiresIn": ID_TOKEN_SECONDS,
                "profile": {
                    "userId": customer.user_id,
                    "displayName": customer.name,
                    "pictureUrl": claims.get("picture"),
                },
                "language": customer.language,
                "isFriend": customer.is_friend,
                "endpointPath": settings.liff_endpoint_path,
            },
            headers=_CORS,
        )

    async def friendship(self, request: web.Request) -> web.Response:
        customer = self._owner(request.headers.get("Authorization", "").removeprefix("Bearer "))
        if customer is None:
            return _error(401, "UNAUTHORIZED", "The access token is invalid.")
        is_friend = customer.is_friend and not customer.is_blocking
        return web.json_response({"friendFlag": is_friend}, headers=_CORS)

    async def messages(self, request: web.Request) -> web.Response:
        """liff.sendMessages(): in the customer's name; templates and Flex make no webhook."""
        try:
            body = await request.json()
            messages = body["messages"]
            customer = self._owner(str(body["accessToken"]))
        except (ValueError, KeyError, TypeError):
            return _error(400, "INVALID_ARGUMENT", "messages and accessToken are needed.")
        if customer is None:
            return _error(401, "UNAUTHORIZED", "The access token is invalid.")
        invalid = check_messages(messages)
        if invalid is not None:
            return _error(400, "INVALID_ARGUMENT", invalid["details"][0]["message"])
        try:
            for message in messages:
                self._actions.say(customer, message)
        except CannotAct as refused:
            return _error(403, "FORBIDDEN", str(refused))
        return web.json_response({}, headers=_CORS)

    async def door(self, request: web.Request) -> web.Response:
        """A LIFF link in a plain browser: choose which customer opens it."""
        world = self._world
        if request.match_info["liff_id"] != world.settings.liff_id:
            return web.Response(status=404, text="404 Not Found")
        rest = request.match_info["rest"]
        extra = rest + (f"?{request.query_string}" if request.query_string else "")
        links = "".join(
            _DOOR_LINK.format(
                url=html.escape(liff_page(world.settings, one, extra)),
                picture=f"/sim/pictures/{one.id}.png",
                name=html.escape(one.name),
            )
            for one in world.people.customers.values()
        )
        page = (_HERE / "liff_door.html").read_text("utf-8")
        page = page.replace("<!-- customers -->", links)
        return web.Response(text=page, content_type="text/html")

    def _owner(self, token: str) -> Customer | None:
        found = self._world.login_tokens.user_of(token)
        return self._world.people.by_user_id.get(found[0]) if found else None


_DOOR_LINK = '<li><a href="{url}"><img src="{picture}" alt=""><span>{name}</span></a></li>'


def _error(status: int, code: str, message: str) -> web.Response:
    return web.json_response({"code": code, "message": message}, status=status, headers=_CORS)


def customer_host(customer: Customer) -> str:
    """Each customer opens pages on a loopback name of its own, so cookies keep apart."""
    return f"{customer.id}.localhost"


def liff_page(settings: SimulatorSettings, customer: Customer, extra: str) -> str:
    """The first redirect of a LIFF link: the endpoint, with everything else in liff.state."""
    parts = urlsplit(settings.taem_url)
    port = f":{parts.port}" if parts.port else ""
    page = f"{parts.scheme}://{customer_host(customer)}{port}{settings.liff_endpoint_path}"
    if extra in {"", "/"}:
        return page
    return f"{page}?liff.state={quote(extra, safe='')}"


def opened(settings: SimulatorSettings, customer: Customer, uri: str) -> dict[str, Any]:
    """What opening a link gives this customer, as the phone page wants it."""
    try:
        parts = urlsplit(uri)
        port = parts.port
    except ValueError:
        raise CannotAct("this link cannot be opened") from None
    if parts.hostname == "line.me":
        return _line_link(parts.path, parts.query)
    extra = _liff_extra(settings, parts)
    if extra is not None:
        return {"url": liff_page(settings, customer, extra)}
    host = parts.hostname or ""
    is_local = host in LOOPBACK_HOSTS or host.endswith(".localhost")
    is_taem = host == urlsplit(settings.taem_url).hostname or is_local
    if is_taem and (port or (443 if parts.scheme == "https" else 80)) == settings.taem_port:
        netloc = customer_host(customer) + (f":{port}" if port else "")
        return {"url": urlunsplit((parts.scheme, netloc, parts.path, parts.query, parts.fragment))}
    return {"url": uri}


def _liff_extra(settings: SimulatorSettings, parts: Any) -> str | None:
    """Path and query after the LIFF id, or None for a link that is no LIFF link of ours."""
    prefix = f"/{settings.liff_id}"
    path = parts.path
    if parts.hostname not in _REAL_LIFF_HOSTS:
        here = urlsplit(settings.public_url)
        is_here = parts.port == here.port and (
            parts.hostname == here.hostname or parts.hostname in LOOPBACK_HOSTS
        )
        if not is_here or not path.startswith("/liff/"):
            return None
        path = path.removeprefix("/liff")
    if path != prefix and not path.startswith(f"{prefix}/"):
        return None
    extra = path[len(prefix) :]
    if parts.query:
        extra += f"?{parts.query}"
    if parts.fragment:
        extra += f"#{parts.fragment}"
    return str(extra)


def _line_link(path: str, query: str) -> dict[str, Any]:
    """LINE's own links: a chat with typed text, or adding the account."""
    if path.startswith("/R/oaMessage/"):
        return {"prefill": unquote(query)}
    if path.startswith(("/R/ti/p/", "/ti/p/")):
        return {"addFriend": True}
    raise CannotAct("this link cannot be opened")
