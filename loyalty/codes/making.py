"""Fresh codes for a member's page, and the static code of a card."""

from __future__ import annotations

import secrets
from datetime import datetime

from sqlalchemy import and_, insert, select, update
from sqlalchemy.orm import Session

from core import ids
from core.db import insert_into
from core.errors import NotFound, Refused
from loyalty import coupons
from loyalty.codes.format import card_handle, write_code
from loyalty.codes.rows import CODES, WINDOW, live_hold
from models.coupons import CodePurpose, CodeState, Voucher
from models.members import Member


def make_code(
    session: Session,
    secret_key: str,
    purpose: CodePurpose | str,
    member_id: int,
    *,
    voucher_id: int | None = None,
    real_now: datetime,
) -> str:
    """A fresh code for a member's page. While a till holds the voucher none is made (C5).

    Refused: `codes.held` while a till holds it, `codes.expired` for a voucher that is not usable.
    """
    purpose = CodePurpose(purpose)
    assert purpose != CodePurpose.CARD, "cards have card_code"
    assert (purpose == CodePurpose.REDEEM) == (voucher_id is not None)
    voucher = None
    if voucher_id is not None:
        voucher = session.get(Voucher, voucher_id)
        if voucher is None or voucher.member_id != member_id:
            raise NotFound("coupons.not_found")
        if live_hold(session, voucher.id, real_now) is not None:
            raise Refused("codes.held")
        if voucher.state not in coupons.USABLE:
            raise Refused("codes.expired")
    handle = secrets.token_urlsafe(16)
    session.flush()  # Core statements must see what the caller has added so far
    session.execute(
        insert(CODES).values(
            handle_hash=ids.token_hash(handle),
            purpose=purpose,
            member_id=member_id,
            voucher_id=voucher_id,
            issued_at=real_now,
            expires_at=real_now + WINDOW.lifetime,
            state=CodeState.NEW,
        )
    )
    return write_code(secret_key, handle, purpose, voucher.public_id if voucher else None, real_now)


def card_code(session: Session, secret_key: str, member_id: int, real_now: datetime) -> str:
    """The member's card code: the same one each time, until it is revoked.

    Its handle is derived from our secret, so that only the hash need be kept here too.
    """
    member = session.get_one(Member, member_id)
    of_member = and_(CODES.c.member_id == member_id, CODES.c.purpose == CodePurpose.CARD)
    session.flush()  # Core statements must see what the caller has added so far
    cards = session.execute(
        select(CODES.c.id, CODES.c.handle_hash, CODES.c.state, CODES.c.issued_at)
        .where(of_member)
        .order_by(CODES.c.id)
    ).all()
    current = next((card for card in cards if card.state != CodeState.REVOKED), None)
    number = len(cards) - (current is not None)
    handle = card_handle(secret_key, member.public_id, number)
    if current is not None and current.handle_hash == ids.token_hash(handle):
        return write_code(secret_key, handle, CodePurpose.CARD, None, current.issued_at)
    if current is not None:  # the secret has changed since: the old card can no longer be written
        revoke_card(session, member_id)
        handle = card_handle(secret_key, member.public_id, number + 1)
    session.execute(
        insert_into(session, CODES)
        .values(
            handle_hash=ids.token_hash(handle),
            purpose=CodePurpose.CARD,
            member_id=member_id,
            issued_at=real_now.replace(microsecond=0),
            state=CodeState.NEW,
        )
        .on_conflict_do_nothing()
    )
    kept = select(CODES.c.issued_at).where(CODES.c.handle_hash == ids.token_hash(handle))
    issued_at = session.execute(kept).scalar_one()
    return write_code(secret_key, handle, CodePurpose.CARD, None, issued_at)


def revoke_card(session: Session, member_id: int) -> None:
    """Make the member's card code worthless; the next `card_code` is a new one."""
    session.execute(
        update(CODES)
        .where(CODES.c.member_id == member_id, CODES.c.purpose == CodePurpose.CARD)
        .values(state=CodeState.REVOKED)
    )
