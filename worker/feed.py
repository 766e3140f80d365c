"""The events feed at work: positions, and signed posts to other systems.

Posts go out in order, at least once: the position moves only after a 2xx, and only for whoever
still has the lease. A process killed between the two posts the same events again; receivers know
them by id.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import exists, func, or_, select, update

from config import is_loopback
from core import outgoing
from core.runtime import Runtime
from core.sabotage import is_sabotaged, reach
from loyalty import feed
from models.feed import FeedEvent

TIMEOUT_SECONDS = 5.0
DEADLINE_SECONDS = 10.0
#: Longer than any post may take, so that nobody else begins while one is under way.
LEASE = timedelta(seconds=60)
BATCH = 100
FIRST_PAUSE_SECONDS = 2.0
LONGEST_PAUSE_SECONDS = 3600.0
SIGNATURE = "Taem-Signature"


def place_events(runtime: Runtime) -> int:
    """Give positions to new events; an idle look takes no write lock."""
    with runtime.database.read() as session:
        if not session.scalar(select(exists().where(FeedEvent.position.is_(None)))):
            return 0
    with runtime.database.write() as session:
        return feed.place(session)


@dataclass(frozen=True)
class Claim:
    """A target that is ours until the lease ends, with what to post to it."""

    target_id: int
    url: str
    secret: str
    position: int
    upto: int
    attempts: int
    lease: datetime
    events: Sequence[dict[str, Any]]


def deliver(runtime: Runtime) -> int:
    """Post the next batch of one due target; 0 when none is due."""
    claim = _claim(runtime)
    if claim is None:
        return 0
    kind = None
    if claim.events:
        kind = _post(runtime, claim.url, claim.secret, list(claim.events))
        reach("feed.posted")
    _record(runtime, claim, kind)
    return 1


def allows_local(runtime: Runtime) -> bool:
    """Only an installation that is itself just for trying out may post to its own machine."""
    settings = runtime.settings
    return settings.demo or is_loopback(urlsplit(settings.public_url).hostname or "")


def sign(secret: str, body: bytes, at: datetime) -> str:
    """`t=<unix seconds>,v1=<hex>`: HMAC-SHA256 of `<t>.<raw body>`."""
    stamp = int(at.timestamp())
    made = hmac.new(secret.encode(), f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={stamp},v1={made}"


def test_target(runtime: Runtime, name: str) -> str | None:
    """Post a ping to a target now; the kind of failure, or None."""
    with runtime.database.read() as session:
        target = feed.target_of(session, name)
        secret = runtime.vault.unseal(feed.SECRET_PLACE, target.secret_sealed).decode()
    return _post(runtime, target.url, secret, [])


def _claim(runtime: Runtime) -> Claim | None:
    real = runtime.clock.real_now()
    t = feed.TARGETS
    is_free = or_(t.c.lease_until.is_(None), t.c.lease_until < real)
    if is_sabotaged("feed.lease"):
        is_free = t.c.id.is_not(None)
    highest = select(func.max(feed.FEED.c.position)).scalar_subquery()
    due = (t.c.is_on, t.c.next_try_at <= real, is_free, t.c.position < highest)
    with runtime.database.read() as session:  # an idle sweep takes no write lock
        found = session.scalars(select(t.c.id).where(*due).order_by(t.c.next_try_at)).all()
    for target_id in found:
        lease = real + LEASE
        with runtime.database.write() as session:
            row = session.execute(
                update(t).where(t.c.id == target_id, *due).values(lease_until=lease)
                .returning(t.c.url, t.c.secret_sealed, t.c.kinds, t.c.position, t.c.attempts)
            ).first()  # fmt: skip
            if row is None:  # somebody else was quicker
                continue
            events = feed.after(session, row.position, BATCH)
            wanted = [e for e in events if not row.kinds or e.kind in row.kinds]
            return Claim(
                target_id=target_id,
                url=row.url,
                secret=runtime.vault.unseal(feed.SECRET_PLACE, row.secret_sealed).decode(),
                position=row.position,
                upto=events[-1].position or 0,
                attempts=row.attempts,
                lease=lease,
                events=[feed.as_json(event) for event in wanted],
            )
    return None


def _post(runtime: Runtime, url: str, secret: str, events: list[dict[str, Any]]) -> str | None:
    """Post once; None when it was accepted, else the kind of failure."""
    body = json.dumps({"events": events}, ensure_ascii=False, separators=(",", ":")).encode()
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "Taem-Webhooks/1",
        SIGNATURE: sign(secret, body, runtime.clock.real_now()),
    }
    try:
        status = outgoing.post(
            url,
            body,
            headers,
            allows_local=allows_local(runtime),
            timeout=TIMEOUT_SECONDS,
            deadline=DEADLINE_SECONDS,
        )
    except outgoing.Failed as error:
        return error.kind
    if 200 <= status < 300:
        return None
    return "redirect" if 300 <= status < 400 else f"status_{status}"


def _record(runtime: Runtime, claim: Claim, kind: str | None) -> None:
    """Write what came of it, unless the lease has gone to somebody else meanwhile."""
    real = runtime.clock.real_now()
    t = feed.TARGETS
    if kind is None:
        values: dict[str, Any] = {"position": claim.upto, "attempts": 0, "error": None}
        values |= {"delivered_at": real} if claim.events else {}
    else:
        pause = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** min(claim.attempts, 20))
        later = real + timedelta(seconds=pause * random.uniform(0.5, 1.0))
        values = {"attempts": claim.attempts + 1, "error": kind, "next_try_at": later}
    with runtime.database.write() as session:
        session.execute(
            update(t)
            .where(
                t.c.id == claim.target_id,
                t.c.lease_until == claim.lease,
                t.c.position == claim.position,
            )
            .values(lease_until=None, **values)
        )
