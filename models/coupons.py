"""Coupons (offers), vouchers (one member's copy), rotating codes, and redemptions."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from models.base import Base, BigId, Json, bigid, bigint, line, moment, short, state_of


class CouponKind(StrEnum):
    CASH = "cash"
    BAHT_OFF = "baht_off"
    PERCENT_OFF = "percent_off"
    FREE_ITEM = "free_item"


class CouponState(StrEnum):
    DRAFT = "draft"
    LIVE = "live"
    CLOSED = "closed"


class Obtained(StrEnum):
    CLAIM = "claim"
    CODE = "code"
    POINTS = "points"
    STAMPS = "stamps"
    JOURNEY = "journey"
    DRAW = "draw"
    TIER = "tier"
    STAFF = "staff"


class VoucherState(StrEnum):
    ISSUED = "issued"
    HELD = "held"
    REDEEMED = "redeemed"
    EXPIRED = "expired"
    VOID = "void"


_USABLE = "state IN ('issued', 'held')"
#: What can still be used. Written out rather than bound: it repeats the condition of an index.
IS_USABLE = text(f"vouchers.{_USABLE}")


class Coupon(Base):
    """The offer: what it takes off, who may have it, how many there are."""

    __tablename__ = "coupons"
    __table_args__ = (
        CheckConstraint("total_units IS NULL OR issued_count <= total_units", name="stock"),
        CheckConstraint("issued_count >= 0", name="issued_not_negative"),
        CheckConstraint("kind <> 'percent_off' OR percent BETWEEN 1 AND 100", name="percent"),
        CheckConstraint(
            "kind NOT IN ('cash', 'baht_off') OR value_satang > 0", name="value_positive"
        ),
        CheckConstraint("obtained <> 'points' OR price_points > 0", name="price_positive"),
        CheckConstraint("per_member >= 1", name="per_member_positive"),
    )

    id: Mapped[bigid]
    #: Stable name for seeds and journeys, e.g. `win_back_60`.
    key: Mapped[short] = mapped_column(unique=True)
    kind: Mapped[CouponKind] = mapped_column(state_of(CouponKind))
    state: Mapped[CouponState] = mapped_column(state_of(CouponState), default=CouponState.DRAFT)
    obtained: Mapped[Obtained] = mapped_column(state_of(Obtained), default=Obtained.CLAIM)
    name_th: Mapped[str] = mapped_column(String(100))
    name_en: Mapped[str] = mapped_column(String(100))
    terms_th: Mapped[str] = mapped_column(Text, default="")
    terms_en: Mapped[str] = mapped_column(Text, default="")
    picture_url: Mapped[str | None] = mapped_column(String(2000))
    value_satang: Mapped[bigint] = mapped_column(default=0)
    percent: Mapped[int | None]
    max_satang: Mapped[int | None] = mapped_column(BigId)
    item_th: Mapped[str | None] = mapped_column(String(100))
    item_en: Mapped[str | None] = mapped_column(String(100))
    #: Cash vouchers only: what is left stays on the voucher.
    keeps_change: Mapped[bool] = mapped_column(default=False)
    price_points: Mapped[int | None] = mapped_column(BigId)
    typed_code: Mapped[short | None] = mapped_column(unique=True)
    starts_at: Mapped[moment | None]
    #: Exclusive end of claiming and, without `valid_days`, of the vouchers.
    ends_at: Mapped[moment | None]
    #: Vouchers live this many days after issue (to local midnight).
    valid_days: Mapped[int | None]
    total_units: Mapped[int | None]
    issued_count: Mapped[int] = mapped_column(default=0)
    redeemed_count: Mapped[int] = mapped_column(default=0)
    per_member: Mapped[int] = mapped_column(default=1)
    per_day: Mapped[int | None]
    min_bill_satang: Mapped[bigint] = mapped_column(default=0)
    is_stackable: Mapped[bool] = mapped_column(default=False)
    budget_satang: Mapped[int | None] = mapped_column(BigId)
    spent_satang: Mapped[bigint] = mapped_column(default=0)
    #: {"branches": [code], "weekdays": [0-6], "hours": [[9, 17]], "levels": [...], ...}
    conditions: Mapped[dict[str, Any]] = mapped_column(Json, default=dict)
    created_at: Mapped[moment]

    @property
    def left(self) -> int | None:
        """Units still to be had; None without a limit."""
        return None if self.total_units is None else self.total_units - self.issued_count


class Voucher(Base):
    """One member's copy of a coupon."""

    __tablename__ = "vouchers"
    __table_args__ = (
        UniqueConstraint("coupon_id", "member_id", "source", "source_id"),
        # A member's 1st, 2nd, ... copy: no two concurrent claims can both be the last allowed.
        UniqueConstraint("coupon_id", "member_id", "ordinal"),
        CheckConstraint("left_satang IS NULL OR left_satang >= 0", name="left_not_negative"),
        Index("ix_vouchers_member_id_state", "member_id", "state"),
        Index("ix_vouchers_issued_at", "issued_at", postgresql_using="brin"),
        Index(
            "ix_vouchers_due",
            "expires_at",
            "id",
            postgresql_where=text(_USABLE),
            sqlite_where=text(_USABLE),
        ),
    )

    id: Mapped[bigid]
    public_id: Mapped[short] = mapped_column(unique=True)
    coupon_id: Mapped[int] = mapped_column(BigId, ForeignKey("coupons.id"), index=True)
    member_id: Mapped[int] = mapped_column(BigId, ForeignKey("members.id"))
    ordinal: Mapped[int] = mapped_column(default=1)
    state: Mapped[VoucherState] = mapped_column(state_of(VoucherState), default=VoucherState.ISSUED)
    #: What it came from: `claim`, `join`, `stamp_card`, `intent`, `points`, `staff`, ...
    source: Mapped[short]
    source_id: Mapped[line]
    issued_at: Mapped[moment]
    #: Usable only once the phone is proven or with the first purchase (J6).
    needs_proof: Mapped[bool] = mapped_column(default=False)
    expires_at: Mapped[moment | None]
    #: Cash vouchers that keep change: what is left.
    left_satang: Mapped[int | None] = mapped_column(BigId)
    redeemed_at: Mapped[moment | None]
    voided_at: Mapped[moment | None]

    coupon: Mapped[Coupon] = relationship(lazy="joined")


class GiftState(StrEnum):
    WAITING = "waiting"
    DONE = "done"
    REFUSED = "refused"


class VoucherGift(Base):
    """A voucher given by staff (C2); above the role's ceiling a second person decides."""

    __tablename__ = "voucher_gifts"
    __table_args__ = (
        UniqueConstraint("staff_id", "key"),
        CheckConstraint("decided_by_id IS NULL OR decided_by_id <> staff_id", name="second_person"),
        CheckConstraint("(state = 'done') = (voucher_id IS NOT NULL)", name="done_has_voucher"),
        Index("ix_voucher_gifts_state", "state", "id"),
    )

    id: Mapped[bigid]
    coupon_id: Mapped[int] = mapped_column(BigId, ForeignKey("coupons.id"))
    member_id: Mapped[int] = mapped_column(BigId, ForeignKey("members.id"), index=True)
    reason: Mapped[line]
    state: Mapped[GiftState] = mapped_column(state_of(GiftState), default=GiftState.WAITING)
    staff_id: Mapped[int] = mapped_column(BigId, ForeignKey("staff.id"))
    #: Of the form: a doubled tap is one gift.
    key: Mapped[short]
    at: Mapped[moment]
    decided_by_id: Mapped[int | None] = mapped_column(BigId, ForeignKey("staff.id"))
    decided_at: Mapped[moment | None]
    voucher_id: Mapped[int | None] = mapped_column(BigId, ForeignKey("vouchers.id"), unique=True)


class CodePurpose(StrEnum):
    IDENTIFY = "identify"
    REDEEM = "redeem"
    CARD = "card"


class CodeState(StrEnum):
    NEW = "new"
    HELD = "held"
    USED = "used"
    REVOKED = "revoked"


class ScanCode(Base):
    """A server-made QR handle; only its hash is kept, and no secret reaches the phone."""

    __tablename__ = "scan_codes"
    __table_args__ = (
        Index("ix_scan_codes_voucher_id", "voucher_id"),
        Index("ix_scan_codes_member_id_purpose", "member_id", "purpose"),
        Index("ix_scan_codes_expires_at", "expires_at"),
    )

    id: Mapped[bigid]
    handle_hash: Mapped[short] = mapped_column(unique=True)
    purpose: Mapped[CodePurpose] = mapped_column(state_of(CodePurpose))
    member_id: Mapped[int] = mapped_column(BigId, ForeignKey("members.id"))
    voucher_id: Mapped[int | None] = mapped_column(BigId, ForeignKey("vouchers.id"))
    #: Real time; the demo clock never moves codes and holds.
    issued_at: Mapped[moment]
    #: Last moment of a first scan; None for the static card code.
    expires_at: Mapped[moment | None]
    state: Mapped[CodeState] = mapped_column(state_of(CodeState), default=CodeState.NEW)
    #: `device:<id>` or `api:<id>`.
    held_by: Mapped[short | None]
    held_at: Mapped[moment | None]
    hold_expires_at: Mapped[moment | None]
    hold_public_id: Mapped[short | None] = mapped_column(unique=True)
    used_at: Mapped[moment | None]


class Redemption(Base):
    """A voucher used at a till."""

    __tablename__ = "redemptions"
    __table_args__ = (
        # A voucher without change is used once; reversing makes room for one more use.
        Index(
            "uq_redemptions_once",
            "voucher_id",
            unique=True,
            postgresql_where=text("reversed_at IS NULL AND is_whole"),
            sqlite_where=text("reversed_at IS NULL AND is_whole"),
        ),
        Index("ix_redemptions_at", "at", postgresql_using="brin"),
        CheckConstraint("discount_satang >= 0", name="discount_not_negative"),
        CheckConstraint("discount_satang <= bill_satang", name="discount_within_bill"),
    )

    id: Mapped[bigid]
    public_id: Mapped[short] = mapped_column(unique=True)
    voucher_id: Mapped[int] = mapped_column(BigId, ForeignKey("vouchers.id"), index=True)
    member_id: Mapped[int] = mapped_column(BigId, ForeignKey("members.id"), index=True)
    branch_id: Mapped[int] = mapped_column(BigId, ForeignKey("branches.id"))
    #: The bill it was part of, when both went in one confirm.
    purchase_id: Mapped[int | None] = mapped_column(BigId, ForeignKey("purchases.id"), index=True)
    operation_id: Mapped[line] = mapped_column(unique=True)
    receipt_no: Mapped[str | None] = mapped_column(String(64))
    #: The bill before this voucher.
    bill_satang: Mapped[bigint]
    discount_satang: Mapped[bigint]
    #: False when a cash voucher kept change.
    is_whole: Mapped[bool] = mapped_column(default=True)
    at: Mapped[moment]
    cashier_id: Mapped[int | None] = mapped_column(BigId, ForeignKey("cashiers.id"))
    device_id: Mapped[int | None] = mapped_column(BigId, ForeignKey("devices.id"))
    api_key_id: Mapped[int | None] = mapped_column(BigId, ForeignKey("api_keys.id"))
    reversed_at: Mapped[moment | None]


class CodeTry(Base):
    """Tries of typed codes per member, counted in the database: 5 a minute, 20 a day (C8)."""

    __tablename__ = "code_tries"
    __table_args__ = (UniqueConstraint("member_id", "window"),)

    id: Mapped[bigid]
    member_id: Mapped[int] = mapped_column(BigId, ForeignKey("members.id"))
    #: `m:2026-11-22T02:17` or `d:2026-11-22`, real time.
    window: Mapped[short]
    count: Mapped[int] = mapped_column(default=0)


class CodeBatch(Base):
    """Codes of one offer made together: exported together, ended together (C8)."""

    __tablename__ = "code_batches"

    id: Mapped[bigid]
    coupon_id: Mapped[int] = mapped_column(BigId, ForeignKey("coupons.id"), index=True)
    #: What they are for, in the shop's own words: a flyer, a partner, a market day.
    label: Mapped[str] = mapped_column(String(100))
    size: Mapped[int]
    created_at: Mapped[moment]
    #: Exclusive: codes of the batch are good for nothing from then on.
    ends_at: Mapped[moment | None]
    voided_at: Mapped[moment | None]
    #: The first export; a further one is a right of its own.
    exported_at: Mapped[moment | None]


class TypedCode(Base):
    """One generated code: printed or handed out, typed once by somebody (C8).

    As narrow as can be, because they are made by the hundred thousand; its voucher names it as
    `code:<id>` in `source_id`.
    """

    __tablename__ = "typed_codes"

    id: Mapped[bigid]
    batch_id: Mapped[int] = mapped_column(BigId, ForeignKey("code_batches.id"), index=True)
    code: Mapped[short] = mapped_column(unique=True)
    used_at: Mapped[moment | None]
