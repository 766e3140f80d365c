"""Intake of LINE's webhooks: bytes, size, signature, durable rows, answer. Nothing else.

No SDK object, no call to anybody and no business rule stands before the 200: LINE waits two
seconds, and an event it was told we have is ours to keep. It is middleware in front of Flask
for the sake of speed; everything it lets through is Flask's.
"""

from __future__ import annotations

import hmac
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from bot.committer import Committer
from bot.events import HANDLED_KINDS, ReadEvent, read_body, read_event
from bot.stores import Row
from core import metrics
from core.db import insert_into

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

PATH = "/callback"
LIMIT_BYTES = 1024 * 1024
#: Base64 of 32 bytes has 44 letters; anything much longer is not looked at.
MAX_SIGNATURE_LENGTH = 64

_STATUS = {
    200: "200 OK",
    400: "400 Bad Request",
    401: "401 Unauthorized",
    413: "413 Content Too Large",
    503: "503 Service Unavailable",
}


class Intake:
    """Takes in webhooks of one channel. Make one per process; it may be made before a fork."""

    def __init__(
        self,
        database_url: str,
        secrets: Iterable[str],
        on_stored: Callable[[], None] = lambda: None,
    ) -> None:
        """`secrets` are the channel secrets in force: two while one replaces the other."""
        self._secrets = [secret.encode() for secret in secrets]
        self.committer = Committer(database_url, on_stored)
        self._counts: Counter[str] = Counter()

    def receive(self, body: bytes, signature: bytes) -> int:
        """The status of the answer; 200 only when every byte is safely stored."""
        if not self.is_genuine(body, signature):
            self._counts["bad_signature"] += 1
            self.committer.note_bad_signature(datetime.now(UTC))
            return 401
        reading = read_body(body)
        if not reading.events and not reading.oddities:
            self._counts["empty"] += 1
            return 200
        rows = [Row(event, reading.destination) for event in reading.events]
        if not self.committer.store(rows, reading.oddities):
            return 503
        for event in reading.events:
            if event.is_ignored:
                kind = event.kind if event.kind in HANDLED_KINDS else "other"
                metrics.events.labels(kind, "ignored").inc()
        if any(event.is_redelivery for event in reading.events):
            self.committer.note_redelivery(datetime.now(UTC))
        if reading.destination and self.committer.bot_user_id not in (None, reading.destination):
            self._counts["unknown_destination"] += 1
            self.committer.note_unknown_destination(datetime.now(UTC))
        return 200

    def is_genuine(self, body: bytes, signature: bytes) -> bool:
        """Whether one of our secrets signed exactly these bytes."""
        if not signature or len(signature) > MAX_SIGNATURE_LENGTH:
            return False
        matches = [
            hmac.compare_digest(b64encode(hmac.digest(secret, body, "sha256")), signature)
            for secret in self._secrets
        ]
        return any(matches)

    def refuse_size(self) -> int:
        """Count a body over the limit."""
        self._counts["too_large"] += 1
        return 413

    @property
    def counts(self) -> dict[str, int]:
        """What came in since the start, by outcome, for metrics."""
        return dict(self._counts + self.committer.counts)

    def close(self) -> None:
        """Store what waits and end the writer; the server's stop hook calls this."""
        self.committer.close()


class IntakeMiddleware:
    """Answers `POST /callback` itself and hands everything else to the application."""

    def __init__(self, app: WSGIApplication, intake: Intake) -> None:
        self._app = app
        self._intake = intake

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ.get("PATH_INFO") != PATH or environ.get("REQUEST_METHOD") != "POST":
            return self._app(environ, start_response)
        status = self._answer(environ)
        metrics.intake.labels(str(status)).inc()
        headers = [("Content-Type", "text/plain"), ("Content-Length", "0")]
        start_response(_STATUS[status], headers)
        return [b""]

    def _answer(self, environ: WSGIEnvironment) -> int:
        try:
            body = read_limited(environ)
        except (OSError, ValueError):
            return 400
        if body is None:
            return self._intake.refuse_size()
        signature = environ.get("HTTP_X_LINE_SIGNATURE", "").encode("latin-1", "replace")
        return self._intake.receive(body, signature)


def read_limited(environ: WSGIEnvironment) -> bytes | None:
    """The body, or None if it is over the limit. Raises ValueError if it was cut short.

    Flask's `get_data()` would hand on the first MiB of a long chunked body as if it were whole.
    """
    stream = environ["wsgi.input"]
    length = environ.get("CONTENT_LENGTH") or ""
    if length:
        if not (length.isascii() and length.isdigit()):
            raise ValueError("not a length")
        if len(length) > 10 or int(length) > LIMIT_BYTES:
            return None
        body = _read(stream, int(length))
        if len(body) < int(length):
            raise ValueError("cut short")
        return body
    is_chunked = "chunked" in environ.get("HTTP_TRANSFER_ENCODING", "").lower()
    if not is_chunked and not environ.get("wsgi.input_terminated"):
        return b""
    body = _read(stream, LIMIT_BYTES + 1)
    return body if len(body) <= LIMIT_BYTES else None


def _read(stream: Any, wanted: int) -> bytes:
    """Up to `wanted` bytes; a single read may bring fewer."""
    parts = []
    while wanted > 0:
        part = stream.read(wanted)
        if not part:
            break
        parts.append(part)
        wanted -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


# Replaying what was set aside


@dataclass(frozen=True)
class Replay:
    """What came of reading quarantined bytes again."""

    stored: int
    still_odd: int


def replay_quarantined(session: Session, quarantined_id: int, now: datetime) -> Replay | None:
    """Read quarantined bytes again with today's reader; None if they are not waiting.

    Events we already have stay as they are. Their reply tokens count from the first receipt.
    """
    from models.inbox import Quarantined, QuarantineState

    kept = session.scalar(
        select(Quarantined)
        .where(Quarantined.id == quarantined_id, Quarantined.state == QuarantineState.OPEN)
        .with_for_update()
    )
    if kept is None:
        return None
    read = read_event if kept.kind == "event" else read_body
    reading = read(kept.content)
    stored = sum(
        _insert(session, event, reading.destination, kept.received_at, now)
        for event in reading.events
    )
    if reading.oddities:
        kept.reason = reading.oddities[0].reason
    else:
        kept.state = QuarantineState.REPLAYED
    return Replay(stored, len(reading.oddities))


def _insert(
    session: Session,
    event: ReadEvent,
    destination: str | None,
    received_at: datetime,
    now: datetime,
) -> int:
    from models.inbox import Event, EventState

    made = session.execute(
        insert_into(session, Event)
        .values(
            webhook_event_id=event.webhook_event_id,
            kind=event.kind,
            line_user_id=event.line_user_id,
            lane=event.lane,
            event_at=event.event_at,
            received_at=received_at,
            is_redelivery=event.is_redelivery,
            destination=destination,
            payload=event.payload,
            state=EventState.IGNORED if event.is_ignored else EventState.PENDING,
            attempts=0,
            next_try_at=now,
            done_at=now if event.is_ignored else None,
        )
        .on_conflict_do_nothing(index_elements=["webhook_event_id"])
        .returning(Event.id)
    )
    return len(made.all())
