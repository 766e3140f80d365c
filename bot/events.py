"""Reads signed webhook bodies, strictly: pure functions from bytes to events and oddities.

One odd event never costs its neighbours: it becomes an `Oddity`, the others become
`ReadEvent`s. Nothing here raises on any bytes whatever.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeGuard

#: Events Taem acts on; every other type is kept, and ignored.
HANDLED_KINDS = frozenset({"message", "unsend", "follow", "unfollow", "postback"})
HANDLED_MESSAGES = frozenset({"text", "image", "video", "audio", "file", "location", "sticker"})
MODES = ("active", "standby")
#: Milliseconds of thirteen digits: until the year 2286, far below any column's limit.
MAX_TIMESTAMP_MS = 10**13
MAX_INTEGER_DIGITS = 18
#: The shortest event of LINE's has 240 bytes: no more of them fit into what intake takes.
MAX_EVENTS = 5_000
#: With so many odd events in one body, the body is kept in their stead.
MANY_ODD = 50
#: LINE promises a minute from receipt, and 20 minutes from the event for a redelivered one.
TOKEN_SECONDS = 50
TOKEN_MINUTES_REDELIVERED = 20
#: What old consoles send to try a webhook out: no token of anybody's.
DUMMY_TOKENS = frozenset({"0" * 32, "f" * 32})
#: What is kept of an event of a group, of nobody, or of a chat that another channel holds.
OUTLINE = ("type", "mode", "timestamp", "source", "webhookEventId", "deliveryContext")
_TOKEN = re.compile(r"[!-~]{1,64}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class ReadEvent:
    """One event fit to be stored. `payload` is its own JSON, ASCII only."""

    webhook_event_id: str
    kind: str
    line_user_id: str | None
    event_at: datetime
    is_redelivery: bool
    is_ignored: bool
    payload: bytes

    @property
    def lane(self) -> str:
        """Events of one lane are handled in order."""
        return self.line_user_id or self.webhook_event_id


@dataclass(frozen=True, slots=True)
class Oddity:
    """Bytes that could not be read. `kind` is `body` or `event`."""

    kind: str
    reason: str
    content: bytes

    @property
    def digest(self) -> str:
        """The same bytes are kept once."""
        return hashlib.sha256(self.content).hexdigest()


@dataclass(frozen=True, slots=True)
class Reading:
    """What one body held."""

    destination: str | None = None
    events: list[ReadEvent] = field(default_factory=list)
    oddities: list[Oddity] = field(default_factory=list)


class _Odd(Exception):
    """An event cannot be read; the message is the reason kept with it."""


class _Unwritable:
    """Stands for what JSON may say and nothing can hold: doubled keys, endless integers.

    The encoder refuses it wherever it is, so writing an event back finds it.
    """


def read_body(body: bytes) -> Reading:
    """Every event of a signed webhook body, and what could not be read of it."""
    try:
        parsed = _decode(body.decode("utf-8"))
    except UnicodeDecodeError:
        return _odd_body(body, "body.not_utf8")
    except RecursionError:
        return _odd_body(body, "body.too_deep")
    except ValueError:
        return _odd_body(body, "body.not_json")
    if not isinstance(parsed, dict):
        return _odd_body(body, "body.not_object")
    items = parsed.get("events")
    if not isinstance(items, list):
        return _odd_body(body, "body.no_events")
    if len(items) > MAX_EVENTS:
        return _odd_body(body, "body.too_many")
    destination = parsed.get("destination")
    reading = Reading(destination if _is_token(destination) else None)
    for item in items:
        _read_item(item, reading, body)
        if len(reading.oddities) > MANY_ODD:
            reading.oddities[:] = [Oddity("body", "body.too_odd", body)]
    return reading


def read_event(content: bytes) -> Reading:
    """One quarantined event, read again."""
    return read_body(b'{"events":[' + content + b"]}")


def _read_item(item: Any, reading: Reading, body: bytes) -> None:
    try:
        payload = _encode(item).encode("ascii")
    except (TypeError, ValueError, RecursionError):
        # It cannot be written back as it came, so the bytes themselves are kept: the whole body,
        # whose other events are known by their ids when it is ever replayed.
        if not any(oddity.kind == "body" for oddity in reading.oddities):
            reading.oddities.append(Oddity("body", "event.unwritable", body))
        return
    try:
        reading.events.append(_read_event(item, payload))
    except _Odd as odd:
        reading.oddities.append(Oddity("event", str(odd), payload))


def _read_event(item: Any, payload: bytes) -> ReadEvent:
    if not isinstance(item, dict):
        raise _Odd("event.not_object")
    kind, event_id, mode = item.get("type"), item.get("webhookEventId"), item.get("mode")
    if not _is_token(kind):
        raise _Odd("event.type")
    if not _is_token(event_id):
        raise _Odd("event.id")
    if mode not in MODES:
        raise _Odd("event.mode")
    user_id, is_private = _read_source(item)
    is_known = kind in HANDLED_KINDS and _check_content(kind, item)
    is_ours = is_private and user_id is not None and mode != "standby"
    if not is_ours:
        payload = _outline(item)
    return ReadEvent(
        webhook_event_id=event_id,
        kind=kind,
        line_user_id=user_id,
        event_at=_read_timestamp(item.get("timestamp")),
        is_redelivery=_read_redelivery(item),
        is_ignored=not is_known or not is_ours,
        payload=payload,
    )


def _outline(item: dict[str, Any]) -> bytes:
    """An event without what was said or who else was named: nobody told us, nobody acts on it, and
    neither an unsending nor a leaving could find it again."""
    return _encode({name: item[name] for name in OUTLINE if name in item}).encode("ascii")


def without_words(payload: dict[str, Any]) -> bytes:
    """What is kept of an event once it was handled: which one it was, and its reply token. What was
    typed or picked is kept by whoever made use of it, sealed where it names somebody."""
    kept = {name: payload[name] for name in (*OUTLINE, "replyToken", "unsend") if name in payload}
    if isinstance(message := payload.get("message"), dict):
        kept["message"] = {name: message.get(name) for name in ("type", "id")}
    return _encode(kept).encode("ascii")


def _read_source(item: dict[str, Any]) -> tuple[str | None, bool]:
    """The user id, if there is one, and whether this is a chat with one person."""
    source = item.get("source")
    if source is None:  # account links that failed, delivery receipts
        return None, False
    if not isinstance(source, dict):
        raise _Odd("event.source")
    user_id = source.get("userId")
    if user_id is not None and not _is_token(user_id):
        raise _Odd("event.source")
    return user_id, source.get("type") == "user"


def _read_timestamp(value: Any) -> datetime:
    if type(value) is not int or not 0 <= value < MAX_TIMESTAMP_MS:
        raise _Odd("event.timestamp")
    return _EPOCH + timedelta(milliseconds=value)


def _read_redelivery(item: dict[str, Any]) -> bool:
    context = item.get("deliveryContext")
    return isinstance(context, dict) and context.get("isRedelivery") is True


def _check_content(kind: str, item: dict[str, Any]) -> bool:
    """Whether Taem knows this content. Raises when a known kind lacks what makes it one."""
    if kind == "message":
        message = item.get("message")
        if not isinstance(message, dict) or not isinstance(message.get("type"), str):
            raise _Odd("event.message")
        if message["type"] not in HANDLED_MESSAGES:
            return False
        if not _is_token(message.get("id")):
            raise _Odd("event.message")
        if message["type"] == "text" and not isinstance(message.get("text"), str):
            raise _Odd("event.message")
    elif kind == "postback":
        postback = item.get("postback")
        if not isinstance(postback, dict) or not isinstance(postback.get("data"), str):
            raise _Odd("event.postback")
        if not isinstance(postback.get("params", {}), dict):
            raise _Odd("event.postback")
    elif kind == "unsend":
        unsend = item.get("unsend")
        if not isinstance(unsend, dict) or not _is_token(unsend.get("messageId")):
            raise _Odd("event.unsend")
    return True


def _odd_body(body: bytes, reason: str) -> Reading:
    return Reading(oddities=[Oddity("body", reason, body)])


def _is_token(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and _TOKEN.fullmatch(value) is not None


def _integer(digits: str) -> Any:
    return int(digits) if len(digits) <= MAX_INTEGER_DIGITS else _Unwritable()


def _object(pairs: list[tuple[str, Any]]) -> Any:
    made = dict(pairs)
    return made if len(made) == len(pairs) else _Unwritable()


_decode = json.JSONDecoder(parse_int=_integer, object_pairs_hook=_object).decode
_encode = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode


def usable_token(payload: dict[str, Any], event: Any, real_now: datetime) -> str | None:
    """The reply token, if LINE still takes it (FW09): judged by our receipt and the event's age.

    `event` has `received_at`, `event_at` and `is_redelivery`; `real_now` is by the clock that
    stamped `received_at`.
    """
    token = payload.get("replyToken")
    if not isinstance(token, str) or not token or token in DUMMY_TOKENS:
        return None
    if real_now - event.received_at > timedelta(seconds=TOKEN_SECONDS):
        return None
    too_old = timedelta(minutes=TOKEN_MINUTES_REDELIVERED)
    if event.is_redelivery and real_now - event.event_at > too_old:
        return None
    return token
