"""Reply, push, multicast, broadcast, and their validation: what the product's messages meet."""

from __future__ import annotations

import re
from typing import Any

from simulator import identifiers
from simulator.answers import MONTHLY_LIMIT, Call, Endpoints, Refused, Result, Send
from simulator.limits import BROADCAST, MULTICAST, SENDING
from simulator.people import Customer, ReplyToken
from simulator.validation.messages import check_messages, check_messages_cheaply
from simulator.world import World

MULTICAST_LIMIT = 500
INVALID_TO = "The property, 'to', in the request body is invalid (line: -, column: -)"
UNKNOWN_TO = "Failed to send messages"
KEY_ACCEPTED = "The retry key is already accepted"
_UNIT = re.compile(r"[a-zA-Z0-9_]{1,30}\Z")
# Messages that may be quoted get a quote token.
_QUOTABLE = frozenset({"text", "textV2", "sticker", "image", "video", "template", "flex"})


class Messaging:
    def __init__(self, world: World) -> None:
        self._world = world
        is_fast = world.settings.is_fast
        self._check = check_messages_cheaply if is_fast else check_messages

    def register(self, endpoints: Endpoints) -> None:
        for name, handler, rate in (
            ("reply", self.reply, SENDING),
            ("push", self.push, SENDING),
            ("multicast", self.multicast, MULTICAST),
            ("broadcast", self.broadcast, BROADCAST),
        ):
            endpoints.add_send(f"/v2/bot/message/{name}", name, handler, rate)
        for name in ("reply", "push", "multicast", "narrowcast", "broadcast"):
            path = f"/v2/bot/message/validate/{name}"
            endpoints.add("POST", path, f"validate.{name}", self.validate, SENDING, takes_json=True)

    async def validate(self, call: Call) -> Result:
        invalid = check_messages(call.body.get("messages"))
        if invalid is not None:
            raise Refused.invalid(invalid)
        return {}

    def reply(self, call: Send) -> dict[str, Any]:
        """Use up a reply token; free of charge, without a retry key."""
        body = call.body
        messages = self._checked_messages(body)
        token = body.get("replyToken")
        if not isinstance(token, str) or not token:
            raise _invalid("replyToken", "must be specified")
        world = self._world
        known = world.reply_tokens.get(token)
        if known is None and world.settings.accepts_unknown_reply_tokens:
            # Load generators sign their own webhooks; single use still holds.
            known = world.remember_reply_token(token, ReplyToken("", 0.0, float("inf")))
        if known is None or not known.is_valid:
            raise Refused(400, "Invalid reply token")
        known.is_used = True
        sent = self._sent(messages)
        customer = world.people.by_user_id.get(known.user_id)
        reached = self._deliver(customer, messages, sent) if customer else True
        self._accept(
            call,
            "reply",
            [known.user_id],
            messages,
            [known.user_id] if reached else [],
            reply_token=token,
        )
        return {"sentMessages": sent}

    def push(self, call: Send) -> dict[str, Any]:
        self._refuse_known_key(call)
        body = call.body
        to = body.get("to")
        if not isinstance(to, str) or not identifiers.USER_ID.match(to):
            raise Refused(400, INVALID_TO, details=[{"message": "invalid", "property": "to"}])
        messages = self._checked_messages(body)
        units = _checked_units(body)
        world = self._world
        if not world.settings.accepts_unknown_users and not world.people.knows(to):
            raise Refused(400, UNKNOWN_TO)
        self._charge(1)
        sent = self._sent(messages)
        customer = world.people.by_user_id.get(to)
        reached = self._deliver(customer, messages, sent) if customer else True
        self._accept(call, "push", [to], messages, [to] if reached else [], units=units, sent=sent)
        return {"sentMessages": sent}

    def multicast(self, call: Send) -> dict[str, Any]:
        """All or nothing: one malformed id refuses the whole call."""
        self._refuse_known_key(call)
        body = call.body
        to = body.get("to")
        if not isinstance(to, list) or not 1 <= len(to) <= MULTICAST_LIMIT:
            raise _invalid("to", f"Size must be between 1 and {MULTICAST_LIMIT}")
        is_user_id = identifiers.USER_ID.match
        wrong = [
            {"message": "invalid", "property": f"to[{number}]"}
            for number, one in enumerate(to)
            if not isinstance(one, str) or not is_user_id(one)
        ]
        if wrong:
            raise Refused(400, INVALID_TO, details=wrong)
        messages = self._checked_messages(body)
        units = _checked_units(body)
        people = self._world.people
        everyone = list(dict.fromkeys(to))
        if self._world.settings.accepts_unknown_users:
            known = everyone
        else:
            known = [one for one in everyone if people.knows(one)]
            if len(known) < len(everyone) and self._world.faults.is_on("multicast_unknown_400"):
                raise Refused(400, UNKNOWN_TO)
        self._send_to_many(call, "multicast", everyone, known, messages, units)
        return {}

    def broadcast(self, call: Send) -> dict[str, Any]:
        self._refuse_known_key(call)
        messages = self._checked_messages(call.body)
        everyone = self._world.people.friend_ids()
        self._send_to_many(call, "broadcast", everyone, everyone, messages, None)
        return {}

    def _send_to_many(
        self,
        call: Send,
        kind: str,
        to: list[str],
        known: list[str],
        messages: list[Any],
        units: list[str] | None,
    ) -> None:
        self._charge(len(known))
        sent = self._sent(messages)
        by_user_id = self._world.people.by_user_id
        reached = []
        for one in known:
            customer = by_user_id.get(one)
            if customer is None or self._deliver(customer, messages, sent):
                reached.append(one)
        self._accept(call, kind, to, messages, reached, units=units)

    def _checked_messages(self, body: dict[str, Any]) -> list[Any]:
        messages: Any = body.get("messages")
        invalid = self._check(messages)
        if invalid is not None:
            raise Refused.invalid(invalid)
        return list(messages)

    def _refuse_known_key(self, call: Send) -> None:
        """LINE's 409 for a retry key it has accepted in the last 24 hours."""
        if call.retry_key is None:
            return
        found = self._world.retry_keys.find(call.retry_key.lower(), self._world.clock.now())
        if found is None:
            return
        more = {} if found.sent_messages is None else {"sentMessages": found.sent_messages}
        raise Refused(
            409, KEY_ACCEPTED, headers={"x-line-accepted-request-id": found.request_id}, **more
        )

    def _charge(self, recipients: int) -> None:
        """Refuse what the month has no room for; what arrives is counted on acceptance."""
        if not self._world.quota.has_room_for(recipients):
            raise Refused(429, MONTHLY_LIMIT)

    def _sent(self, messages: list[Any]) -> list[dict[str, Any]]:
        sent = []
        for message in messages:
            number = identifiers.message_id()
            one = {"id": number}
            if message["type"] in _QUOTABLE:
                one["quoteToken"] = identifiers.quote_token(number)
            sent.append(one)
        return sent

    def _deliver(self, customer: Customer, messages: list[Any], sent: list[dict[str, Any]]) -> bool:
        """Put the messages into the customer's chat, if they reach it; 200 either way."""
        if not customer.can_receive(self._world.clock.now()):
            return False
        for message, one in zip(messages, sent, strict=True):
            self._world.show(customer, "shop", message, one["id"])
        return True

    def _accept(
        self,
        call: Send,
        kind: str,
        to: list[str],
        messages: list[Any],
        reached: list[str],
        *,
        units: list[str] | None = None,
        sent: list[dict[str, Any]] | None = None,
        reply_token: str | None = None,
    ) -> None:
        """Write the accepted call into the journal, the counts and the retry-key memory."""
        world = self._world
        now = world.clock.now()
        key = call.retry_key
        world.quota.count(kind, reached, units)
        world.journal.accept(
            kind,
            to,
            messages,
            request_id=call.request_id,
            at=now,
            delivered_to=reached,
            retry_key=key,
            reply_token=reply_token,
        )
        if key is not None:
            world.retry_keys.remember(key.lower(), call.request_id, sent, now)


def _invalid(where: str, message: str) -> Refused:
    return Refused(
        400,
        "The request body has 1 error(s)",
        details=[{"message": message, "property": where}],
    )


def _checked_units(body: dict[str, Any]) -> list[str] | None:
    units = body.get("customAggregationUnits")
    if units is None:
        return None
    if not isinstance(units, list) or len(units) != 1:
        raise _invalid("customAggregationUnits", "Size must be between 1 and 1")
    if not isinstance(units[0], str) or _UNIT.match(units[0]) is None:
        raise _invalid("customAggregationUnits[0]", "must match ^[a-zA-Z0-9_]{1,30}$")
    return units
