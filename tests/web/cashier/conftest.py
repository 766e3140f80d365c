"""A manager behind the till, a second till, and a device that signs what it keeps."""

from __future__ import annotations

import base64
import hashlib
import hmac
import uuid
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest

from core import ids
from models.staff import Branch, Cashier, CashierSession, Device
from tests import factories
from tests.moments import NOW
from tests.web.conftest import PIN_HASH, Browser


@pytest.fixture
def manager(runtime, shop) -> Cashier:
    """พี่แดง, whose PIN allows things at Siam."""
    with runtime.transaction() as session:
        cashier = factories.nok(session, pin_hash=PIN_HASH)
        cashier.name, cashier.is_manager = "พี่แดง", True
    return cashier


@pytest.fixture
def open_at(app, runtime, shop):
    """`open_at(cashier)` is another till with that cashier's PIN open, in their branch."""

    def enrol(cashier: Cashier | None = None, *, opened_at: datetime | None = None) -> Browser:
        device_token, token = ids.secret_token(), ids.secret_token()
        opened = opened_at or runtime.clock.real_now()
        with runtime.transaction() as session:
            who = session.get_one(Cashier, (cashier or shop.cashier).id)
            branch = session.get_one(Branch, who.branch_id)
            device = factories.make_device(
                session, branch=branch, token_hash=ids.token_hash(device_token)
            )
            session.add(
                CashierSession(
                    token_hash=ids.token_hash(token),
                    cashier_id=who.id,
                    device_id=device.id,
                    opened_at=opened,
                    last_seen_at=opened,
                    expires_at=opened + timedelta(hours=12),
                )
            )
        client = app.test_client()
        client.set_cookie("taem_device", device_token)
        client.set_cookie("taem_cashier", token)
        browser = Browser(client)
        browser.device = device  # type: ignore[attr-defined]
        return browser

    return enrol


@dataclass
class Kept:
    """What a device has kept: bills that it signed with the key it was given."""

    till: Browser
    cashier: int
    key: bytes = b""
    bills: list[dict[str, Any]] = field(default_factory=list)

    def learn(self) -> None:
        self.key = base64.b64decode(self.till.get("/cashier/queue/key").get_json()["key"])

    def keep(self, who: str, bill: str, queued_at: datetime = NOW, **more: Any) -> dict[str, Any]:
        facts = {
            "operation": str(uuid.uuid4()),
            "who": who,
            "bill": bill,
            "receipt_no": "",
            "cashier": self.cashier,
            "queued_at": queued_at.isoformat(),
        } | more
        text = "\n".join(
            ["T1", facts["operation"], who, bill, facts["receipt_no"], str(facts["cashier"]),
             facts["queued_at"]]
        )  # fmt: skip
        facts["mac"] = hmac.new(self.key, text.encode(), hashlib.sha256).hexdigest()
        self.bills.append(facts)
        return facts

    def send(self, bill: dict[str, Any], sent_at: datetime = NOW, **more: Any) -> Any:
        body = {**bill, "sent_at": sent_at.isoformat(), **more}
        return self.till.ask("/cashier/queue/settle", body)


@pytest.fixture
def kept(till, shop) -> Kept:
    made = Kept(till, shop.cashier.id)
    made.learn()
    return made


def device_of(runtime, shop) -> Device:
    with runtime.database.read() as session:
        return session.get_one(Device, shop.device.id)
