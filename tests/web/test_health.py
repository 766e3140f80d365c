"""Alive, ready, degraded, and figures for a monitor."""

from __future__ import annotations

import dataclasses
from datetime import timedelta

import pytest
from sqlalchemy import text

from core.db import Database
from engagement import outbox
from models.outbox import MessageClass
from models.schedule import Heartbeat
from tests import factories
from tests.moments import NOW


def test_healthz_says_alive(client):
    assert client.get("/healthz").get_json() == {"status": "alive"}


def test_readyz_is_degraded_without_worker_and_scheduler(client):
    answer = client.get("/readyz")
    assert answer.status_code == 200
    assert set(answer.get_json()["degraded"]) == {"worker_silent", "scheduler_silent"}


def test_readyz_is_ready_when_both_have_beaten(client, runtime):
    with runtime.transaction() as session:
        for role in ("worker", "scheduler"):
            session.add(Heartbeat(id=f"{role}:1", role=role, at=NOW - timedelta(seconds=30)))
    assert client.get("/readyz").get_json() == {"status": "ready", "degraded": []}


def test_readyz_says_why_sending_rests(client, runtime):
    with runtime.transaction() as session:
        outbox.pause_sending(session, "token", NOW)
    assert "sending_paused_token" in client.get("/readyz").get_json()["degraded"]


def test_readyz_is_503_on_an_earlier_migration(client, runtime):
    with runtime.transaction() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    answer = client.get("/readyz")
    assert (answer.status_code, answer.get_json()["migrated"]) == (503, False)


def test_readyz_goes_on_beside_the_newer_code_that_has_migrated(client, runtime):
    with runtime.transaction() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    answer = client.get("/readyz")
    assert answer.status_code == 200
    assert "database_newer" in answer.get_json()["degraded"]


@pytest.mark.parametrize(
    "given,is_missing",
    [
        ({"line_channel_access_token": ""}, True),
        ({"line_channel_access_token": "", "line_channel_id": "1650000001"}, False),
    ],
)
def test_readyz_says_when_there_is_no_token_for_line(app, runtime, given, is_missing):
    settings = runtime.settings.model_copy(update=given)
    app.extensions["taem"] = dataclasses.replace(runtime, settings=settings)
    degraded = app.test_client().get("/readyz").get_json()["degraded"]
    assert ("line_token_missing" in degraded) is is_missing


@pytest.fixture
def broken(app, runtime):
    """The product with its database gone."""
    lost = Database("postgresql+psycopg://taem@127.0.0.1:9/taem")
    app.extensions["taem"] = dataclasses.replace(runtime, database=lost)
    yield app.test_client()
    lost.dispose()


def test_without_a_database_everything_answers_503_and_lives(broken):
    assert broken.get("/healthz").status_code == 200
    ready = broken.get("/readyz")
    assert (ready.status_code, ready.get_json()["database"]) == (503, False)
    broken.set_cookie("taem_staff", "x")
    page = broken.get("/admin")
    assert (page.status_code, page.headers["Retry-After"]) == (503, "5")


def test_metrics_stay_up_without_a_database(broken):
    assert broken.get("/metrics").status_code == 200


def test_metrics_tell_queues_in_prometheus_text(client, runtime):
    with runtime.transaction() as session:
        member = factories.somchai(session)
        message = [{"type": "text", "text": "x"}]
        outbox.queue(
            session, key="k", member=member, klass=MessageClass.TRANSACTIONAL, kind="x.y",
            messages=message, now=NOW,
        )  # fmt: skip
    answer = client.get("/metrics")
    assert answer.mimetype == "text/plain"
    assert 'queue="outbox"} 1.0' in answer.text
    assert 'queue="inbox"} 0.0' in answer.text
