"""Generated codes of an offer: made by one statement, ended together, exported as a list (C8).

A code is 13 of 29 letters that cannot be taken for each other: 63 random bits. It is good for
whoever types it first.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from math import log2
from typing import Any

from sqlalchemy import func, select, text, update
from sqlalchemy.orm import Session

from core.db import is_sqlite
from core.errors import Invalid, NotFound, Refused
from core.ids import LOOK_ALIKE_FREE
from core.sabotage import is_sabotaged
from core.text import fit
from loyalty.coupons.rows import coupon_of
from models.base import table_of
from models.coupons import CodeBatch, Coupon, Obtained, TypedCode

CODE_LETTERS = 13
#: So many in one statement; then somebody who waits is told.
CODES_AT_ONCE = 50_000
MOST_CODES = 1_000_000
ROWS_AT_ONCE = 5_000
CODES = table_of(TypedCode)
BATCHES = table_of(CodeBatch)

assert CODE_LETTERS * log2(len(LOOK_ALIKE_FREE)) >= 60

_EVEN = 256 - 256 % len(LOOK_ALIKE_FREE)  # bytes from here on would favour the first letters
_LETTERS = bytes(ord(LOOK_ALIKE_FREE[value % len(LOOK_ALIKE_FREE)]) for value in range(256))
_UNEVEN = bytes(range(_EVEN, 256))
_INSERT_POSTGRES = text(
    "INSERT INTO typed_codes (batch_id, code) "
    "SELECT :batch, made FROM unnest(CAST(:codes AS text[])) AS made ON CONFLICT DO NOTHING"
)
_INSERT_SQLITE = text(
    "INSERT INTO typed_codes (batch_id, code) "
    "SELECT :batch, value FROM json_each(:codes) WHERE true ON CONFLICT DO NOTHING"
)


@dataclass(frozen=True)
class BatchView:
    """A batch and what became of its codes."""

    batch: CodeBatch
    coupon: Coupon
    used: int

    def state(self, now: datetime) -> str:
        """`void`, `ended` or `open`."""
        if self.batch.voided_at is not None:
            return "void"
        return "ended" if self.batch.ends_at and self.batch.ends_at <= now else "open"


def random_codes(count: int) -> list[str]:
    """Fresh codes of our letters, each letter as likely as any other."""
    letters = b""
    while len(letters) < count * CODE_LETTERS:
        missing = count * CODE_LETTERS - len(letters)
        letters += os.urandom(missing + missing // 8 + 64).translate(_LETTERS, _UNEVEN)
    written = letters.decode("ascii")
    return [written[at : at + CODE_LETTERS] for at in range(0, count * CODE_LETTERS, CODE_LETTERS)]


def make_batch(
    session: Session,
    coupon_id: int,
    label: str,
    size: int,
    now: datetime,
    *,
    ends_at: datetime | None = None,
    told: Callable[[int], None] = lambda _made: None,
) -> CodeBatch:
    """Generate `size` codes for an offer; `told` of each so many. Refused unless the offer is had
    by a code."""
    coupon = coupon_of(session, coupon_id)
    if coupon.obtained != Obtained.CODE:
        raise Refused("codes.not_by_code")
    if not 1 <= size <= MOST_CODES or not (label := fit(label, 100)):
        raise Invalid("errors.invalid_field", field="size" if label else "label")
    batch = CodeBatch(coupon_id=coupon.id, label=label, size=size, created_at=now, ends_at=ends_at)
    session.add(batch)
    session.flush()  # its codes name it
    is_lite = is_sqlite(session)
    insert = _INSERT_SQLITE if is_lite else _INSERT_POSTGRES
    missing = size
    while missing:
        told(size - missing)
        fresh = random_codes(min(missing, CODES_AT_ONCE))
        session.execute(
            insert, {"batch": batch.id, "codes": json.dumps(fresh) if is_lite else fresh}
        )
        made = session.scalar(select(func.count()).where(CODES.c.batch_id == batch.id))
        missing = size - int(made or 0)
    return batch


def batches(coupon_id: int | None = None) -> Any:
    """The batches of an offer, or of all: (batch, offer, codes used), to be made `BatchView`s."""
    used = (
        select(func.count(CODES.c.used_at))
        .where(CODES.c.batch_id == CodeBatch.id)
        .correlate(CodeBatch)
        .scalar_subquery()
    )
    query = select(CodeBatch, Coupon, used).join(Coupon, Coupon.id == CodeBatch.coupon_id)
    return query if coupon_id is None else query.where(CodeBatch.coupon_id == coupon_id)


def void_batch(session: Session, batch_id: int, now: datetime) -> CodeBatch:
    """End a batch: its unused codes are good for nothing; vouchers already had stay good."""
    session.execute(
        update(BATCHES)
        .where(BATCHES.c.id == batch_id, BATCHES.c.voided_at.is_(None))
        .values(voided_at=now)
    )
    batch = session.get(CodeBatch, batch_id, populate_existing=True)
    if batch is None:
        raise NotFound("codes.no_batch")
    return batch


def take_export(session: Session, batch_id: int, now: datetime, *, may_again: bool) -> CodeBatch:
    """Let a batch be exported: once for whoever may edit offers, again only by right (C8)."""
    unexported: Any = BATCHES.c.exported_at.is_(None)
    if is_sabotaged("codes.export_once"):
        unexported = BATCHES.c.id == batch_id
    first = session.execute(
        update(BATCHES)
        .where(BATCHES.c.id == batch_id, unexported)
        .values(exported_at=now)
        .returning(BATCHES.c.id)
    ).scalar()
    batch = session.get(CodeBatch, batch_id, populate_existing=True)
    if batch is None:
        raise NotFound("codes.no_batch")
    if first is None and not may_again:
        raise Refused("codes.exported_before", status=403)
    return batch


def codes_of(session: Session, batch_id: int) -> Iterator[tuple[str, bool]]:
    """A batch's codes as they are printed, in fours, and whether each has been used."""
    every = (
        select(CODES.c.code, CODES.c.used_at.is_not(None))
        .where(CODES.c.batch_id == batch_id)
        .order_by(CODES.c.id)
    )
    with session.execute(every, execution_options={"yield_per": ROWS_AT_ONCE}) as rows:
        for code, is_used in rows:
            yield printed(code), is_used


def printed(code: str) -> str:
    """`ABCD-EFGH-JKMNP`: easier to read out and to type; spaces and dashes do not count."""
    return f"{code[:4]}-{code[4:8]}-{code[8:]}"
