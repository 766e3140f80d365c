"""Branches, staff, cashiers, tills and API keys: made here, checked here, by constant-time means."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError
from sqlalchemy import select
from sqlalchemy.orm import Session

from core import ids
from core.errors import NotFound, Refused
from core.text import clean
from loyalty import audit
from models.staff import ApiKey, Branch, Cashier, Device, EnrolmentCode, Role, Staff

SETUP_LIFE = timedelta(hours=24)
ENROLMENT_LIFE = timedelta(minutes=10)
PIN_DIGITS = 6
PIN_TRIES = 5
PIN_LOCK = timedelta(minutes=15)
PASSWORD_MIN = 12
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
    """The PIN is not right; fact `left` tries."""

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
    """The branch of this code."""
    found = session.scalar(select(Branch).where(Branch.code == code, Branch.is_active))
    if found is None:
        raise UnknownBranch
    return found


def branch_by_id(session: Session, branch_id: int) -> Branch:
    """The branch that a till stands in."""
    return session.get_one(Branch, branch_id)


# --- Staff -------------------------------------------------------------------------------------


def invite_staff(
    session: Session, email: str, role: str, *, name: str, now: datetime, actor: str
) -> str:
    """Make a member of staff without a password; returns the one-time set-up secret."""
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
            name=clean(name) or email.partition("@")[0],
            setup_hash=ids.token_hash(secret),
            setup_expires_at=now + SETUP_LIFE,
            created_at=now,
        )
    )
    audit.record(session, actor, "staff.added", {"role": role}, now)
    return secret


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
) -> str:
    """Add a cashier; returns the personal PIN, which is shown once."""
    branch = branch_of(session, branch_code)
    pin = pin or f"{secrets.randbelow(10**PIN_DIGITS):0{PIN_DIGITS}d}"
    shown = clean(name)
    if not shown:
        raise Refused("cashiers.no_name", status=422)
    session.add(Cashier(name=shown, branch_id=branch.id, pin_hash=hash_secret(pin), created_at=now))
    audit.record(session, actor, "cashiers.added", {"branch": branch.code}, now)
    return pin


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
    return WrongPin(left=PIN_TRIES - cashier.failed_count)


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
        name=clean(name, 60) or "Till",
        branch_id=row.branch_id,
        token_hash=ids.token_hash(token),
        enrolled_at=now,
    )
    session.add(device)
    session.flush()  # the audit row names the device
    audit.record(session, f"device:{device.id}", "devices.enrolled", {"device": device.id}, now)
    return device, token


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
    shown = clean(name)
    if not shown or session.scalar(select(ApiKey.id).where(ApiKey.name == shown)) is not None:
        raise Refused("api_keys.known_name")
    key = f"taem_{ids.secret_token()}"
    session.add(ApiKey(name=shown, key_hash=ids.token_hash(key), scopes=scopes, created_at=now))
    audit.record(session, actor, "api_keys.created", {"scopes": scopes}, now)
    return key
