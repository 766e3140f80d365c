"""Revoked means now, in every process of the shop (Z23)."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.orm import Session

from core import ids
from loyalty import people
from models.staff import ApiKey, Cashier, CashierSession, Device, StaffSession
from tests import factories
from tests.processes import READY_SECONDS, answers, bare_environment, free_port, wait_until

pytestmark = [pytest.mark.soak, pytest.mark.slow]
PROCESSES = 2
#: Path, and how whoever is not let in is told: the API and the till's script by 401.
DOORS = {
    "key": ("/api/v1/members/100000007", (401,)),
    "device": ("/cashier/recent", (401,)),
    "cashier": ("/cashier/recent", (401,)),
    "staff": ("/admin/members", (303, 401)),
}


@pytest.fixture
def ports(processes, database) -> list[int]:
    """Two web processes on one database."""
    found = [free_port() for _ in range(PROCESSES)]
    for port in found:
        settings = factories.make_settings(
            database.url, port=port, public_url=f"http://127.0.0.1:{port}"
        )
        processes.fork("web", bare_environment() | factories.environment(settings))
    for port in found:
        wait_until(lambda: answers(f"http://127.0.0.1:{port}/healthz"), within=READY_SECONDS)  # noqa: B023
    return found


def ask(port: int, kind: str, headers: dict[str, str]) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", DOORS[kind][0], headers={"Accept": "application/json"} | headers)
        return connection.getresponse().status
    finally:
        connection.close()


Revoke = Callable[[Session], None]


def let_in(session: Session, now: datetime) -> dict[str, tuple[dict[str, str], Revoke]]:
    """A key, two tills and somebody of the staff: what they show at the door, and their end."""
    tokens = {name: ids.secret_token() for name in ("key", "d1", "d2", "c1", "c2", "staff")}
    hashed = {name: ids.token_hash(token) for name, token in tokens.items()}
    branch = factories.make_branch(session)
    nok = factories.nok(session, branch=branch)
    nok.name = tokens["c1"][:20]
    prem = factories.prem(session, email=f"{ids.public_id()}@taem.example")
    key = ApiKey(
        name=tokens["key"][:20], key_hash=hashed["key"], scopes=["members.read"], created_at=now
    )
    tills = [
        factories.make_device(session, branch=branch, token_hash=hashed[name])
        for name in ("d1", "d2")
    ]
    session.add(key)
    session.flush()
    session.add_all(
        CashierSession(
            token_hash=hashed[name], cashier_id=nok.id, device_id=device.id, opened_at=now,
            last_seen_at=now, expires_at=now + timedelta(hours=12),
        )
        for name, device in zip(("c1", "c2"), tills, strict=True)
    )  # fmt: skip
    session.add(
        StaffSession(
            token_hash=hashed["staff"], staff_id=prem.id, created_at=now, last_seen_at=now,
            expires_at=now + timedelta(hours=12),
        )
    )  # fmt: skip

    def end_till(session: Session) -> None:
        device = session.get_one(Device, tills[0].id)
        people.revoke_device(session, device, now=now, actor="staff:1")

    def end_cashier(session: Session) -> None:
        cashier = session.get_one(Cashier, nok.id)
        people.change_cashier(
            session, cashier, name=cashier.name, branch_id=cashier.branch_id, is_manager=False,
            is_active=False, member_id=None, staff_id=None, now=now, actor="staff:1",
        )  # fmt: skip

    def end_key(session: Session) -> None:
        people.revoke_api_key(session, session.get_one(ApiKey, key.id), now=now, actor="staff:1")

    def end_staff(session: Session) -> None:
        session.get_one(StaffSession, hashed["staff"]).revoked_at = now

    def cookies(**values: str) -> dict[str, str]:
        return {"Cookie": "; ".join(f"taem_{name}={value}" for name, value in values.items())}

    return {
        "key": ({"Authorization": f"Bearer {tokens['key']}"}, end_key),
        "device": (cookies(device=tokens["d1"], cashier=tokens["c1"]), end_till),
        "cashier": (cookies(device=tokens["d2"], cashier=tokens["c2"]), end_cashier),
        "staff": (cookies(staff=tokens["staff"]), end_staff),
    }


def test_z23_revoked_in_one_process_is_refused_by_the_next_request_in_all(database, ports, scale):
    """A hundred rounds under `make soak`: key, till, cashier and staff, each within a second."""
    for number in range(max(1, scale(100))):
        now = datetime.now(UTC)
        with database.write() as session:
            guests = let_in(session, now)
        for kind, (headers, revoke) in guests.items():
            # Everybody is known to both processes before, and to neither after.
            before = [ask(port, kind, headers) for port in ports]
            assert not {*before} & {*DOORS[kind][1]}, (number, kind, before)
            assert max(before) < 500
            with database.write() as session:
                revoke(session)
            began = time.monotonic()
            after = [ask(port, kind, headers) for port in ports]
            assert {*after} <= {*DOORS[kind][1]}, (number, kind, after)
            assert time.monotonic() - began < 1 * PROCESSES
