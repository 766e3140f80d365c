"""`jobs list` and `jobs run` as an owner types them (contract.md)."""

from __future__ import annotations

import json
from datetime import date

import pytest
from sqlalchemy import func, select

from core.clock import at_local
from engagement import definitions
from loyalty import personal
from models.journeys import Intent
from models.outbox import Call, Message
from models.schedule import Occurrence
from tests import factories
from tests.moments import BANGKOK, NOW

IDS = {
    "lifecycle.thank_you",
    "lifecycle.win_back",
    "lifecycle.nightly",
    "members.birthday",
    "points.expire",
    "points.expiring_notice",
    "vouchers.expire",
    "ledger.check",
    "menus.repair",
}
BIRTHDAY = at_local(date(2026, 12, 5), 9, 0, BANGKOK)


@pytest.fixture
def jobs(app):
    def run(*words):
        return app.test_cli_runner().invoke(args=["jobs", *words])

    return run


@pytest.fixture
def born(runtime, vault):
    """Somchai celebrates on 5 December."""
    with runtime.database.write() as session:
        definitions.ensure(session, NOW)
        somchai = factories.somchai(session, vault=vault)
        day = date(1990, 12, 5)
        somchai.birthday_sealed = personal.seal(
            session, vault, somchai, personal.BIRTHDAY_FIELD, day.isoformat(), NOW
        )
        somchai.birthday_index = personal.birthday_index(vault, day.month, day.day)


def count_of(runtime, model):
    with runtime.database.read() as session:
        return session.scalar(select(func.count()).select_from(model))


def test_lists_the_promised_ids(jobs):
    rows = json.loads(jobs("list", "--json").stdout)
    assert {row["id"] for row in rows} >= IDS
    assert "members.birthday" in jobs("list").stdout


@pytest.mark.parametrize("job_id", sorted(IDS))
def test_every_job_runs_on_an_empty_shop_and_then_is_done_already(jobs, job_id):
    words = ("run", job_id, "--at", "2026-11-22T10:30")
    assert jobs(*words).exit_code == 0
    assert jobs(*words).exit_code == 3


def test_run_at_a_moment_takes_it_for_gate_and_outbox(jobs, runtime, born):
    result = jobs("run", "members.birthday", "--at", "2026-12-05T20:00")
    assert result.exit_code == 0, result.output
    with runtime.database.read() as session:
        [message] = session.scalars(select(Message)).all()
        call = session.get_one(Call, message.call_id)
    at = at_local(date(2026, 12, 5), 20, 0, BANGKOK)
    assert (message.created_at, message.due_at, call.next_try_at) == (at,) * 3


def test_run_understands_a_moment_with_its_offset(jobs, runtime, born):
    jobs("run", "members.birthday", "--at", "2026-12-05T02:00:00+00:00")
    with runtime.database.read() as session:
        [row] = session.scalars(select(Occurrence)).all()
    assert (row.local_on, row.due_at) == (date(2026, 12, 5), BIRTHDAY)


def test_dry_run_says_how_many_and_keeps_nothing(jobs, runtime, born):
    result = jobs("run", "members.birthday", "--at", "2026-12-05T09:00", "--dry-run")
    assert (result.exit_code, "would do" in result.output) == (0, True)
    assert [count_of(runtime, one) for one in (Intent, Message, Occurrence)] == [0, 0, 0]


@pytest.mark.parametrize("words", [("no.such.job",), ("points.expire", "--at", "soon")])
def test_what_is_not_understood_ends_with_2(jobs, words):
    assert jobs("run", *words).exit_code == 2
