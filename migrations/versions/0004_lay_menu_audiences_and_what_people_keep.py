"""Lay menu audiences, scheduled menus, and what people of the shop keep

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from migrations import name_search

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _lay_menus()
    _lay_people()
    _lay_messages()
    _lay_lists()


def downgrade() -> None:
    _lift_lists()
    _lift_messages()
    _lift_people()
    _lift_menus()


def _lay_menus() -> None:
    """Rich menus: audiences, schedule, uploads."""
    op.add_column("menus", sa.Column("published_version", sa.Integer(), nullable=True))
    op.add_column("menus", sa.Column("living", sa.String(length=255), nullable=True))
    op.add_column("menus", sa.Column("archived_at", sa.DateTime(timezone=True), nullable=True))
    op.execute(
        "UPDATE menus SET published_version = (SELECT max(version) FROM menu_versions"
        " WHERE menu_id = menus.id AND published_at IS NOT NULL)"
    )
    op.add_column(
        "menu_publications",
        sa.Column("variant", sa.String(length=64), nullable=False, server_default=sa.text("''")),
    )
    op.add_column(
        "menu_links",
        sa.Column("is_check", sa.Boolean(), nullable=False, server_default=sa.false()),
    )
    op.add_column("menu_links", sa.Column("leaving_user_id", sa.String(length=64), nullable=True))
    op.create_table(
        "menu_uploads",
        sa.Column("content_hash", sa.String(length=64), nullable=False),
        sa.Column("picture", sa.LargeBinary(), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("made_by", sa.String(length=64), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("content_hash", name=op.f("pk_menu_uploads")),
    )
    op.create_table(
        "menu_plans",
        sa.Column("id", _id(), autoincrement=True, nullable=False),
        sa.Column("menu_id", _id(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("publish_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ends_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("state", sa.String(length=32), nullable=False),
        sa.Column("before_version", sa.Integer(), nullable=True),
        sa.Column("published_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("made_by", sa.String(length=64), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "ends_at IS NULL OR ends_at > publish_at",
            name=op.f("ck_menu_plans_ends_after_it_begins"),
        ),
        sa.CheckConstraint(
            "state IN ('waiting', 'showing', 'done', 'cancelled', 'missed')",
            name=op.f("ck_menu_plans_plan_state"),
        ),
        sa.ForeignKeyConstraint(
            ["menu_id"], ["menus.id"], name=op.f("fk_menu_plans_menu_id_menus")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_menu_plans")),
    )
    is_open = sa.text("state IN ('waiting', 'showing')")
    op.create_index(
        "uq_menu_plans_open",
        "menu_plans",
        ["menu_id"],
        unique=True,
        postgresql_where=is_open,
        sqlite_where=is_open,
    )
    op.create_table(
        "menu_upkeep",
        sa.Column("id", _id(), autoincrement=True, nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("held_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("problem", sa.String(length=64), nullable=True),
        sa.Column("agreed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("sweep_after_id", _id(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_menu_upkeep")),
    )


def _id() -> sa.types.TypeEngine[int]:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _lift_menus() -> None:
    op.drop_table("menu_upkeep")
    op.drop_table("menu_plans")
    op.drop_table("menu_uploads")
    op.drop_column("menu_links", "leaving_user_id")
    op.drop_column("menu_links", "is_check")
    op.drop_column("menu_publications", "variant")
    op.drop_column("menus", "archived_at")
    op.drop_column("menus", "living")
    op.drop_column("menus", "published_version")


def _lay_people() -> None:
    """Staff, sessions, consents, conversations, retention."""
    big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    purposes = ("membership", "marketing", "birthday")
    op.create_table(
        "consent_texts",
        sa.Column("id", big, autoincrement=True, nullable=False),
        sa.Column("purpose", _closed("purpose", *purposes), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("body_th", sa.String(length=2000), nullable=False),
        sa.Column("body_en", sa.String(length=2000), nullable=False),
        sa.Column("asks_again", sa.Boolean(), nullable=False),
        sa.Column("published_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("published_by", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_consent_texts")),
        sa.UniqueConstraint("purpose", "version", name=op.f("uq_consent_texts_purpose_version")),
    )
    op.create_table(
        "consent_asks",
        sa.Column("member_id", big, nullable=False),
        sa.Column("purpose", _closed("purpose", *purposes), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["member_id"], ["members.id"], name=op.f("fk_consent_asks_member_id_members")
        ),
        sa.PrimaryKeyConstraint("member_id", "purpose", "version", name=op.f("pk_consent_asks")),
    )
    op.create_table(
        "retention_runs",
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("kept_days", sa.Integer(), nullable=False),
        sa.Column("removed", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("day", "kind", name=op.f("pk_retention_runs")),
    )
    op.create_table(
        "looks",
        sa.Column("actor", sa.String(length=64), nullable=False),
        sa.Column("member_id", big, nullable=False),
        sa.Column("what", sa.String(length=64), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("first_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["member_id"], ["members.id"], name=op.f("fk_looks_member_id_members")
        ),
        sa.PrimaryKeyConstraint("actor", "member_id", "what", "day", name=op.f("pk_looks")),
    )
    op.create_index(op.f("ix_looks_first_at"), "looks", ["first_at"])
    op.create_table(
        "recovery_codes",
        sa.Column("id", big, autoincrement=True, nullable=False),
        sa.Column("staff_id", big, nullable=False),
        sa.Column("code_hash", sa.String(length=64), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["staff_id"], ["staff.id"], name=op.f("fk_recovery_codes_staff_id_staff")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_recovery_codes")),
        sa.UniqueConstraint("code_hash", name=op.f("uq_recovery_codes_code_hash")),
    )
    op.create_index(op.f("ix_recovery_codes_staff_id"), "recovery_codes", ["staff_id"])
    op.create_table(
        "conversation_pictures",
        sa.Column("id", big, autoincrement=True, nullable=False),
        sa.Column("line_id", big, nullable=False),
        sa.Column(
            "state", _closed("picture_state", "due", "kept", "failed", "gone"), nullable=False
        ),
        sa.Column("content_sealed", sa.LargeBinary(), nullable=True),
        sa.Column("token_hash", sa.String(length=64), nullable=True),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_try_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["line_id"],
            ["conversation_lines.id"],
            name=op.f("fk_conversation_pictures_line_id_conversation_lines"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_conversation_pictures")),
        sa.UniqueConstraint("line_id", name=op.f("uq_conversation_pictures_line_id")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_conversation_pictures_token_hash")),
    )
    op.create_index(
        "ix_conversation_pictures_due",
        "conversation_pictures",
        ["next_try_at", "id"],
        postgresql_where=sa.text("state = 'due'"),
        sqlite_where=sa.text("state = 'due'"),
    )
    op.create_index("ix_conversation_pictures_made_at", "conversation_pictures", ["made_at"])
    op.create_index(
        "ix_conversation_lines_kept",
        "conversation_lines",
        ["at"],
        postgresql_where=sa.text("text_sealed IS NOT NULL"),
        sqlite_where=sa.text("text_sealed IS NOT NULL"),
    )
    op.add_column(
        "conversations", sa.Column("bot_silent_until", sa.DateTime(timezone=True), nullable=True)
    )

    op.create_table(
        "shop_logos",
        sa.Column("content_hash", sa.String(length=64), nullable=False),
        sa.Column("jpeg", sa.LargeBinary(), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("content_hash", name=op.f("pk_shop_logos")),
    )


def _lift_people() -> None:
    op.drop_table("shop_logos")
    op.drop_column("conversations", "bot_silent_until")
    op.drop_index("ix_conversation_lines_kept", "conversation_lines")
    for table in (
        "conversation_pictures", "recovery_codes", "looks", "consent_asks", "retention_runs",
        "consent_texts",
    ):  # fmt: skip
        op.drop_table(table)


def _closed(name: str, *values: str) -> sa.Enum:
    """A closed set of words, kept as text and checked by the database."""
    return sa.Enum(*values, name=name, native_enum=False, create_constraint=True, length=32)


def _lay_messages() -> None:
    """Journeys, campaigns, segments, results, and the night's figures."""
    with op.batch_alter_table("member_scores") as batch_op:
        batch_op.add_column(sa.Column("last_on", sa.Date(), nullable=True))
        batch_op.add_column(sa.Column("own_gap_days", sa.Double(), nullable=True))


def _lift_messages() -> None:
    with op.batch_alter_table("member_scores") as batch_op:
        batch_op.drop_column("own_gap_days")
        batch_op.drop_column("last_on")


def _lay_lists() -> None:
    """What the console's lists are ordered and searched by."""
    with op.batch_alter_table("imports") as batch_op:
        batch_op.add_column(sa.Column("file_name", sa.String(length=200), nullable=True))
    op.create_table(
        "voucher_gifts",
        sa.Column("id", _id(), autoincrement=True, nullable=False),
        sa.Column("coupon_id", _id(), nullable=False),
        sa.Column("member_id", _id(), nullable=False),
        sa.Column("reason", sa.String(length=255), nullable=False),
        sa.Column("state", _closed("gift_state", "waiting", "done", "refused"), nullable=False),
        sa.Column("staff_id", _id(), nullable=False),
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("decided_by_id", _id(), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("voucher_id", _id(), nullable=True),
        sa.CheckConstraint(
            "decided_by_id IS NULL OR decided_by_id <> staff_id",
            name=op.f("ck_voucher_gifts_second_person"),
        ),
        sa.CheckConstraint(
            "(state = 'done') = (voucher_id IS NOT NULL)",
            name=op.f("ck_voucher_gifts_done_has_voucher"),
        ),
        *(
            sa.ForeignKeyConstraint(
                [column], [f"{table}.id"], name=op.f(f"fk_voucher_gifts_{column}_{table}")
            )
            for column, table in (
                ("coupon_id", "coupons"),
                ("member_id", "members"),
                ("staff_id", "staff"),
                ("decided_by_id", "staff"),
                ("voucher_id", "vouchers"),
            )
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_voucher_gifts")),
        sa.UniqueConstraint("staff_id", "key", name=op.f("uq_voucher_gifts_staff_id_key")),
        sa.UniqueConstraint("voucher_id", name=op.f("uq_voucher_gifts_voucher_id")),
    )
    op.create_index("ix_voucher_gifts_state", "voucher_gifts", ["state", "id"])
    op.create_index(op.f("ix_voucher_gifts_member_id"), "voucher_gifts", ["member_id"])
    op.drop_index("ix_members_joined_at", "members")
    op.create_index("ix_members_joined_at_id", "members", ["joined_at", "id"])
    op.create_index("ix_members_name_id", "members", ["name", "id"])
    op.drop_index("ix_member_totals_last_purchase_at", "member_totals")
    for column in ("last_purchase_at", "balance", "spent_satang"):
        name = f"ix_member_totals_{column}_member_id"
        op.create_index(name, "member_totals", [column, "member_id"])
    op.drop_index("ix_purchases_purchased_at", "purchases")
    op.create_index("ix_purchases_purchased_at_id", "purchases", ["purchased_at", "id"])
    name_search.install(op.get_bind())


def _lift_lists() -> None:
    with op.batch_alter_table("imports") as batch_op:
        batch_op.drop_column("file_name")
    op.drop_table("voucher_gifts")
    name_search.remove(op.get_bind())
    op.drop_index("ix_purchases_purchased_at_id", "purchases")
    op.create_index(
        "ix_purchases_purchased_at", "purchases", ["purchased_at"], postgresql_using="brin"
    )
    for column in ("last_purchase_at", "balance", "spent_satang"):
        op.drop_index(f"ix_member_totals_{column}_member_id", "member_totals")
    op.create_index("ix_member_totals_last_purchase_at", "member_totals", ["last_purchase_at"])
    op.drop_index("ix_members_name_id", "members")
    op.drop_index("ix_members_joined_at_id", "members")
    op.create_index("ix_members_joined_at", "members", ["joined_at"])
