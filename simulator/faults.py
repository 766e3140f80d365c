"""Faults that can be switched on: which there are, and when one strikes.

A value is `true`, a share between 0 and 1, or an object with any of `status`, `rate`, `seed`,
`after` (let so many calls pass), `count` (strike so often) and `to` (only this user).
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

# Endpoint groups that can be made to answer something else; `any` means all of them.
GROUPS = (
    "any", "reply", "push", "multicast", "broadcast", "validate", "profile", "richmenu",
    "loading", "quota", "token", "content", "account", "insight",
)  # fmt: skip
SENDING_GROUPS = frozenset({"reply", "push", "multicast", "broadcast"})

# What a group can be made to answer: name -> (HTTP status, LINE's words).
REFUSALS: dict[str, tuple[int, str]] = {
    "400": (400, "The request body has 1 error(s)"),
    "401": (
        401,
        (
            "Authentication failed due to the following reason: invalid token. "
            "Confirm that the access token in the authorization header is valid."
        ),
    ),
    "403": (403, "Access to this API is not available for your account"),
    "404": (404, "Not found"),
    "409plain": (409, "Conflict"),
    "410": (410, "Gone"),
    "429rate": (429, "The API rate limit has been exceeded. Try again later."),
    "429month": (429, "You have reached your monthly limit."),
    "500": (500, "Internal server error"),
    "502": (502, "Bad gateway"),
    "503": (503, "Service unavailable"),
    "302": (302, "Found"),
}
# These answer after the call was accepted: only the answer is spoiled.
MANGLED = frozenset({"html200", "empty200", "cutjson"})

# Faults of their own, with what each does. The page shows the names; tests switch them.
NAMED: dict[str, str] = {
    "delivered_then_500": "Sends are delivered, then answered 500",
    "drop_after_delivery": "Sends are delivered, then the connection is cut",
    "drop_before": "Sends are cut before anything is accepted",
    "hang_seconds": "Calls wait this long before they are handled",
    "hang_after_seconds": "Sends are delivered, then wait this long with the answer",
    "slow_bytes": "Seconds between two bytes of every answer",
    "retry_after_header": "Retry-After header put on refusals (seconds)",
    "webhook_duplicate": "Each webhook is posted this many extra times",
    "webhook_reorder": "Webhooks of half a second are posted in random order",
    "webhook_batch": "Webhooks of half a second go out in one POST",
    "webhook_empty_events": "A POST without events precedes each webhook",
    "webhook_standby": "Events are in standby mode, without a reply token",
    "webhook_unknown_type": "An event of an unknown type travels along",
    "webhook_bad_signature": "Webhooks carry a wrong signature",
    "webhook_no_user_id": "Events come without source.userId",
    "webhook_delay_seconds": "Webhooks leave this much later",
    "redelivery_off": "Refused webhooks are not sent again",
    "token_revoked": "Channel access tokens known until now are refused",
    "extra_token": "This channel access token is accepted as well",
    "signing_secret": "Webhooks are signed with this channel secret",
    "profile_404": "Profiles are not found",
    "followers_403": "The list of followers is refused",
    "multicast_unknown_400": "Multicast refuses unknown user ids instead of skipping them",
    "richmenu_image_fail": "Uploading a rich menu picture answers 500",
    "verify_down": "The ID token check answers 503",
    "certs_down": "The key list answers 503",
    "quota_limit": "Messages a month, or none",
    "quota_used": "Messages counted as used this month",
    "clock_ahead": "Seconds that LINE's event times lie ahead",
    "time_offset_seconds": "Seconds that LINE's clock is moved (retry keys, quota month)",
    "latency_seconds": "Every call takes this much longer",
}
# These hold a value rather than an on or off; clearing them puts the default back.
NAMES = frozenset(NAMED) | frozenset(GROUPS)


class UnknownFault(ValueError):
    """A name that is neither a group nor a named fault, or a value that cannot be read."""


@dataclass
class Trigger:
    """Decides, call by call, whether one fault strikes."""

    status: str = ""
    rate: float = 1.0
    seed: int = 1
    after: int = 0
    count: int | None = None
    to: str | None = None
    seen: int = 0
    struck: int = 0
    chance: random.Random = field(default_factory=random.Random)

    def strikes(self, recipients: frozenset[str]) -> bool:
        if self.to is not None and self.to not in recipients:
            return False
        self.seen += 1
        if self.seen <= self.after or (self.count is not None and self.struck >= self.count):
            return False
        if self.rate < 1.0 and self.chance.random() >= self.rate:
            return False
        self.struck += 1
        return True


@dataclass(frozen=True)
class Plan:
    """What happens to one call; nothing, if no fault struck."""

    refusal: str = ""
    mangle: str = ""
    is_dropped_before: bool = False
    is_dropped_after: bool = False
    hang_seconds: float = 0.0
    hang_after_seconds: float = 0.0
    byte_seconds: float = 0.0


UNTOUCHED = Plan()


class Faults:
    """The faults switched on now."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self._triggers: dict[str, Trigger] = {}

    def switch(self, name: str, value: Any) -> None:
        """Switch one fault; false, null, 0 and "" switch it off, except where 0 is a value."""
        if name not in NAMES:
            raise UnknownFault(name)
        self._triggers.pop(name, None)
        if value is None or value is False or value == "":
            # Only here is "off" more than the default: an unverified account refuses by itself.
            if name == "followers_403" and value is False:
                self.values[name] = False
            else:
                self.values.pop(name, None)
            return
        self._triggers[name] = _trigger(name, value)
        self.values[name] = value

    def clear(self) -> None:
        self.values.clear()
        self._triggers.clear()

    def is_on(self, name: str) -> bool:
        return bool(self.values.get(name))

    def number(self, name: str) -> float:
        value = self.values.get(name)
        return float(value) if isinstance(value, int | float) else 0.0

    def strikes(self, name: str, recipients: frozenset[str] = frozenset()) -> bool:
        trigger = self._triggers.get(name)
        return trigger is not None and trigger.strikes(recipients)

    def plan(self, group: str, recipients: frozenset[str]) -> Plan:
        """Ask every fault that concerns this group, the general ones first."""
        if not self._triggers:
            return UNTOUCHED
        refusal = mangle = ""
        for name in ("any", group):
            trigger = self._triggers.get(name)
            if trigger is not None and trigger.strikes(recipients):
                refusal, mangle = ("", trigger.status)
                if trigger.status not in MANGLED:
                    refusal, mangle = mangle, refusal
        is_sending = group in SENDING_GROUPS
        if is_sending and self.strikes("delivered_then_500", recipients):
            mangle = "500"
        return Plan(
            refusal=refusal,
            mangle=mangle,
            is_dropped_before=is_sending and self.strikes("drop_before", recipients),
            is_dropped_after=is_sending and self.strikes("drop_after_delivery", recipients),
            hang_seconds=self.number("hang_seconds") + self.number("latency_seconds"),
            hang_after_seconds=self.number("hang_after_seconds") if is_sending else 0.0,
            byte_seconds=self.number("slow_bytes"),
        )

    def retry_after(self) -> str | None:
        value = self.values.get("retry_after_header")
        return None if value is None else str(3600 if value is True else value)


def _trigger(name: str, value: Any) -> Trigger:
    given = value if isinstance(value, dict) else {}
    if name in GROUPS and not isinstance(value, dict):
        given = {"status": value}
    # A share is only meant where the value is not itself a quantity of seconds or messages.
    is_share = isinstance(value, float) and 0.0 < value < 1.0 and not _is_quantity(name)
    trigger = Trigger(
        status=str(given.get("status", "500")),
        rate=value if is_share else float(given.get("rate", 1.0)),
        seed=int(given.get("seed", 1)),
        after=int(given.get("after", 0)),
        count=None if given.get("count") is None else int(given["count"]),
        to=given.get("to"),
    )
    if name in GROUPS and trigger.status not in REFUSALS and trigger.status not in MANGLED:
        raise UnknownFault(f"{name}: {trigger.status}")
    trigger.chance.seed(trigger.seed)
    return trigger


def _is_quantity(name: str) -> bool:
    return name.endswith(("_seconds", "_bytes", "_ahead", "_limit", "_used", "_header"))
