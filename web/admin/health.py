"""Health: processes, queues, LINE, and what looks wrong."""

from __future__ import annotations

from datetime import timedelta

from flask import render_template
from sqlalchemy import func, select

from engagement import outbox
from loyalty import alarms, audit
from migrations.newest import standing
from models.inbox import Event, EventState, Quarantined, QuarantineState
from models.outbox import ChannelState
from models.schedule import Heartbeat, Occurrence
from web.admin.ground import blueprint
from web.auth import staff_only
from web.ground import db, runtime
from web.health import weak_points

RUNS = 30
#: Audit rows proven on each look; the whole chain is proven at night and on the audit page.
AUDIT_ROWS = 200


@blueprint.get("/health")
@staff_only("health.read")
def health() -> str:
    """Everything an owner should see before a customer tells them."""
    session, held = db(), runtime()
    real = held.clock.real_now()
    beats = session.scalars(
        select(Heartbeat).where(Heartbeat.at > real - timedelta(days=1)).order_by(Heartbeat.id)
    ).all()
    runs = session.scalars(select(Occurrence).order_by(Occurrence.id.desc()).limit(RUNS)).all()
    waiting = session.scalar(
        select(func.count()).select_from(Event).where(Event.state == EventState.PENDING)
    )
    failed = session.scalar(
        select(func.count()).select_from(Event).where(Event.state == EventState.FAILED)
    )
    unreadable = session.scalar(
        select(func.count())
        .select_from(Quarantined)
        .where(Quarantined.state == QuarantineState.OPEN)
    )
    return render_template(
        "admin/health.html",
        weak=weak_points(session, standing(held.database)),
        beats=[(beat, int((real - beat.at).total_seconds())) for beat in beats],
        runs=runs,
        waiting=waiting,
        failed=failed,
        unreadable=unreadable,
        counts=outbox.counts(session),
        channel=session.get(ChannelState, 1),
        now=held.clock.now(),
        is_demo=held.settings.demo,
        is_audit_broken=alarms.is_open(session, alarms.AUDIT)
        or audit.verify(session, newest=AUDIT_ROWS) is not None,
    )
