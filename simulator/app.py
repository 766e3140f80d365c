"""Wires the stand-in platform into one web application."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from uuid import uuid4

from aiohttp import web

from simulator.account import Account
from simulator.actions import PhoneActions
from simulator.answers import Endpoint, Endpoints
from simulator.door import Listener
from simulator.liff import Liff
from simulator.login import Login
from simulator.menus import RichMenus
from simulator.messaging import Messaging
from simulator.page import Page
from simulator.settings import SimulatorSettings
from simulator.storage import Storage
from simulator.webhooks import WebhookSender
from simulator.world import World

WORLD: web.AppKey[World] = web.AppKey("world", World)
SENDS: web.AppKey[dict[str, Endpoint]] = web.AppKey("sends", dict[str, Endpoint])
WEBHOOKS: web.AppKey[WebhookSender] = web.AppKey("webhooks", WebhookSender)
BODY_LIMIT = 64 * 1024 * 1024


def build_app(settings: SimulatorSettings) -> web.Application:
    """The whole simulator; state is loaded from and kept in `settings.state_path` if given."""
    world = World(settings)
    webhooks = WebhookSender(world)
    actions = PhoneActions(world, webhooks)
    app = web.Application(client_max_size=BODY_LIMIT)
    app[WORLD] = world
    app[WEBHOOKS] = webhooks
    endpoints = Endpoints(world, app.router)
    Messaging(world).register(endpoints)
    app[SENDS] = endpoints.sends
    Account(world, webhooks).register(endpoints)
    RichMenus(world).register(endpoints)
    Login(world).register(endpoints)
    Liff(world, actions).register(app.router)
    Page(world, webhooks, actions).register(app.router)
    # Last, so that it answers what nothing else does, in LINE's shape.
    app.router.add_route("*", "/{unknown:(v2|oauth2|user|friendship)/.*}", _unknown)
    app.cleanup_ctx.append(_running(world, webhooks))
    app.on_shutdown.append(_say_goodbye)
    app.on_response_prepare.append(_revalidate)
    return app


def listener(runner: web.AppRunner) -> Listener:
    """What lets connections in, with the quick door in front of what `runner` has set up."""
    assert runner.server is not None, "the runner was set up"
    sends = runner.app[SENDS]
    return Listener(runner.app[WORLD], runner.server, sends)


def _running(
    world: World, webhooks: WebhookSender
) -> Callable[[web.Application], AsyncIterator[None]]:
    async def run(app: web.Application) -> AsyncIterator[None]:
        storage = Storage(world, world.settings.state_path) if world.settings.state_path else None
        await webhooks.start()
        if storage is not None:
            storage.load()
            storage.start()
        yield
        await webhooks.stop()
        if storage is not None:
            await storage.stop()

    return run


async def _revalidate(request: web.Request, response: web.StreamResponse) -> None:
    """Scripts of two versions must not meet in one page after an update."""
    if request.path.startswith("/static/"):
        response.headers.setdefault("Cache-Control", "no-cache")


async def _say_goodbye(app: web.Application) -> None:
    app[WORLD].hub.close()


async def _unknown(request: web.Request) -> web.Response:
    return web.Response(
        status=404,
        body=json.dumps({"message": "Not found"}).encode(),
        headers={"Content-Type": "application/json", "x-line-request-id": str(uuid4())},
    )
