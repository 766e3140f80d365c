"""Webhooks as LINE signs them, and a small WSGI client that can also misbehave."""

from __future__ import annotations

import base64
import hashlib
import hmac
import io
import itertools
import json
import time
from typing import Any

from tests.factories import CHANNEL_SECRET, line_id

BOT = "U" + "b" * 32
_ids = itertools.count()


def event_id() -> str:
    """A fresh id in the shape of a ULID."""
    return f"01TEST{next(_ids):08d}{time.monotonic_ns() % 10**12:012d}"


def text_event(text: str = "แต้ม", *, name: str = "สมชาย", **more: Any) -> dict[str, Any]:
    """A text message of a person; `more` overrides parts of the event."""
    event = {
        "type": "message",
        "mode": "active",
        "timestamp": 1_795_330_800_000,
        "source": {"type": "user", "userId": line_id(name)},
        "webhookEventId": event_id(),
        "deliveryContext": {"isRedelivery": False},
        "replyToken": "0f3779fba3b349968c5d07db31eab56f",
        "message": {"type": "text", "id": "468789577898262530", "text": text, "quoteToken": "q3"},
    }
    return event | more


def other_event(kind: str, *, name: str = "สมชาย", **more: Any) -> dict[str, Any]:
    """An event of another type: follow, unfollow, postback, unsend, ..."""
    event = text_event(name=name)
    del event["message"]
    return event | {"type": kind} | more


def body_of(*events: Any, destination: Any = BOT) -> bytes:
    """The body of one webhook request."""
    return json.dumps({"destination": destination, "events": list(events)}).encode()


def sign(body: bytes, secret: str = CHANNEL_SECRET) -> str:
    """LINE's signature over exactly these bytes."""
    return base64.b64encode(hmac.new(secret.encode(), body, hashlib.sha256).digest()).decode()


def environ(body: bytes, signature: str | None = None, **more: Any) -> dict[str, Any]:
    """What a WSGI server would hand over for this request."""
    made: dict[str, Any] = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": "/callback",
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.input": io.BytesIO(body),
        "wsgi.input_terminated": True,
    }
    if signature is not None:
        made["HTTP_X_LINE_SIGNATURE"] = signature
    return made | more
