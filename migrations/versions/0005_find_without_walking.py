"""Find rows in an index that were looked for in whole tables

Revision ID: 0005
Revises: 0004

PostgreSQL builds them beside the running shop. A build that is broken off leaves its index behind,
unusable: whatever has the name goes first, so the migration can be run again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

#: Index, table, columns, condition.
PARTS = (
    ("ix_ledger_entries_reverses_id", "ledger_entries", ["reverses_id"], "reverses_id IS NOT NULL"),
    ("ix_members_merged_into_id", "members", ["merged_into_id"], "merged_into_id IS NOT NULL"),
    ("ix_intents_enrolment_id", "intents", ["enrolment_id"], "enrolment_id IS NOT NULL"),
    ("ix_draw_turns_voucher_id", "draw_turns", ["voucher_id"], "voucher_id IS NOT NULL"),
    ("ix_taps_message_id", "taps", ["message_id"], "message_id IS NOT NULL"),
    ("ix_tickets_conversation_id", "tickets", ["conversation_id"], "conversation_id IS NOT NULL"),
    ("ix_conversations_unread", "conversations", ["id"], "unread_count > 0"),
    (
        "ix_stamp_cards_due",
        "stamp_cards",
        ["expires_at", "id"],
        "state = 'open' AND expires_at IS NOT NULL",
    ),
    ("ix_survey_answers_why", "survey_answers", ["answered_at"], "why_sealed IS NOT NULL"),
    ("ix_tickets_kept", "tickets", ["done_at"], "subject <> ''"),
)
#: What every night deletes, found by its end.
ENDS = (
    ("ix_chat_links_expires_at", "chat_links", "expires_at"),
    ("ix_member_sessions_expires_at", "member_sessions", "expires_at"),
)
#: Rows of a span of days, in tables that grow in the order of this column.
TIMES = (
    ("ix_vouchers_issued_at", "vouchers", "issued_at"),
    ("ix_redemptions_at", "redemptions", "at"),
    ("ix_purchase_returns_at", "purchase_returns", "at"),
)


def upgrade() -> None:
    with _beside_the_shop():
        for name, table, columns, condition in PARTS:
            where = sa.text(condition)
            _create(name, table, columns, postgresql_where=where, sqlite_where=where)
        for name, table, column in ENDS:
            _create(name, table, [column])
        for name, table, column in TIMES:
            _create(name, table, [column], postgresql_using="brin")
        _create(
            "ix_members_test",
            "members",
            ["id"],
            postgresql_where=sa.text("is_test"),
            sqlite_where=sa.text("is_test = 1"),
        )
    _say_when_menus_are_due("is_due = 1")


def downgrade() -> None:
    _say_when_menus_are_due("is_due")
    with _beside_the_shop():
        _drop("ix_members_test", "members")
        for name, table, _ in reversed((*ENDS, *TIMES)):
            _drop(name, table)
        for name, table, _, _ in reversed(PARTS):
            _drop(name, table)


def _is_postgresql() -> bool:
    return op.get_bind().dialect.name == "postgresql"


@contextmanager
def _beside_the_shop() -> Iterator[None]:
    """Outside a transaction on PostgreSQL: an index built inside one keeps all writers waiting."""
    if _is_postgresql():
        with op.get_context().autocommit_block():
            yield
    else:
        yield


def _create(name: str, table: str, columns: list[str], **options: Any) -> None:
    if _is_postgresql():
        _drop(name, table)
        options["postgresql_concurrently"] = True
    op.create_index(name, table, columns, **options)


def _drop(name: str, table: str) -> None:
    if _is_postgresql():
        op.drop_index(name, table, if_exists=True, postgresql_concurrently=True)
    else:
        op.drop_index(name, table)


def _say_when_menus_are_due(condition: str) -> None:
    """SQLite takes an index where a statement repeats its condition, and statements say `= 1`."""
    if not _is_postgresql():
        op.drop_index("ix_menu_links_due", "menu_links")
        op.create_index(
            "ix_menu_links_due", "menu_links", ["next_try_at"], sqlite_where=sa.text(condition)
        )
