"""What every LINE endpoint has in common: request id, token, rate limit, faults, error shape."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

from aiohttp import web

from simulator.faults import REFUSALS, UNTOUCHED, Plan
from simulator.limits import OTHER, Bucket, Rate
from simulator.retries import RetryKeys
from simulator.world import World

BODY_LIMIT = 2 * 1024 * 1024
RATE_LIMITED = "The API rate limit has been exceeded. Try again later."
MONTHLY_LIMIT = "You have reached your monthly limit."
TOO_LARGE = "Request body exceeds the max size of 2 MB"
NOBODY: frozenset[str] = frozenset()


class Refused(Exception):
    """An answer other than 2xx, in LINE's shape."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        details: list[dict[str, str]] | None = None,
        headers: dict[str, str] | None = None,
        **more: Any,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"message": message, **more}
        if details:
            self.body["details"] = details
        self.headers = headers or {}

    @classmethod
    def invalid(cls, body: dict[str, Any]) -> Refused:
        """A 400 from the validators."""
        return cls(400, body["message"], details=body.get("details"))


class Send:
    """What accepting a message needs to know of its request, and nothing of HTTP."""

    __slots__ = ("body", "request_id", "retry_key")

    def __init__(self, retry_key: str | None) -> None:
        self.request_id = str(uuid4())
        self.retry_key = retry_key
        self.body: dict[str, Any] = {}

    def take(self, raw: bytes, content_type: str) -> None:
        """Read the body, or refuse it in LINE's words."""
        if content_type != "application/json":
            raise Refused(415, "The media type is not supported. Use application/json")
        try:
            body = json.loads(raw)
        except (ValueError, RecursionError):
            raise Refused(400, "The request body could not be parsed as JSON") from None
        if not isinstance(body, dict):
            raise Refused(400, "The request body must be a JSON object")
        self.body = body


class Call(Send):
    """One request to a LINE endpoint."""

    __slots__ = ("_raw", "request", "world_number")

    def __init__(self, request: web.Request, world_number: int) -> None:
        super().__init__(request.headers.get("X-Line-Retry-Key"))
        self.request = request
        self.world_number = world_number
        self._raw: bytes | None = None

    async def read(self) -> bytes:
        if self._raw is None:
            length = self.request.content_length
            if length is not None and length > BODY_LIMIT:
                raise Refused(413, TOO_LARGE)
            try:
                self._raw = await self.request.read()
            except web.HTTPRequestEntityTooLarge:
                raise Refused(413, TOO_LARGE) from None
        return self._raw

    async def load(self) -> dict[str, Any]:
        self.take(await self.read(), self.request.content_type)
        return self.body

    def path(self, name: str) -> str:
        return self.request.match_info[name]

    def needed_query(self, name: str) -> str:
        value = self.request.query.get(name)
        if not value:
            raise Refused(
                400,
                "The request has 1 error(s)",
                details=[{"message": "must be specified", "property": name}],
            )
        return value


# A handler gives the body of a 200, a status with a body, or a finished response.
Result = dict[str, Any] | tuple[int, dict[str, Any]] | web.Response
Handler = Callable[[Call], Awaitable[Result]]
# A handler that waits for nothing: the sends, which the quick door calls directly.
QuickHandler = Callable[[Send], dict[str, Any]]
AiohttpHandler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Endpoints:
    """Registers LINE's endpoints on the application, each wrapped the same way."""

    def __init__(self, world: World, router: web.UrlDispatcher) -> None:
        self._world = world
        self._router = router
        self.sends: dict[str, Endpoint] = {}

    def add_send(self, path: str, name: str, handler: QuickHandler, rate: Rate) -> None:
        """A send; `takes_retry_key` follows from LINE's list, in which reply is missing."""

        async def handle(call: Call) -> Result:
            return handler(call)

        self.sends[path] = Endpoint(
            self._world,
            name,
            handle,
            self._world.limiter.bucket(name, rate),
            takes_retry_key=name != "reply",
            takes_json=True,
            quick_handler=handler,
        )
        self._router.add_route("POST", path, self.sends[path].answer)

    def add(
        self,
        method: str,
        path: str,
        name: str,
        handler: Handler,
        rate: Rate = OTHER,
        *,
        needs_token: bool = True,
        takes_json: bool = False,
    ) -> None:
        """`name` is the group that faults and counts use, with a part after a dot."""
        endpoint = Endpoint(
            self._world,
            name,
            handler,
            self._world.limiter.bucket(name, rate),
            needs_token=needs_token,
            takes_json=takes_json,
        )
        self._router.add_route(method, path, endpoint.answer)


class Endpoint:
    """One endpoint: what is asked before its handler, and how its answer leaves."""

    def __init__(
        self,
        world: World,
        name: str,
        handler: Handler,
        bucket: Bucket | None,
        *,
        needs_token: bool = True,
        takes_retry_key: bool = False,
        takes_json: bool = False,
        quick_handler: QuickHandler | None = None,
    ) -> None:
        self._world = world
        self._name = name
        self._group = name.partition(".")[0]
        self._handler = handler
        self._bucket = bucket
        self._needs_token = needs_token
        self._takes_retry_key = takes_retry_key
        self._takes_json = takes_json
        self._quick_handler = quick_handler
        self._keeps_calls = not world.settings.is_fast

    async def answer(self, request: web.Request) -> web.StreamResponse:
        world = self._world
        call = Call(request, world.resets)
        if world.settings.latency_seconds:
            await asyncio.sleep(world.settings.latency_seconds)
        plan = UNTOUCHED
        try:
            if world.faults.values:
                plan = world.faults.plan(self._group, await self._recipients(call))
                if not await self._survives(plan, call):
                    return self._cut(call)
            if call.world_number != world.resets:
                return self._cut(call)
            response = await self._handled(call)
        except Refused as refused:
            response = _json(refused.status, refused.body, call.request_id)
            response.headers.update(refused.headers)
        if plan is not UNTOUCHED:
            return await self._spoiled(plan, call, response)
        self._count(call, response.status)
        return response

    async def _handled(self, call: Call) -> web.Response:
        self._admit(call.request.headers.get("Authorization"), call.retry_key)
        if self._takes_json:
            await call.load()
        result = await self._handler(call)
        if isinstance(result, web.Response):
            result.headers["x-line-request-id"] = call.request_id
            return result
        status, body = result if isinstance(result, tuple) else (200, result)
        return _json(status, body, call.request_id)

    def _admit(self, authorization: str | None, retry_key: str | None) -> None:
        """Token, rate limit and retry key, in this order."""
        if self._needs_token and not self._world.channel_tokens.accepts(authorization):
            raise Refused(401, REFUSALS["401"][1], headers={"WWW-Authenticate": "Bearer"})
        if self._bucket is not None and not self._bucket.take():
            raise Refused(429, RATE_LIMITED)
        if retry_key is not None:
            if not self._takes_retry_key:
                raise Refused(400, "The 'X-Line-Retry-Key' header is not supported here")
            if not RetryKeys.is_well_formed(retry_key):
                raise Refused(400, "The retry key is invalid")

    def answer_quickly(
        self, authorization: str | None, retry_key: str | None, content_type: str, raw: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        """The same as `answer` for a send while no fault is on: status, headers, body."""
        assert self._quick_handler is not None, "only sends have a quick handler"
        send = Send(retry_key)
        headers = {"x-line-request-id": send.request_id}
        status = 200
        try:
            self._admit(authorization, retry_key)
            if len(raw) > BODY_LIMIT:
                raise Refused(413, TOO_LARGE)
            send.take(raw, content_type)
            body = self._quick_handler(send)
        except Refused as refused:
            status, body = refused.status, refused.body
            headers |= refused.headers
        self._note(status, send, "POST", f"/v2/bot/message/{self._name}")
        return status, headers, json.dumps(body, ensure_ascii=False).encode(errors="replace")

    async def _recipients(self, call: Call) -> frozenset[str]:
        """Whom the call is meant for; a body that cannot be read is refused later, in order."""
        if not self._takes_json:
            return NOBODY
        try:
            return recipients(await call.load())
        except Refused:
            return NOBODY

    async def _survives(self, plan: Plan, call: Call) -> bool:
        """Faults before anything is accepted; False where the connection is to be cut."""
        if plan.hang_seconds:
            await asyncio.sleep(plan.hang_seconds)
            transport = call.request.transport
            if transport is None or transport.is_closing():
                return False
        if plan.is_dropped_before:
            return False
        if plan.refusal:
            status, message = REFUSALS[plan.refusal]
            headers = {}
            if status == 302:
                headers["Location"] = f"{self._world.settings.public_url}/sim/elsewhere"
            retry_after = self._world.faults.retry_after()
            if retry_after is not None and status in {413, 429, 500, 502, 503}:
                headers["Retry-After"] = retry_after
            details = None
            if plan.refusal == "400":
                details = [{"message": "invalid", "property": "messages[0]"}]
            raise Refused(status, message, details=details, headers=headers)
        return True

    async def _spoiled(self, plan: Plan, call: Call, response: web.Response) -> web.StreamResponse:
        """Faults of the answer, after what was accepted was accepted."""
        if plan.hang_after_seconds:
            await asyncio.sleep(plan.hang_after_seconds)
        if plan.is_dropped_after:
            return self._cut(call)
        if plan.mangle and response.status < 300:
            response = self._mangled(plan.mangle, call, response)
        self._count(call, response.status)
        if plan.byte_seconds:
            return await _dripped(call.request, response, plan.byte_seconds)
        return response

    def _mangled(self, how: str, call: Call, response: web.Response) -> web.Response:
        headers = {"x-line-request-id": call.request_id}
        if how == "html200":
            page = "<html><body><h1>It works!</h1></body></html>"
            return web.Response(text=page, content_type="text/html", headers=headers)
        if how == "empty200":
            return web.Response(body=b"", content_type="application/json", headers=headers)
        if how == "cutjson":
            whole = response.body if isinstance(response.body, bytes) else b"{}"
            half = whole[: max(len(whole) // 2, 1)]
            return web.Response(body=half, content_type="application/json", headers=headers)
        answer = _json(500, {"message": REFUSALS["500"][1]}, call.request_id)
        retry_after = self._world.faults.retry_after()
        if retry_after is not None:
            answer.headers["Retry-After"] = retry_after
        return answer

    def _cut(self, call: Call) -> web.Response:
        self._count(call, 0)
        transport = call.request.transport
        if transport is not None:
            transport.abort()
        return web.Response(status=500)

    def _count(self, call: Call, status: int) -> None:
        if call.world_number == self._world.resets:
            self._note(status, call, call.request.method, call.request.path_qs)

    def _note(self, status: int, call: Send, method: str, path: str) -> None:
        journal = self._world.journal
        journal.answers[(self._name, status)] += 1
        if self._keeps_calls:
            journal.calls.append(
                {
                    "endpoint": self._name,
                    "method": method,
                    "path": path,
                    "status": status,
                    "requestId": call.request_id,
                    "retryKey": call.retry_key,
                    "at": self._world.clock.now(),
                }
            )


def recipients(body: dict[str, Any]) -> frozenset[str]:
    """Whom a call is meant for, so that a fault can be aimed at one user."""
    to = body.get("to")
    if isinstance(to, str):
        return frozenset((to,))
    if isinstance(to, list):
        return frozenset(one for one in to if isinstance(one, str))
    return NOBODY


def _json(status: int, body: dict[str, Any], request_id: str) -> web.Response:
    return web.Response(
        status=status,
        body=json.dumps(body, ensure_ascii=False).encode(errors="replace"),
        headers={"Content-Type": "application/json", "x-line-request-id": request_id},
    )


async def _dripped(
    request: web.Request, response: web.Response, byte_seconds: float
) -> web.StreamResponse:
    """The same answer, one byte at a time."""
    body = response.body if isinstance(response.body, bytes) else b""
    slow = web.StreamResponse(status=response.status, headers=response.headers)
    slow.content_length = len(body)
    await slow.prepare(request)
    for position in range(len(body)):
        await asyncio.sleep(byte_seconds)
        await slow.write(body[position : position + 1])
    await slow.write_eof()
    return slow
