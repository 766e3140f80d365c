"""The cast can take the stage on both engines."""

from __future__ import annotations

from config import Settings
from tests import factories


def test_cast_can_be_made(session, vault):
    people = [
        factories.somchai(session, vault=vault),
        factories.malee(session),
        factories.anan(session),
        factories.friend(session),
    ]
    staff = [factories.nok(session), factories.prem(session), factories.make_device(session)]
    assert all(row.id for row in people + staff)


def test_offers_can_be_made(session):
    prize = factories.make_coupon(session, "free_coffee")
    assert factories.make_stamp_program(session, prize=prize).id
    assert factories.make_policy(session).id


def test_environment_gives_a_process_the_same_settings(monkeypatch, tmp_path):
    settings = factories.make_settings(f"sqlite:///{tmp_path}/a.db", port=5123, demo=True)
    for name, value in factories.environment(settings).items():
        monkeypatch.setenv(name, value)
    assert Settings(_env_file=None) == settings
