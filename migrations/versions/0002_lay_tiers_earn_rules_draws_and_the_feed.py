"""Lay tiers, earn rules, draws, imports and the feed

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "draws",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "draft",
                "live",
                "ended",
                name="draw_state",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("name_th", sa.String(length=100), nullable=False),
        sa.Column("name_en", sa.String(length=100), nullable=False),
        sa.Column("starts_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ends_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("turns_per_day", sa.Integer(), nullable=False),
        sa.Column("min_bill_satang", sa.BigInteger(), nullable=False),
        sa.Column("seed_sealed", sa.LargeBinary(), nullable=False),
        sa.Column("seed_hash", sa.String(length=64), nullable=False),
        sa.Column("seed", sa.String(length=64), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("min_bill_satang >= 0", name=op.f("ck_draws_min_bill_not_negative")),
        sa.CheckConstraint("turns_per_day >= 0", name=op.f("ck_draws_turns_per_day")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_draws")),
        sa.UniqueConstraint("key", name=op.f("uq_draws_key")),
    )
    op.create_table(
        "earn_rules",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column(
            "kind",
            sa.Enum(
                "multiplier",
                "bonus",
                name="earn_rule_kind",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("is_on", sa.Boolean(), nullable=False),
        sa.Column("name_th", sa.String(length=100), nullable=False),
        sa.Column("name_en", sa.String(length=100), nullable=False),
        sa.Column("percent", sa.Integer(), nullable=True),
        sa.Column(
            "bonus_points", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True
        ),
        sa.Column(
            "conditions", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False
        ),
        sa.Column("starts_on", sa.Date(), nullable=True),
        sa.Column("ends_on", sa.Date(), nullable=True),
        sa.Column(
            "per_member_cap", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True
        ),
        sa.Column("total_cap", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("given_points", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "kind <> 'bonus' OR bonus_points > 0", name=op.f("ck_earn_rules_bonus_adds")
        ),
        sa.CheckConstraint(
            "kind <> 'multiplier' OR percent > 100", name=op.f("ck_earn_rules_multiplier_adds")
        ),
        sa.CheckConstraint("given_points >= 0", name=op.f("ck_earn_rules_given_not_negative")),
        sa.CheckConstraint(
            "per_member_cap IS NULL OR per_member_cap > 0", name=op.f("ck_earn_rules_member_cap")
        ),
        sa.CheckConstraint(
            "total_cap IS NULL OR given_points <= total_cap", name=op.f("ck_earn_rules_total_cap")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_earn_rules")),
        sa.UniqueConstraint("key", name=op.f("uq_earn_rules_key")),
    )
    op.create_table(
        "feed_events",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("position", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("public_id", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("body", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_feed_events")),
        sa.UniqueConstraint("position", name=op.f("uq_feed_events_position")),
        sa.UniqueConstraint("public_id", name=op.f("uq_feed_events_public_id")),
    )
    with op.batch_alter_table("feed_events", schema=None) as batch_op:
        batch_op.create_index(
            "ix_feed_events_unplaced",
            ["id"],
            unique=False,
            postgresql_where=sa.text("position IS NULL"),
            sqlite_where=sa.text("position IS NULL"),
        )

    op.create_table(
        "products",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("sku", sa.String(length=64), nullable=False),
        sa.Column("name_th", sa.String(length=100), nullable=False),
        sa.Column("name_en", sa.String(length=100), nullable=False),
        sa.Column("label", sa.String(length=64), nullable=True),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_products")),
        sa.UniqueConstraint("sku", name=op.f("uq_products_sku")),
    )
    with op.batch_alter_table("products", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_products_label"), ["label"], unique=False)

    op.create_table(
        "tiers",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("name_th", sa.String(length=100), nullable=False),
        sa.Column("name_en", sa.String(length=100), nullable=False),
        sa.Column("threshold", sa.BigInteger(), nullable=False),
        sa.Column("earn_percent", sa.Integer(), nullable=False),
        sa.Column("percent_off", sa.Integer(), nullable=True),
        sa.Column(
            "benefits", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False
        ),
        sa.Column("colour", sa.String(length=7), nullable=False),
        sa.Column("is_on", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("earn_percent >= 100", name=op.f("ck_tiers_earn_percent_adds")),
        sa.CheckConstraint(
            "percent_off IS NULL OR percent_off BETWEEN 1 AND 100",
            name=op.f("ck_tiers_percent_off"),
        ),
        sa.CheckConstraint("threshold > 0", name=op.f("ck_tiers_threshold_positive")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tiers")),
        sa.UniqueConstraint("key", name=op.f("uq_tiers_key")),
        sa.UniqueConstraint("threshold", name=op.f("uq_tiers_threshold")),
    )
    op.create_table(
        "webhook_targets",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("url", sa.String(length=2000), nullable=False),
        sa.Column("secret_sealed", sa.LargeBinary(), nullable=False),
        sa.Column(
            "kinds", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False
        ),
        sa.Column("is_on", sa.Boolean(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_try_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error", sa.String(length=64), nullable=True),
        sa.Column("delivered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_targets")),
        sa.UniqueConstraint("name", name=op.f("uq_webhook_targets_name")),
    )
    op.create_table(
        "draw_prizes",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("draw_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "coupon_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("per_million", sa.Integer(), nullable=False),
        sa.CheckConstraint("per_million BETWEEN 1 AND 1000000", name=op.f("ck_draw_prizes_chance")),
        sa.ForeignKeyConstraint(
            ["coupon_id"], ["coupons.id"], name=op.f("fk_draw_prizes_coupon_id_coupons")
        ),
        sa.ForeignKeyConstraint(
            ["draw_id"], ["draws.id"], name=op.f("fk_draw_prizes_draw_id_draws")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_draw_prizes")),
    )
    with op.batch_alter_table("draw_prizes", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_draw_prizes_draw_id"), ["draw_id"], unique=False)

    op.create_table(
        "member_tiers",
        sa.Column(
            "member_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("tier_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("qualified_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("holds_until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("is_manual", sa.Boolean(), nullable=False),
        sa.Column("warned_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["member_id"], ["members.id"], name=op.f("fk_member_tiers_member_id_members")
        ),
        sa.ForeignKeyConstraint(
            ["tier_id"], ["tiers.id"], name=op.f("fk_member_tiers_tier_id_tiers")
        ),
        sa.PrimaryKeyConstraint("member_id", name=op.f("pk_member_tiers")),
    )
    with op.batch_alter_table("member_tiers", schema=None) as batch_op:
        batch_op.create_index("ix_member_tiers_holds_until", ["holds_until"], unique=False)
        batch_op.create_index(batch_op.f("ix_member_tiers_tier_id"), ["tier_id"], unique=False)

    op.create_table(
        "draw_turns",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("draw_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "member_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("source", sa.String(length=64), nullable=False),
        sa.Column("source_id", sa.String(length=255), nullable=False),
        sa.Column("given_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("number", sa.Integer(), nullable=True),
        sa.Column("played_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("prize_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column(
            "voucher_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True
        ),
        sa.ForeignKeyConstraint(
            ["draw_id"], ["draws.id"], name=op.f("fk_draw_turns_draw_id_draws")
        ),
        sa.ForeignKeyConstraint(
            ["member_id"], ["members.id"], name=op.f("fk_draw_turns_member_id_members")
        ),
        sa.ForeignKeyConstraint(
            ["prize_id"], ["draw_prizes.id"], name=op.f("fk_draw_turns_prize_id_draw_prizes")
        ),
        sa.ForeignKeyConstraint(
            ["voucher_id"], ["vouchers.id"], name=op.f("fk_draw_turns_voucher_id_vouchers")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_draw_turns")),
        sa.UniqueConstraint(
            "draw_id", "member_id", "ordinal", name=op.f("uq_draw_turns_draw_id_member_id_ordinal")
        ),
        sa.UniqueConstraint(
            "draw_id", "source", "source_id", name=op.f("uq_draw_turns_draw_id_source_source_id")
        ),
    )
    with op.batch_alter_table("draw_turns", schema=None) as batch_op:
        batch_op.create_index("ix_draw_turns_member_id", ["member_id"], unique=False)

    op.create_table(
        "imports",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("public_id", sa.String(length=64), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "checked",
                "applied",
                "dropped",
                name="import_state",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("content_sealed", sa.LargeBinary(), nullable=True),
        sa.Column(
            "counts", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False
        ),
        sa.Column(
            "troubles", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False
        ),
        sa.Column("staff_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("applied_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["staff_id"], ["staff.id"], name=op.f("fk_imports_staff_id_staff")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_imports")),
        sa.UniqueConstraint("public_id", name=op.f("uq_imports_public_id")),
    )
    op.create_table(
        "merges",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("kept_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("gone_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "moved", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False
        ),
        sa.Column("staff_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("undone_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("kept_id <> gone_id", name=op.f("ck_merges_two_members")),
        sa.ForeignKeyConstraint(
            ["gone_id"], ["members.id"], name=op.f("fk_merges_gone_id_members")
        ),
        sa.ForeignKeyConstraint(
            ["kept_id"], ["members.id"], name=op.f("fk_merges_kept_id_members")
        ),
        sa.ForeignKeyConstraint(["staff_id"], ["staff.id"], name=op.f("fk_merges_staff_id_staff")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_merges")),
    )
    with op.batch_alter_table("merges", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_merges_kept_id"), ["kept_id"], unique=False)
        batch_op.create_index(
            "uq_merges_in_force",
            ["gone_id"],
            unique=True,
            postgresql_where=sa.text("undone_at IS NULL"),
            sqlite_where=sa.text("undone_at IS NULL"),
        )

    op.create_table(
        "code_batches",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column(
            "coupon_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("label", sa.String(length=100), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ends_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("voided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("exported_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["coupon_id"], ["coupons.id"], name=op.f("fk_code_batches_coupon_id_coupons")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_code_batches")),
    )
    with op.batch_alter_table("code_batches", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_code_batches_coupon_id"), ["coupon_id"], unique=False)

    op.create_table(
        "typed_codes",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("batch_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("code", sa.String(length=64), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["batch_id"], ["code_batches.id"], name=op.f("fk_typed_codes_batch_id_code_batches")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_typed_codes")),
        sa.UniqueConstraint("code", name=op.f("uq_typed_codes_code")),
    )
    with op.batch_alter_table("typed_codes", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_typed_codes_batch_id"), ["batch_id"], unique=False)

    op.create_table(
        "adjustments",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column(
            "member_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("points", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.String(length=255), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "waiting",
                "done",
                "refused",
                name="adjustment_state",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("staff_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "decided_by_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True
        ),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("entry_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.CheckConstraint(
            "decided_by_id IS NULL OR decided_by_id <> staff_id",
            name=op.f("ck_adjustments_second_person"),
        ),
        sa.CheckConstraint("points <> 0", name=op.f("ck_adjustments_moves_points")),
        sa.ForeignKeyConstraint(
            ["decided_by_id"], ["staff.id"], name=op.f("fk_adjustments_decided_by_id_staff")
        ),
        sa.ForeignKeyConstraint(
            ["entry_id"], ["ledger_entries.id"], name=op.f("fk_adjustments_entry_id_ledger_entries")
        ),
        sa.ForeignKeyConstraint(
            ["member_id"], ["members.id"], name=op.f("fk_adjustments_member_id_members")
        ),
        sa.ForeignKeyConstraint(
            ["staff_id"], ["staff.id"], name=op.f("fk_adjustments_staff_id_staff")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_adjustments")),
        sa.UniqueConstraint("entry_id", name=op.f("uq_adjustments_entry_id")),
    )
    with op.batch_alter_table("adjustments", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_adjustments_member_id"), ["member_id"], unique=False)
        batch_op.create_index("ix_adjustments_state", ["state", "id"], unique=False)

    op.create_table(
        "approvals",
        sa.Column("operation_id", sa.String(length=255), nullable=False),
        sa.Column(
            "manager_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "cashier_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("over", sa.String(length=64), nullable=False),
        sa.Column("amount_satang", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["cashier_id"], ["cashiers.id"], name=op.f("fk_approvals_cashier_id_cashiers")
        ),
        sa.ForeignKeyConstraint(
            ["manager_id"], ["cashiers.id"], name=op.f("fk_approvals_manager_id_cashiers")
        ),
        sa.PrimaryKeyConstraint("operation_id", name=op.f("pk_approvals")),
    )
    with op.batch_alter_table("approvals", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_approvals_cashier_id"), ["cashier_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_approvals_manager_id"), ["manager_id"], unique=False)

    op.create_table(
        "imported_members",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("external_key", sa.String(length=64), nullable=False),
        sa.Column(
            "member_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "import_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.ForeignKeyConstraint(
            ["import_id"], ["imports.id"], name=op.f("fk_imported_members_import_id_imports")
        ),
        sa.ForeignKeyConstraint(
            ["member_id"], ["members.id"], name=op.f("fk_imported_members_member_id_members")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_imported_members")),
        sa.UniqueConstraint("external_key", name=op.f("uq_imported_members_external_key")),
    )
    with op.batch_alter_table("imported_members", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_imported_members_member_id"), ["member_id"], unique=False
        )

    op.create_table(
        "earn_rule_awards",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("rule_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "member_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "purchase_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("points", sa.BigInteger(), nullable=False),
        sa.Column("kept_points", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "kept_points BETWEEN 0 AND points", name=op.f("ck_earn_rule_awards_kept_in_award")
        ),
        sa.CheckConstraint("points > 0", name=op.f("ck_earn_rule_awards_points_positive")),
        sa.ForeignKeyConstraint(
            ["member_id"], ["members.id"], name=op.f("fk_earn_rule_awards_member_id_members")
        ),
        sa.ForeignKeyConstraint(
            ["purchase_id"],
            ["purchases.id"],
            name=op.f("fk_earn_rule_awards_purchase_id_purchases"),
        ),
        sa.ForeignKeyConstraint(
            ["rule_id"], ["earn_rules.id"], name=op.f("fk_earn_rule_awards_rule_id_earn_rules")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_earn_rule_awards")),
        sa.UniqueConstraint(
            "rule_id", "purchase_id", name=op.f("uq_earn_rule_awards_rule_id_purchase_id")
        ),
    )
    with op.batch_alter_table("earn_rule_awards", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_earn_rule_awards_member_id"), ["member_id"], unique=False
        )
        batch_op.create_index(
            batch_op.f("ix_earn_rule_awards_purchase_id"), ["purchase_id"], unique=False
        )

    with op.batch_alter_table("audit_rows", schema=None) as batch_op:
        batch_op.create_index("ix_audit_rows_actor_at", ["actor", "at"], unique=False)

    op.add_column(
        "cashiers", sa.Column("is_manager", sa.Boolean(), server_default=sa.false(), nullable=False)
    )
    op.add_column("purchases", sa.Column("queued_at", sa.DateTime(timezone=True), nullable=True))
    op.drop_index("ix_purchases_cashier_id", "purchases")
    op.create_index(
        "ix_purchases_cashier_id_recorded_at", "purchases", ["cashier_id", "recorded_at"]
    )
    op.add_column("referrals", sa.Column("refused", sa.String(length=64), nullable=True))
    op.add_column("referrals", sa.Column("rewarded_at", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    op.drop_column("referrals", "rewarded_at")
    op.drop_column("referrals", "refused")
    op.drop_index("ix_purchases_cashier_id_recorded_at", "purchases")
    op.create_index("ix_purchases_cashier_id", "purchases", ["cashier_id"])
    op.drop_column("purchases", "queued_at")
    op.drop_column("cashiers", "is_manager")
    with op.batch_alter_table("audit_rows", schema=None) as batch_op:
        batch_op.drop_index("ix_audit_rows_actor_at")

    with op.batch_alter_table("earn_rule_awards", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_earn_rule_awards_purchase_id"))
        batch_op.drop_index(batch_op.f("ix_earn_rule_awards_member_id"))

    op.drop_table("earn_rule_awards")
    with op.batch_alter_table("imported_members", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_imported_members_member_id"))

    op.drop_table("imported_members")
    with op.batch_alter_table("approvals", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_approvals_manager_id"))
        batch_op.drop_index(batch_op.f("ix_approvals_cashier_id"))

    op.drop_table("approvals")
    with op.batch_alter_table("adjustments", schema=None) as batch_op:
        batch_op.drop_index("ix_adjustments_state")
        batch_op.drop_index(batch_op.f("ix_adjustments_member_id"))

    op.drop_table("adjustments")
    with op.batch_alter_table("typed_codes", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_typed_codes_batch_id"))

    op.drop_table("typed_codes")
    with op.batch_alter_table("code_batches", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_code_batches_coupon_id"))

    op.drop_table("code_batches")
    with op.batch_alter_table("merges", schema=None) as batch_op:
        batch_op.drop_index(
            "uq_merges_in_force",
            postgresql_where=sa.text("undone_at IS NULL"),
            sqlite_where=sa.text("undone_at IS NULL"),
        )
        batch_op.drop_index(batch_op.f("ix_merges_kept_id"))

    op.drop_table("merges")
    op.drop_table("imports")
    with op.batch_alter_table("draw_turns", schema=None) as batch_op:
        batch_op.drop_index("ix_draw_turns_member_id")

    op.drop_table("draw_turns")
    with op.batch_alter_table("member_tiers", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_member_tiers_tier_id"))
        batch_op.drop_index("ix_member_tiers_holds_until")

    op.drop_table("member_tiers")
    with op.batch_alter_table("draw_prizes", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_draw_prizes_draw_id"))

    op.drop_table("draw_prizes")
    op.drop_table("webhook_targets")
    op.drop_table("tiers")
    with op.batch_alter_table("products", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_products_label"))

    op.drop_table("products")
    with op.batch_alter_table("feed_events", schema=None) as batch_op:
        batch_op.drop_index(
            "ix_feed_events_unplaced",
            postgresql_where=sa.text("position IS NULL"),
            sqlite_where=sa.text("position IS NULL"),
        )

    op.drop_table("feed_events")
    op.drop_table("earn_rules")
    op.drop_table("draws")
