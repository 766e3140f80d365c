"""Bills that a till keeps while it has no signal: earnings only, signed, capped, settled once (K7).

The device signs each bill with a key that it was given while it was online; the key is derived
from the server's secret and the device, so nothing has to be stored, and it dies with the device.
A device's clock decides nothing but how long ago, by its own count, a bill was put down.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy import exists, func, select
from sqlalchemy.orm import Session

from core.clock import local_day, start_of_day
from core.errors import Invalid, Refused
from core.i18n import money
from core.sabotage import is_sabotaged
from loyalty import shop
from models.purchases import Approval, Purchase
from models.staff import Cashier, CashierSession, Device

VERSION = "T1"
#: The longest that a till stays open with one PIN; who signed must have opened it before.
SHIFT = timedelta(hours=12)


class OverCap(Refused):
    """More than a till without a signal may keep, or too old: a manager decides."""

    code = "tills.queue_over"
    status = 403


@dataclass(frozen=True)
class Queued:
    """One bill as the device wrote and signed it."""

    operation: str
    who: str
    bill: str
    receipt_no: str
    cashier_id: int
    queued_at: datetime
    written: str


def written(
    operation: str, who: str, bill: str, receipt_no: str, cashier_id: int, queued_at: str
) -> str:
    """The text that is signed."""
    return "\n".join((VERSION, operation, who, bill, receipt_no, str(cashier_id), queued_at))


def key_of(secret_key: str, device: Device) -> bytes:
    """The signing key of this device."""
    content = f"taem.till-queue:{device.id}:{device.token_hash}"
    return hmac.new(secret_key.encode(), content.encode(), hashlib.sha256).digest()


def refuse_forged(secret_key: str, device: Device, text: str, mac: str) -> None:
    """Refused `tills.queue_forged` unless this device has signed this text."""
    right = hmac.new(key_of(secret_key, device), text.encode(), hashlib.sha256).hexdigest()
    if not hmac.compare_digest(right.encode(), mac.encode("utf-8", "replace")):
        raise Refused("tills.queue_forged", status=403)


def shift_of(
    session: Session, device: Device, cashier_id: int, real_now: datetime
) -> CashierSession:
    """The newest shift of this cashier at this till; Refused when they cannot have stood there."""
    hours = timedelta(hours=int(shop.get(session, "tills.queue_hours")))
    shift = session.scalar(
        select(CashierSession)
        .join(Cashier, Cashier.id == CashierSession.cashier_id)
        .where(
            CashierSession.cashier_id == cashier_id,
            CashierSession.device_id == device.id,
            CashierSession.opened_at > real_now - hours - SHIFT,
            Cashier.branch_id == device.branch_id,
            Cashier.is_active,
        )
        .order_by(CashierSession.opened_at.desc())
        .limit(1)
    )
    if shift is None:
        raise Refused("tills.queue_forged", status=403)
    return shift


def age(queued_at: datetime, sent_at: datetime) -> timedelta:
    """How long a bill has waited, both moments by the device's clock: its error cancels out."""
    if queued_at.tzinfo is None or sent_at.tzinfo is None:
        raise Invalid("errors.invalid_field", field="queued_at")
    return max(timedelta(0), sent_at - queued_at)


def over(
    session: Session,
    device: Device,
    amount_satang: int,
    waited: timedelta,
    *,
    now: datetime,
    tz: ZoneInfo,
) -> OverCap | None:
    """What speaks against settling this bill without a manager, if anything.

    Locks the device's row, so that two uploads of one queue are counted one after the other.
    """
    hours = int(shop.get(session, "tills.queue_hours"))
    if waited > timedelta(hours=hours):
        return OverCap("tills.queue_old", over="queue_age", hours=hours)
    if not is_sabotaged("queueing.lock"):
        session.execute(select(Device.id).where(Device.id == device.id).with_for_update())
    midnight = start_of_day(local_day(now, tz), tz)
    at_this_till = select(CashierSession.cashier_id).where(CashierSession.device_id == device.id)
    known = session.execute(
        select(
            func.count().label("bills"),
            func.coalesce(func.sum(Purchase.amount_satang), 0).label("satang"),
        ).where(
            Purchase.cashier_id.in_(at_this_till),
            Purchase.recorded_at >= midnight,
            Purchase.device_id == device.id,
            Purchase.queued_at.is_not(None),
            ~exists().where(
                Approval.operation_id == Purchase.operation_id, Approval.at >= midnight
            ),
        )
    ).one()
    bills = int(shop.get(session, "tills.queue_bills"))
    satang = int(shop.get(session, "tills.queue_satang"))
    if known.bills + 1 > bills or int(known.satang) + amount_satang > satang:
        return OverCap(over="queue", bills=bills, baht=money("th", satang))
    return None
