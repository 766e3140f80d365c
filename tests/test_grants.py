"""The role that Taem runs as does its business and rewrites nothing (AA4, FG12)."""

from __future__ import annotations

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from loyalty import audit, coupons, points, proof, purchases
from migrations import grants
from models.coupons import Obtained
from models.points import Lot
from tests import factories
from tests.moments import BANGKOK, NOW


@pytest.fixture
def engine_kind():
    return "postgresql"


@pytest.fixture
def as_app(session, worker_name):
    """From here on this session is the application's role; rolled back with all it was given."""
    role = f"taem_app_of_{worker_name}"  # roles are the whole server's
    session.execute(text(f"CREATE ROLE {role}"))
    grants.apply(session.connection(), role)
    session.execute(text(f"SET LOCAL ROLE {role}"))
    return session


def day_of_business(session):
    somchai, branch = factories.somchai(session), factories.make_branch(session)
    reward = factories.make_coupon(session, obtained=Obtained.POINTS, price_points=5)
    bought = [
        purchases.record_purchase(
            session, member_id=somchai.id, branch=branch, amount_satang=25_000,
            operation_id=f"b{number}", now=NOW, tz=BANGKOK,
        )
        for number in range(2)
    ]  # fmt: skip
    coupons.buy_reward(session, reward.id, somchai, NOW, BANGKOK)
    purchases.return_purchase(
        session, purchase_public_id=bought[0].purchase.public_id, operation_id="r", now=NOW,
        tz=BANGKOK,
    )  # fmt: skip
    audit.record(session, "cli", "x.y", {}, NOW)
    return somchai


def test_aa4_the_apps_role_does_a_day_of_business(as_app):
    somchai = day_of_business(as_app)
    assert points.balance_of(as_app, somchai.id, NOW).balance == 5
    assert proof.check_all(as_app, NOW) == []
    assert as_app.scalars(select(Lot.remaining).order_by(Lot.id)).all() == [0, 10]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE ledger_entries SET points = points + 1",
        "DELETE FROM ledger_entries",
        "TRUNCATE ledger_entries CASCADE",
        "UPDATE lot_draws SET points = -1",
        "DELETE FROM lot_draws",
        "UPDATE lots SET points = 99",
        "DELETE FROM lots",
        "UPDATE audit_rows SET act = 'x'",
        "DELETE FROM audit_rows",
        "ALTER TABLE ledger_entries DISABLE TRIGGER ALL",
        "DROP TRIGGER ledger_entries_kept ON ledger_entries",
        "UPDATE alembic_version SET version_num = 'x'",
    ],
)
def test_fg12_aa4_the_apps_role_rewrites_nothing(as_app, statement):
    day_of_business(as_app)
    with (
        pytest.raises(DBAPIError, match=r"permission denied|must be owner"),
        as_app.begin_nested(),
    ):
        as_app.execute(text(statement))
