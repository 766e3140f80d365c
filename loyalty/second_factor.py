"""The second factor of the console: time-based codes (RFC 6238), each good once.

Ten recovery codes stand in for a lost telephone: shown once, kept as keyed hashes, each good once.
Making new ones ends the old.
"""

from __future__ import annotations

import hmac
import unicodedata
from datetime import datetime

import pyotp
from sqlalchemy import delete, func, or_, select, update
from sqlalchemy.orm import Session

from core import ids
from core.crypto import Vault
from loyalty import audit
from models.staff import RecoveryCode, Role, Staff

#: Who may not do without one (`product.md` 1); others may have one.
NEEDED = frozenset({Role.OWNER, Role.MANAGER})
STEP_SECONDS = 30
ISSUER = "Taem"
RECOVERY_CODES = 10
#: 80 random bits each.
RECOVERY_LETTERS = 16
_PLACE = "staff.totp"


def new_secret() -> str:
    """A fresh secret, in the letters an authenticator app takes."""
    return pyotp.random_base32()


def address(secret: str, email: str) -> str:
    """What the QR code says."""
    return pyotp.TOTP(secret).provisioning_uri(name=email, issuer_name=ISSUER)


def matching_step(secret: str, typed: str, real_now: datetime) -> int | None:
    """The 30-second step whose code this is: this one, the one before or the next; else None."""
    code = "".join(unicodedata.normalize("NFKC", typed).split()).replace("-", "")
    totp = pyotp.TOTP(secret)
    now = int(real_now.timestamp()) // STEP_SECONDS
    found = None
    for step in (now - 1, now, now + 1):
        if hmac.compare_digest(totp.generate_otp(step).encode(), code.encode()[:32]):
            found = step
    return found


def is_right(session: Session, vault: Vault, staff: Staff, typed: str, real_now: datetime) -> bool:
    """Whether this is a code of theirs that was not used yet; uses it up, in one step."""
    if staff.totp_sealed is None:
        return False
    if _use_recovery_code(session, vault, staff, typed, real_now):
        return True
    secret = vault.unseal(f"{_PLACE}:{staff.id}", staff.totp_sealed).decode()
    step = matching_step(secret, typed, real_now)
    return step is not None and _use(session, staff, step)


def enrol(
    session: Session, vault: Vault, staff: Staff, secret: str, typed: str, real_now: datetime
) -> bool:
    """Take this secret for this person, if the app has it: the code says so."""
    step = matching_step(secret, typed, real_now)
    if step is None:
        return False
    staff.totp_sealed = vault.seal(f"{_PLACE}:{staff.id}", secret.encode())
    staff.totp_step = step
    audit.record(session, f"staff:{staff.id}", "staff.second_factor_set", {}, real_now)
    return True


def forget(session: Session, staff: Staff, *, actor: str, now: datetime) -> None:
    """The phone is lost: the next sign-in sets it up anew."""
    staff.totp_sealed = staff.totp_step = None
    session.execute(delete(RecoveryCode).where(RecoveryCode.staff_id == staff.id))
    audit.record(session, actor, "staff.second_factor_reset", {"staff": staff.id}, now)


def make_recovery_codes(
    session: Session, vault: Vault, staff: Staff, real_now: datetime
) -> list[str]:
    """Ten fresh codes, to be shown once; those before them are worth nothing."""
    session.execute(delete(RecoveryCode).where(RecoveryCode.staff_id == staff.id))
    codes = [ids.typed_code(RECOVERY_LETTERS) for _ in range(RECOVERY_CODES)]
    session.add_all(
        RecoveryCode(
            staff_id=staff.id, code_hash=_recovery_hashes(vault, staff, code)[0], made_at=real_now
        )
        for code in codes
    )
    actor = f"staff:{staff.id}"
    audit.record(session, actor, "staff.recovery_codes_made", {"count": len(codes)}, real_now)
    return ["-".join(code[at : at + 4] for at in range(0, len(code), 4)) for code in codes]


def recovery_codes_left(session: Session, staff: Staff) -> int:
    """How many of them were not used yet."""
    left = select(func.count()).where(
        RecoveryCode.staff_id == staff.id, RecoveryCode.used_at.is_(None)
    )
    return session.scalar(left) or 0


def _use_recovery_code(
    session: Session, vault: Vault, staff: Staff, typed: str, real_now: datetime
) -> bool:
    plain = unicodedata.normalize("NFKC", typed).upper()
    code = "".join(letter for letter in plain if letter in ids.LOOK_ALIKE_FREE)
    if len(code) != RECOVERY_LETTERS:
        return False
    used = session.scalar(
        update(RecoveryCode)
        .where(
            RecoveryCode.staff_id == staff.id,
            RecoveryCode.code_hash.in_(_recovery_hashes(vault, staff, code)),
            RecoveryCode.used_at.is_(None),
        )
        .values(used_at=real_now)
        .returning(RecoveryCode.id)
    )
    if used is None:
        return False
    facts = {"left": recovery_codes_left(session, staff)}
    audit.record(session, f"staff:{staff.id}", "staff.recovery_code_used", facts, real_now)
    return True


def _recovery_hashes(vault: Vault, staff: Staff, code: str) -> list[str]:
    """Keyed, so that whoever has the database alone cannot try codes against it."""
    return vault.blind_indexes("staff.recovery", f"{staff.id}:{code}")


def _use(session: Session, staff: Staff, step: int) -> bool:
    used = session.execute(
        update(Staff)
        .where(Staff.id == staff.id, or_(Staff.totp_step.is_(None), Staff.totp_step < step))
        .values(totp_step=step)
        .returning(Staff.id)
    )
    return used.first() is not None
