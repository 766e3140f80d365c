"""Branches, staff, cashiers, tills and API keys: made here, checked here, by constant-time means."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from core import ids
from core.errors import NotFound, Refused
from core.text import fit
from loyalty import audit
from models.staff import (
    ApiKey,
    Branch,
    Cashier,
    CashierSession,
    Device,
    EnrolmentCode,
    Role,
    Staff,
    StaffSession,
)

SETUP_LIFE = timedelta(hours=24)
ENROLMENT_LIFE = timedelta(minutes=10)
PIN_DIGITS = 6
PIN_TRIES = 5
PIN_LOCK = timedelta(minutes=15)
PASSWORD_MIN = 12
#: What the columns of staff, cashiers, tills and keys hold.
NAME_LETTERS = 100
BRANCH_CODE = re.compile(r"[A-Z0-9_-]{2,20}")
EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s]{1,180}\.[^@\s.]{2,60}")
API_SCOPES = (
    "members.read",
    "members.write",
    "purchases.write",
    "vouchers.write",
    "events.read",
)
_COMMON = ("password", "123456", "qwerty", "letmein", "iloveyou", "welcome", "admin", "taem")
_hasher = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)


class WrongPin(Refused):
    """The PIN is not right; facts `left` tries, and `count`, the same for its words."""

    code = "cashiers.wrong_pin"
    status = 401


class PinLocked(Refused):
    """Five wrong tries; fact `minutes` to wait."""

    code = "cashiers.locked"
    status = 429


class UnknownBranch(NotFound):
    code = "branches.unknown"


class DeadCode(NotFound):
    """An enrolment code is wrong, late or used: the three look alike."""

    code = "devices.dead_code"


# --- Branches ----------------------------------------------------------------------------------


def branches(session: Session) -> Sequence[Branch]:
    """Every active branch by code."""
    return session.scalars(select(Branch).where(Branch.is_active).order_by(Branch.code)).all()


def branch_of(session: Session, code: str) -> Branch:
    """The branch of this code, however its letters are written."""
    is_it = func.upper(Branch.code) == code.strip().upper()
    found = session.scalar(select(Branch).where(is_it, Branch.is_active))
    if found is None:
        raise UnknownBranch
    return found


def branch_by_id(session: Session, branch_id: int) -> Branch:
    """The branch that a till stands in."""
    return session.get_one(Branch, branch_id)


def add_branch(
    session: Session,
    code: str,
    name_th: str,
    name_en: str,
    *,
    now: datetime,
    actor: str,
    needs_receipt_no: bool = False,
) -> Branch:
    """Open a branch; its code is what tills and the API say, for ever."""
    code = code.strip().upper()
    if not BRANCH_CODE.fullmatch(code):
        raise Refused("branches.bad_code", status=422)
    if session.scalar(select(Branch.id).where(func.upper(Branch.code) == code)) is not None:
        raise Refused("branches.known_code")
    branch = Branch(code=code, name_th=name_th, name_en=name_en, needs_receipt_no=needs_receipt_no)
    session.add(branch)
    audit.record(session, actor, "branches.added", {"branch": code}, now)
    return branch


# --- Staff -------------------------------------------------------------------------------------


def invite_staff(
    session: Session,
    email: str,
    role: str,
    *,
    name: str,
    now: datetime,
    actor: str,
    branch_id: int | None = None,
) -> str:
    """Make a member of staff without a password; returns the one-time set-up secret.

    `branch_id` is the one branch that a manager looks after.
    """
    email = email.strip().lower()
    if not EMAIL.fullmatch(email):
        raise Refused("staff.bad_email", status=422)
    if session.scalar(select(Staff.id).where(Staff.email == email)) is not None:
        raise Refused("staff.known_email")
    secret = ids.secret_token()
    session.add(
        Staff(
            email=email,
            role=Role(role),
            name=fit(name, NAME_LETTERS) or email.partition("@")[0],
            branch_id=branch_id,
            setup_hash=ids.token_hash(secret),
            setup_expires_at=now + SETUP_LIFE,
            created_at=now,
        )
    )
    audit.record(session, actor, "staff.added", {"role": role, "branch": branch_id}, now)
    return secret


def invite_again(session: Session, staff: Staff, *, now: datetime, actor: str) -> str:
    """A fresh one-time set-up secret for somebody who is known; their password ends."""
    secret = ids.secret_token()
    staff.password_hash = None
    staff.setup_hash = ids.token_hash(secret)
    staff.setup_expires_at = now + SETUP_LIFE
    audit.record(session, actor, "staff.invited_again", {"staff": staff.id}, now)
    return secret


def end_sessions(session: Session, staff_id: int, real_now: datetime, *, but: str = "") -> None:
    """Sign somebody out of every session, but for the one of this token hash."""
    session.execute(
        update(StaffSession)
        .where(
            StaffSession.staff_id == staff_id,
            StaffSession.revoked_at.is_(None),
            StaffSession.token_hash != but,
        )
        .values(revoked_at=real_now)
    )


def check_password(password: str) -> None:
    """Refuse a password that is short or common."""
    plain = password.lower()
    if len(password) < PASSWORD_MIN or len(set(plain)) < 5:
        raise Refused("staff.weak_password", status=422, least=PASSWORD_MIN)
    if any(plain.strip("0123456789!@#$ ") == word for word in _COMMON):
        raise Refused("staff.weak_password", status=422, least=PASSWORD_MIN)


def hash_secret(text: str) -> str:
    """An argon2id hash with its own salt."""
    return _hasher.hash(text)


def is_right(hashed: str | None, text: str) -> bool:
    """Whether `text` matches; takes as long when there is no hash to compare with."""
    try:
        return _hasher.verify(hashed or _NOBODY, text) and hashed is not None
    except (VerifyMismatchError, InvalidHashError):
        return False


_NOBODY = _hasher.hash(secrets.token_hex(16))


# --- Cashiers ----------------------------------------------------------------------------------


def add_cashier(
    session: Session,
    name: str,
    branch_code: str,
    *,
    now: datetime,
    actor: str,
    pin: str | None = None,
    is_manager: bool = False,
) -> str:
    """Add a cashier; returns the personal PIN, which is shown once."""
    branch = branch_of(session, branch_code)
    pin = pin or _new_pin()
    shown = fit(name, NAME_LETTERS)
    if not shown:
        raise Refused("cashiers.no_name", status=422)
    cashier = Cashier(
        name=shown,
        branch_id=branch.id,
        pin_hash=hash_secret(pin),
        created_at=now,
        is_manager=is_manager,
    )
    session.add(cashier)
    audit.record(session, actor, "cashiers.added", {"branch": branch.code}, now)
    return pin


def _new_pin() -> str:
    return f"{secrets.randbelow(10**PIN_DIGITS):0{PIN_DIGITS}d}"


def reset_pin(session: Session, cashier: Cashier, *, now: datetime, actor: str) -> str:
    """A new PIN, shown once; the old one, its lock and every till it has open are over."""
    pin = _new_pin()
    cashier.pin_hash = hash_secret(pin)
    cashier.failed_count, cashier.locked_until = 0, None
    close_tills(session, now, CashierSession.cashier_id == cashier.id)
    audit.record(session, actor, "cashiers.pin_reset", {"cashier": cashier.id}, now)
    return pin


def unlock(session: Session, cashier: Cashier, *, now: datetime, actor: str) -> None:
    """A manager ends a lock before its time (AK5)."""
    cashier.failed_count, cashier.locked_until = 0, None
    audit.record(session, actor, "cashiers.unlocked", {"cashier": cashier.id}, now)


def change_cashier(
    session: Session,
    cashier: Cashier,
    *,
    name: str,
    branch_id: int,
    is_manager: bool,
    is_active: bool,
    member_id: int | None,
    staff_id: int | None,
    now: datetime,
    actor: str,
) -> None:
    """Change a cashier; `staff_id` is who they are in the console.

    Moving or dismissing somebody closes every till they have open (AA7).
    """
    shown = fit(name, NAME_LETTERS)
    if not shown:
        raise Refused("cashiers.no_name", status=422)
    if branch_id != cashier.branch_id or not is_active:
        close_tills(session, now, CashierSession.cashier_id == cashier.id)
    facts = {
        "cashier": cashier.id,
        "branch": branch_id,
        "is_manager": is_manager,
        "is_active": is_active,
        "has_member": member_id is not None,
        "staff": staff_id,
    }
    cashier.name, cashier.branch_id, cashier.is_manager = shown, branch_id, is_manager
    cashier.is_active, cashier.member_id, cashier.staff_id = is_active, member_id, staff_id
    audit.record(session, actor, "cashiers.changed", facts, now)


def close_tills(session: Session, now: datetime, where: Any) -> None:
    """End the open sessions of a cashier or of a device."""
    open_ones = update(CashierSession).where(where, CashierSession.closed_at.is_(None))
    session.execute(open_ones.values(closed_at=now))


def try_pin(
    session: Session, cashier: Cashier, pin: str, now: datetime
) -> WrongPin | PinLocked | None:
    """Check a PIN and count a wrong one. Returns the refusal instead of raising it, because the
    count must be committed. 5 failures lock for 15 minutes (AK5)."""
    if cashier.locked_until is not None and cashier.locked_until > now:
        return PinLocked(minutes=_minutes(cashier.locked_until - now))
    if cashier.locked_until is not None:
        cashier.locked_until, cashier.failed_count = None, 0
    if cashier.is_active and is_right(cashier.pin_hash, pin):
        cashier.failed_count = 0
        return None
    cashier.failed_count += 1
    if cashier.failed_count >= PIN_TRIES:
        cashier.locked_until = now + PIN_LOCK
        audit.record(session, f"cashier:{cashier.id}", "cashiers.locked", {}, now)
        return PinLocked(minutes=_minutes(PIN_LOCK))
    left = PIN_TRIES - cashier.failed_count
    return WrongPin(left=left, count=left)


def _minutes(span: timedelta) -> int:
    return max(1, -(-int(span.total_seconds()) // 60))


# --- Tills ---------------------------------------------------------------------------------------


def enrolment_code(session: Session, branch_code: str, *, now: datetime, actor: str) -> str:
    """A one-time code (128 bits and more, 10 minutes) that makes a browser a till."""
    branch = branch_of(session, branch_code)
    code = ids.secret_token()
    session.add(
        EnrolmentCode(
            code_hash=ids.token_hash(code),
            branch_id=branch.id,
            created_at=now,
            expires_at=now + ENROLMENT_LIFE,
        )
    )
    audit.record(session, actor, "devices.code_made", {"branch": branch.code}, now)
    return code


def enrol(session: Session, code: str, name: str, now: datetime) -> tuple[Device, str]:
    """Turn a code into a till. Returns the device and its bearer secret; raises DeadCode."""
    row = session.get(EnrolmentCode, ids.token_hash(code), with_for_update=True)
    if row is None or row.used_at is not None or row.expires_at <= now:
        raise DeadCode
    row.used_at = now
    token = ids.secret_token()
    device = Device(
        name=fit(name, NAME_LETTERS) or "Till",
        branch_id=row.branch_id,
        token_hash=ids.token_hash(token),
        enrolled_at=now,
    )
    session.add(device)
    session.flush()  # the audit row names the device
    audit.record(session, f"device:{device.id}", "devices.enrolled", {"device": device.id}, now)
    return device, token


def move_device(
    session: Session, device: Device, branch_id: int, *, now: datetime, actor: str
) -> None:
    """Take a till to another branch; whoever has it open must open it again."""
    device.branch_id = branch_id
    close_tills(session, now, CashierSession.device_id == device.id)
    audit.record(session, actor, "devices.moved", {"device": device.id, "branch": branch_id}, now)


def revoke_device(session: Session, device: Device, *, now: datetime, actor: str) -> None:
    """This browser is no till any more, from its next request on (Z23)."""
    if device.revoked_at is None:
        device.revoked_at = now
    close_tills(session, now, CashierSession.device_id == device.id)
    audit.record(session, actor, "devices.revoked", {"device": device.id}, now)


# --- API keys ------------------------------------------------------------------------------------


def create_api_key(
    session: Session, name: str, scopes: list[str], *, now: datetime, actor: str
) -> str:
    """Make a bearer key; only its hash is kept. Returns the key."""
    unknown = [scope for scope in scopes if scope not in API_SCOPES]
    if unknown or not scopes:
        raise Refused(
            "api_keys.unknown_scope",
            status=422,
            known=", ".join(API_SCOPES),
        )
    shown = fit(name, NAME_LETTERS)
    if not shown or session.scalar(select(ApiKey.id).where(ApiKey.name == shown)) is not None:
        raise Refused("api_keys.known_name")
    key = f"taem_{ids.secret_token()}"
    session.add(ApiKey(name=shown, key_hash=ids.token_hash(key), scopes=scopes, created_at=now))
    audit.record(session, actor, "api_keys.created", {"scopes": scopes}, now)
    return key


def api_keys(session: Session) -> Sequence[ApiKey]:
    """Every key by name, revoked ones too."""
    return session.scalars(select(ApiKey).order_by(ApiKey.name)).all()


def revoke_api_key(session: Session, key: ApiKey, *, now: datetime, actor: str) -> None:
    """End a key for good; once is enough."""
    if key.revoked_at is None:
        key.revoked_at = now
        audit.record(session, actor, "api_keys.revoked", {"key": key.id}, now)
