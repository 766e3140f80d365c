"""Is the process alive, can it take traffic, and the figures a monitor wants."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from flask import Blueprint, Flask, Response, jsonify
from sqlalchemy import func, select, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from core import metrics
from engagement.outbox import IS_OPEN
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
    """200 when database and migrations are fit for traffic, 503 otherwise."""
    held = runtime()
    try:
        with held.database.read() as session:
            session.execute(text("SELECT 1"))
            is_migrated = held_version(session) == wanted_version()
            degraded = weak_points(session) if is_migrated else []
    except SQLAlchemyError:
        response = jsonify(status="unavailable", database=False)
        response.status_code = 503
        return response
    if not is_migrated:
        response = jsonify(status="unavailable", database=True, migrated=False)
        response.status_code = 503
        return response
    return jsonify(status="degraded" if degraded else "ready", degraded=degraded)


@blueprint.get("/metrics")
def figures() -> Response:
    """Prometheus text."""
    try:
        with runtime().database.read() as session:
            measure(session)
    except SQLAlchemyError:
        metrics.intake.labels(status="metrics_unavailable").inc()
    return Response(metrics.text(), mimetype="text/plain; version=0.0.4")


def held_version(session: Session) -> str | None:
    """The migration this database stands at; None when it was never migrated."""
    try:
        return session.scalar(text("SELECT version_num FROM alembic_version"))
    except SQLAlchemyError:
        return None


def wanted_version() -> str | None:
    """The newest migration this code knows."""
    from migrations.newest import newest_migration

    return newest_migration()


def weak_points(session: Session) -> list[str]:
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
