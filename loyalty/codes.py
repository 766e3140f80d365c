"""Rotating QR codes: made by the server, scanned once, held by one till, used in one transaction.

A code is `Q1.<key id>.<handle>.<issue time>.<purpose>.<MAC>` (faults.md 2.6): a random 128-bit
handle of which only the hash is kept, and a MAC that refuses junk without a query. No secret and
no personal data is in it. `identify` and `redeem:<voucher>` live 60 s and are held by their first
scan; `card` is static, revocable, and good for earning only.

Codes and holds count real time, which the demo clock never moves: every function takes
`real_now` for them and `now` for the business.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import unquote, urlsplit
from zoneinfo import ZoneInfo

from sqlalchemy import and_, delete, insert, or_, select, update
from sqlalchemy.orm import Session

from core import ids
from core.db import insert_into
from core.errors import NotFound, Refused
from core.sabotage import is_sabotaged
from loyalty import coupons, points, undoing
from loyalty.coupons import RedemptionResult, ReversalResult
from models.base import table_of
from models.coupons import CodePurpose, CodeState, Redemption, ScanCode, Voucher, VoucherState
from models.members import Member
from models.staff import Branch

CODES = table_of(ScanCode)


@dataclass(frozen=True)
class Window:
    """Every span of a code's life, in one place, so that none can outlive another by accident."""

    #: From issue to the last first scan.
    lifetime: timedelta
    #: How far in the future an issue time may seem: clocks of two processes differ.
    leeway: timedelta
    #: From a scan to the end of its hold.
    hold: timedelta
    #: How long a dead code is still recognised as used; far beyond anything above.
    remembered: timedelta


WINDOW = Window(
    lifetime=timedelta(seconds=60),
    leeway=timedelta(seconds=5),
    hold=timedelta(minutes=5),
    remembered=timedelta(days=30),
)
assert WINDOW.remembered > WINDOW.lifetime + WINDOW.leeway + WINDOW.hold

MAX_LENGTH = 200
_CODE = re.compile(
    r"Q1\.([0-9a-f]{8})\.([A-Za-z0-9_-]{22})\.(\d{10})\."
    r"(identify|card|redeem:[0-9a-f]{32})\.([A-Za-z0-9_-]{22})",
    re.ASCII,
)
_MAC_BYTES = 16


@dataclass(frozen=True)
class Parsed:
    """A code whose MAC is right; nothing is known yet about what has become of it."""

    handle: str
    purpose: CodePurpose
    voucher_public_id: str | None
    issued_at_seconds: int


@dataclass(frozen=True)
class Scan:
    """What a scanned code stands for, and the hold that its scan took (none for a card)."""

    code_row: ScanCode
    member: Member
    voucher: Voucher | None
    purpose: CodePurpose
    hold_id: str | None
    hold_expires_at: datetime | None


# Making


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
    return _write(secret_key, handle, purpose, voucher.public_id if voucher else None, real_now)


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
    handle = _card_handle(secret_key, member.public_id, number)
    if current is not None and current.handle_hash == ids.token_hash(handle):
        return _write(secret_key, handle, CodePurpose.CARD, None, current.issued_at)
    if current is not None:  # the secret has changed since: the old card can no longer be written
        revoke_card(session, member_id)
        handle = _card_handle(secret_key, member.public_id, number + 1)
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
    return _write(secret_key, handle, CodePurpose.CARD, None, issued_at)


def revoke_card(session: Session, member_id: int) -> None:
    """Make the member's card code worthless; the next `card_code` is a new one."""
    session.execute(
        update(CODES)
        .where(CODES.c.member_id == member_id, CODES.c.purpose == CodePurpose.CARD)
        .values(state=CodeState.REVOKED)
    )


def _write(
    secret_key: str,
    handle: str,
    purpose: CodePurpose,
    voucher_public_id: str | None,
    issued_at: datetime,
) -> str:
    meaning = f"{purpose}:{voucher_public_id}" if voucher_public_id else str(purpose)
    key = _key(secret_key)
    content = f"Q1.{_key_id(key)}.{handle}.{int(issued_at.timestamp()):010d}.{meaning}"
    return f"{content}.{_mac(key, content)}"


def _key(secret_key: str) -> bytes:
    return hmac.new(secret_key.encode(), b"taem.codes", hashlib.sha256).digest()


def _key_id(key: bytes) -> str:
    return hashlib.sha256(key + b"id").hexdigest()[:8]


def _mac(key: bytes, content: str) -> str:
    return _text(hmac.new(key, content.encode("ascii"), hashlib.sha256).digest()[:_MAC_BYTES])


def _card_handle(secret_key: str, member_public_id: str, number: int) -> str:
    content = f"card:{member_public_id}:{number}".encode()
    return _text(hmac.new(_key(secret_key), content, hashlib.sha256).digest()[:16])


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


# Reading


def parse(secret_key: str, text_or_url: str) -> Parsed:
    """Read a code or the URL that carries it (C6), without a query.

    Refused: `codes.foreign` for what is no code of ours at all, `codes.expired` (TX2) for
    anything that only looks like one.
    """
    text = text_or_url.strip()
    if len(text) > 10 * MAX_LENGTH:
        raise Refused("codes.expired")
    text = _without_address(text)
    if not text.startswith("Q1."):
        raise Refused("codes.foreign")
    match = _CODE.fullmatch(text)
    if match is None:
        raise Refused("codes.expired")
    key_id, handle, issued, meaning, mac = match.groups()
    key = _key(secret_key)
    content = text[: -len(mac) - 1]
    is_ours = hmac.compare_digest(_mac(key, content).encode(), mac.encode())
    if not is_ours or not hmac.compare_digest(_key_id(key).encode(), key_id.encode()):
        raise Refused("codes.expired")
    purpose, _, voucher = meaning.partition(":")
    return Parsed(handle, CodePurpose(purpose), voucher or None, int(issued))


def _without_address(text: str) -> str:
    """The code in `https://…/s/<code>`; any host, because the MAC alone says whose it is."""
    if not text.startswith(("https://", "http://")):
        return text
    try:
        path = urlsplit(text).path
    except ValueError:
        return text
    _, found, code = path.rpartition("/s/")
    return unquote(code) if found else text


def look(session: Session, parsed: Parsed, real_now: datetime) -> Scan:
    """What a code stands for, without scanning it; Refused `codes.expired` when it is dead."""
    code, member, voucher = _find(session, parsed)
    if code.purpose == CodePurpose.CARD:
        return Scan(code, member, None, CodePurpose.CARD, None, None)
    if code.state == CodeState.USED or not (_is_fresh(code, real_now) or _is_held(code, real_now)):
        raise Refused("codes.expired")
    return Scan(code, member, voucher, code.purpose, None, None)


def _find(session: Session, parsed: Parsed) -> tuple[ScanCode, Member, Voucher | None]:
    """The row of a code and whose it is; TX2 unless everything the code says is so."""
    session.flush()  # the caller may have just written what we look for
    by_hash = select(ScanCode).where(ScanCode.handle_hash == ids.token_hash(parsed.handle))
    code = session.scalars(by_hash, execution_options={"populate_existing": True}).first()
    if code is None or code.purpose != parsed.purpose or code.state == CodeState.REVOKED:
        raise Refused("codes.expired")
    member = session.get(Member, code.member_id)
    voucher = session.get(Voucher, code.voucher_id) if code.voucher_id else None
    said = voucher.public_id if voucher else None
    if member is None or not member.is_member or said != parsed.voucher_public_id:
        raise Refused("codes.expired")
    return code, member, voucher


def _is_fresh(code: ScanCode, real_now: datetime) -> bool:
    """Whether a first scan may still happen."""
    if code.state != CodeState.NEW or code.expires_at is None:
        return False
    is_early = code.issued_at > real_now + WINDOW.leeway
    return not is_early and real_now <= code.expires_at


def _is_held(code: ScanCode, real_now: datetime) -> bool:
    return (
        code.state == CodeState.HELD
        and code.hold_expires_at is not None
        and code.hold_expires_at > real_now
    )


def live_hold(session: Session, voucher_id: int, real_now: datetime) -> ScanCode | None:
    """The hold that a till has on a voucher at this moment."""
    held = select(ScanCode).where(
        ScanCode.voucher_id == voucher_id,
        ScanCode.state == CodeState.HELD,
        ScanCode.hold_expires_at > real_now,
    )
    return session.scalars(held, execution_options={"populate_existing": True}).first()


# Scanning and holding


def scan(
    session: Session,
    parsed: Parsed,
    holder: str,
    now: datetime,
    real_now: datetime,
    tz: ZoneInfo | None = None,
    purpose: CodePurpose | str | None = None,
) -> Scan:
    """The first scan of a code: takes code and voucher for this holder for 5 minutes (C5).

    The same holder scanning again gets the same hold. `purpose` is what the till wants it for; a
    code of another one is refused. Refused: `codes.expired`, `codes.in_use`, `coupons.used`,
    `codes.refused`.
    """
    code, member, voucher = _find(session, parsed)
    if purpose is not None and code.purpose != CodePurpose(purpose):
        raise Refused("codes.expired")
    if code.purpose == CodePurpose.CARD:
        return Scan(code, member, None, CodePurpose.CARD, None, None)
    # One lock: the voucher's row, or the code's own where there is no voucher. Whoever waits
    # here reads the code again afterwards, and sees what the other one has done.
    if voucher is not None:
        voucher = coupons.lock_voucher(session, voucher.id)
        code = _read_again(session, code, is_locking=False)
    else:
        code = _read_again(session, code, is_locking=True)
    if is_sabotaged("codes.hold"):
        return _scan_of(code, member, voucher)
    if _is_held(code, real_now):
        if code.held_by != holder:
            raise Refused("codes.in_use")
        return _scan_of(code, member, voucher)
    if code.state == CodeState.USED and voucher is not None:
        raise coupons.used_refusal(session, voucher, tz or ZoneInfo("UTC"))
    if not _is_fresh(code, real_now):
        raise Refused("codes.expired")
    if voucher is not None:
        _refuse_unusable(session, voucher, holder, now, real_now, tz)
        held = {"state": VoucherState.HELD}
        assert coupons.set_voucher(session, voucher, coupons.USABLE, held), "the row is locked"
    code.state = CodeState.HELD
    code.held_by = holder
    code.held_at = real_now
    code.hold_expires_at = real_now + WINDOW.hold
    code.hold_public_id = ids.public_id()
    session.flush()  # the hold must be there for the statements that follow
    return _scan_of(code, member, voucher)


def _scan_of(code: ScanCode, member: Member, voucher: Voucher | None) -> Scan:
    return Scan(code, member, voucher, code.purpose, code.hold_public_id, code.hold_expires_at)


def _read_again(session: Session, code: ScanCode, *, is_locking: bool) -> ScanCode:
    again = select(ScanCode).where(ScanCode.id == code.id)
    again = again.with_for_update() if is_locking else again
    return session.scalars(again, execution_options={"populate_existing": True}).one()


def _refuse_unusable(
    session: Session,
    voucher: Voucher,
    holder: str,
    now: datetime,
    real_now: datetime,
    tz: ZoneInfo | None,
) -> None:
    """Validity first, then whether it was used, then whether somebody has it."""
    if voucher.state == VoucherState.REDEEMED:
        raise coupons.used_refusal(session, voucher, tz or ZoneInfo("UTC"))
    is_over = voucher.expires_at is not None and voucher.expires_at <= now
    if is_over or voucher.state not in coupons.USABLE:
        raise Refused("codes.refused")
    if voucher.state == VoucherState.HELD:
        other = live_hold(session, voucher.id, real_now)
        if other is not None and other.held_by != holder:
            raise Refused("codes.in_use")
        if other is not None:  # the same till scanned the page's next code: one hold is enough
            other.state = CodeState.USED
            other.used_at = real_now
            session.flush()  # so that the new hold is the only one


def release(session: Session, hold_id: str, holder: str) -> bool:
    """Give a hold back before its time; False if this holder has no such hold."""
    code = _hold_of(session, hold_id, holder)
    if code is None or code.state != CodeState.HELD:
        return False
    voucher = coupons.lock_voucher(session, code.voucher_id) if code.voucher_id else None
    code = _read_again(session, code, is_locking=voucher is None)
    if code.state != CodeState.HELD:
        return False
    code.state = CodeState.REVOKED  # it has had its one scan
    session.flush()  # before the voucher is free for the next code
    if voucher is not None:
        coupons.set_voucher(session, voucher, (VoucherState.HELD,), {"state": VoucherState.ISSUED})
    return True


def _hold_of(session: Session, hold_id: str, holder: str) -> ScanCode | None:
    session.flush()  # the caller may have just written what we look for
    held = select(ScanCode).where(ScanCode.hold_public_id == hold_id, ScanCode.held_by == holder)
    return session.scalars(held, execution_options={"populate_existing": True}).first()


def held(session: Session, hold_id: str, holder: str, real_now: datetime) -> Scan:
    """What this holder's hold stands for; Refused `codes.expired` once it is over."""
    code = _hold_of(session, hold_id, holder)
    if code is None or not _is_held(code, real_now):
        raise Refused("codes.expired")
    member = session.get_one(Member, code.member_id)
    if not member.is_member:
        raise Refused("codes.expired")
    voucher = session.get(Voucher, code.voucher_id) if code.voucher_id else None
    return _scan_of(code, member, voucher)


def use_identity(session: Session, hold_id: str, holder: str, real_now: datetime) -> Member:
    """Use up a scanned `identify` code together with what it was scanned for."""
    code = _hold_of(session, hold_id, holder)
    if code is None or code.purpose != CodePurpose.IDENTIFY:
        raise Refused("codes.expired")
    code = _read_again(session, code, is_locking=True)
    member = session.get_one(Member, code.member_id)
    if not _is_held(code, real_now) or not member.is_member:
        raise Refused("codes.expired")
    code.state = CodeState.USED
    code.used_at = real_now
    return member


# Using


def redeem(
    session: Session,
    *,
    holder: str,
    branch: Branch,
    bill_satang: int,
    operation_id: str,
    now: datetime,
    real_now: datetime,
    tz: ZoneInfo,
    parsed: Parsed | None = None,
    hold_id: str | None = None,
    receipt_no: str | None = None,
    purchase_id: int | None = None,
    member_id: int | None = None,
    cashier_id: int | None = None,
    device_id: int | None = None,
    api_key_id: int | None = None,
) -> RedemptionResult:
    """Use a voucher at a till: code, voucher, counters and the redemption in one transaction.

    With a `hold_id`, or a code that this holder has scanned, only the hold's own expiry counts;
    a code without a hold is scanned and used in one step, and its 60 s apply. `member_id` is the
    buyer of the bill, when it is known: another member's voucher is refused. Refused as `scan`
    and `coupons.refuse_unless_fits` say.
    """
    assert (parsed is None) != (hold_id is None)
    points.lock_member(session, _member_of(session, parsed, hold_id, holder))
    # Scanned and used in one step: a refusal must not leave the scan's hold behind.
    with session.begin_nested() if parsed is not None else nullcontext():
        voucher, code = _voucher_at_till(
            session, parsed, hold_id, holder, member_id, now, real_now, tz
        )
        result = coupons.use(
            session,
            voucher,
            branch=branch,
            bill_satang=bill_satang,
            operation_id=operation_id,
            now=now,
            tz=tz,
            receipt_no=receipt_no,
            purchase_id=purchase_id,
            cashier_id=cashier_id,
            device_id=device_id,
            api_key_id=api_key_id,
        )
        session.execute(
            update(CODES)
            .where(or_(CODES.c.id == code.id, _siblings(voucher.id)))
            .values(state=CodeState.USED, used_at=real_now)
        )
        session.expire(code)
    return result


def _voucher_at_till(
    session: Session,
    parsed: Parsed | None,
    hold_id: str | None,
    holder: str,
    buyer_id: int | None,
    now: datetime,
    real_now: datetime,
    tz: ZoneInfo,
) -> tuple[Voucher, ScanCode]:
    """The voucher this holder has at its till, locked, and the code that brought it there."""
    code = _held_code(session, parsed, hold_id, holder, now, real_now, tz)
    assert code.voucher_id is not None
    voucher = coupons.lock_voucher(session, code.voucher_id)
    code = _read_again(session, code, is_locking=False)
    member = session.get_one(Member, code.member_id)
    if not is_sabotaged("codes.hold"):
        if code.state == CodeState.USED:
            raise coupons.used_refusal(session, voucher, tz)
        if not _is_held(code, real_now) or code.held_by != holder:
            raise Refused("codes.expired")
    if not member.is_member:
        raise Refused("codes.expired")
    if voucher.state == VoucherState.VOID or buyer_id not in (None, member.id):
        raise Refused("codes.refused")
    return voucher, code


def _member_of(session: Session, parsed: Parsed | None, hold_id: str | None, holder: str) -> int:
    """Whose code this is: members are locked before vouchers, everywhere."""
    if parsed is not None:
        return _find(session, parsed)[0].member_id
    code = _hold_of(session, hold_id or "", holder)
    if code is None:
        raise Refused("codes.expired")
    return code.member_id


def _siblings(voucher_id: int) -> Any:
    """The page's other codes of this voucher: none of them is worth anything any more."""
    return and_(
        CODES.c.voucher_id == voucher_id, CODES.c.state.in_((CodeState.NEW, CodeState.HELD))
    )


def _held_code(
    session: Session,
    parsed: Parsed | None,
    hold_id: str | None,
    holder: str,
    now: datetime,
    real_now: datetime,
    tz: ZoneInfo,
) -> ScanCode:
    """The code this holder has, scanning it now if need be; only `redeem` codes will do."""
    if hold_id is not None:
        code = _hold_of(session, hold_id, holder)
        if code is None or code.purpose != CodePurpose.REDEEM:
            raise Refused("codes.expired")
        return code
    assert parsed is not None
    if parsed.purpose != CodePurpose.REDEEM:
        raise Refused("codes.expired")
    return scan(session, parsed, holder, now, real_now, tz).code_row


def reverse_redemption(
    session: Session,
    *,
    redemption_public_id: str,
    operation_id: str,
    now: datetime,
    tz: ZoneInfo,
    cashier_id: int | None = None,
    api_key_id: int | None = None,
    staff_id: int | None = None,
) -> ReversalResult:
    """Undo one use of a voucher, once; who may is said in `undoing`."""
    found = select(Redemption).where(Redemption.public_id == redemption_public_id)
    redemption = session.scalars(found).first()
    if redemption is None:
        raise NotFound("coupons.redemption_not_found")
    undoing.refuse_unless_allowed(
        session,
        done_by=redemption.cashier_id,
        done_at=redemption.at,
        cashier_id=cashier_id,
        staff_id=staff_id,
        now=now,
    )
    return coupons.reverse(session, redemption, now=now, tz=tz)


# Forgetting


def forget(session: Session, real_now: datetime, limit: int) -> int:
    """Delete up to `limit` codes that have been dead for 30 days; returns how many."""
    dead = (
        select(CODES.c.id)
        .where(CODES.c.expires_at < real_now - WINDOW.remembered)
        .order_by(CODES.c.expires_at)
        .limit(limit)
    )
    gone: Any = session.connection().execute(
        delete(CODES).where(CODES.c.id.in_(dead.scalar_subquery()))
    )
    return int(gone.rowcount)
