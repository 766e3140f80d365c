"""Lay menu audiences, scheduled menus, and what people of the shop keep

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _lay_menus()
    _lay_people()
    _lay_messages()


def downgrade() -> None:
    _lift_messages()
    _lift_people()
    _lift_menus()


def _lay_menus() -> None:
    """Rich menus: audiences, schedule, uploads."""


def _lift_menus() -> None:
    pass


def _lay_people() -> None:
    """Staff, sessions, consents, conversations, retention."""


def _lift_people() -> None:
    pass


def _lay_messages() -> None:
    """Journeys, campaigns, segments, results."""


def _lift_messages() -> None:
    pass
