"""Is the process alive, can it take traffic, and the figures a monitor wants."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from flask import Blueprint, Flask, Response, jsonify
from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from core import metrics
from engagement.outbox import IS_OPEN
from migrations.newest import Standing, standing
from models.inbox import Event, EventState, Quarantined, QuarantineState
from models.journeys import Intent, IntentState
from models.outbox import Call, CallState, ChannelState
from models.schedule import Heartbeat
from web.ground import runtime

blueprint = Blueprint("health", __name__)
LATE = timedelta(seconds=90)


def register(app: Flask) -> None:
    """Offer the three routes; they open transactions of their own, so as to fail politely."""
    app.extensions["taem_open"] |= {"health.healthz", "health.readyz", "health.figures"}
    app.register_blueprint(blueprint)


@blueprint.get("/healthz")
def healthz() -> Response:
    """200 while the process answers at all."""
    return jsonify(status="alive")


@blueprint.get("/readyz")
def readyz() -> Response:
    """200 when database and migrations are fit for traffic, 503 otherwise.

    A database that a newer Taem has migrated is fit: old code serves beside the new one.
    """
    held = runtime()
    found = standing(held.database)
    if found is Standing.DOWN:
        return _unavailable(database=False)
    if found is Standing.BEHIND:
        return _unavailable(database=True, migrated=False)
    try:
        with held.database.read() as session:
            degraded = weak_points(session, found)
    except SQLAlchemyError:
        return _unavailable(database=False)
    return jsonify(status="degraded" if degraded else "ready", degraded=degraded)


def _unavailable(**why: bool) -> Response:
    response = jsonify(status="unavailable", **why)
    response.status_code = 503
    return response


@blueprint.get("/metrics")
def figures() -> Response:
    """Prometheus text."""
    try:
        with runtime().database.read() as session:
            measure(session)
    except SQLAlchemyError:
        metrics.intake.labels(status="metrics_unavailable").inc()
    return Response(metrics.text(), mimetype="text/plain; version=0.0.4")


def weak_points(session: Session, database: Standing) -> list[str]:
    """What does not stop traffic but should be seen to."""
    held = runtime()
    rows = session.execute(select(Heartbeat.role, func.max(Heartbeat.at)).group_by(Heartbeat.role))
    beats = {row[0]: row[1] for row in rows}
    edge = held.clock.real_now() - LATE
    found = [
        f"{role}_silent"
        for role in ("worker", "scheduler")
        if role not in beats or beats[role] < edge
    ]
    channel = session.get(ChannelState, 1)
    if channel is not None and channel.paused_for:
        found.append(f"sending_paused_{channel.paused_for}")
    if channel is not None and channel.quota_exhausted_at:
        found.append("quota_exhausted")
    if held.settings.sending == "held":
        found.append("sending_held")
    if not held.settings.has_token:
        found.append("line_token_missing")
    if database is Standing.NEWER:
        found.append("database_newer")
    return found


def measure(session: Session) -> None:
    """Read the queues and the quota into their gauges."""
    held = runtime()
    real, now = held.clock.real_now(), held.clock.now()
    rows: dict[str, tuple[int, Any, Any]] = {
        "inbox": (
            *_waiting(session, Event, Event.state == EventState.PENDING, Event.received_at),
            real,
        ),
        "outbox": (
            *_waiting(session, Call, IS_OPEN & (Call.state == CallState.WAITING), Call.next_try_at),
            now,
        ),
        "intents": (
            *_waiting(session, Intent, Intent.state == IntentState.WAITING, Intent.deadline),
            now,
        ),
        "quarantine": (
            *_waiting(
                session,
                Quarantined,
                Quarantined.state == QuarantineState.OPEN,
                Quarantined.received_at,
            ),
            real,
        ),
        "failed_events": (
            *_waiting(session, Event, Event.state == EventState.FAILED, Event.received_at),
            real,
        ),
    }
    for queue, (count, oldest, at) in rows.items():
        metrics.queue_length.labels(queue=queue).set(count)
        age = max(0.0, (at - oldest).total_seconds()) if oldest else 0.0
        metrics.queue_age_seconds.labels(queue=queue).set(age)
    channel = session.get(ChannelState, 1)
    if channel is not None:
        metrics.quota_limit.set(channel.quota_limit or 0)
        metrics.quota_used.set(channel.quota_used or 0)


def _waiting(session: Session, table: Any, where: Any, at: Any) -> tuple[int, Any]:
    row = session.execute(select(func.count(), func.min(at)).select_from(table).where(where)).one()
    return row[0], row[1]
