"""Browsers with cookies and form tokens, a shop with a till, and people to sign in as."""

from __future__ import annotations

import re
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from argon2 import PasswordHasher
from itsdangerous import URLSafeTimedSerializer
from werkzeug.serving import make_server

from core import ids
from loyalty import codes, coupons, members, people
from models.coupons import CodePurpose, Coupon, Obtained
from models.members import Member
from models.staff import ApiKey, Branch, Cashier, CashierSession, Device, Role, StaffSession
from tests import factories
from tests.moments import BANGKOK, NOW
from web.limits import limiter

PIN = "481516"
#: argon2 is slow on purpose: how slow has a test of its own, and the others need not wait.
PRODUCT_HASHER = people._hasher
people._hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
people._NOBODY = people.hash_secret("nobody")
PIN_HASH = people.hash_secret(PIN)
PASSWORD = "สวนหลังบ้าน-2569"
PASSWORD_HASH = people.hash_secret(PASSWORD)
PHONE = "+66812345678"


#: Applications by their settings; building one costs more than most tests.
_BUILT: dict[str, Any] = {}


@pytest.fixture
def app(runtime, templates) -> Any:
    """As in tests/conftest.py, built once for equal settings and without the webhook's intake."""
    alike = runtime.settings.model_copy(update={"database_url": ""}).model_dump_json()
    if alike not in _BUILT:
        from app import create_app

        _BUILT[alike] = create_app(runtime=runtime)
        _BUILT[alike].testing = True
        _BUILT[alike].jinja_env.bytecode_cache = templates
        _BUILT[alike].extensions["taem_intake"].close()
    _BUILT[alike].extensions["taem"] = runtime
    _BUILT[alike].extensions.pop("taem_kept", None)
    limiter.reset()
    return _BUILT[alike]


@pytest.fixture
def served(app) -> Iterator[str]:
    """The address of the real application on a port of its own."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@dataclass
class Browser:
    """A client that knows the form token of its session."""

    client: Any

    def get(self, path: str, **more: Any) -> Any:
        return self.client.get(path, **more)

    def token(self) -> str:
        """The form token of this browser's session, as its pages would show it."""
        with self.client.session_transaction() as kept:
            secret = kept.setdefault("csrf_token", "4" * 40)
        signer = URLSafeTimedSerializer(self.client.application.secret_key, "wtf-csrf-token")
        return str(signer.dumps(secret))

    def mark(self, path: str, form: str = "") -> str:
        """What a page's form carries of what it shows: the first one, or that to this address."""
        page = self.get(path).text
        found = re.search(r'name="seen" value="(\w+)"', page[page.index(form) :])
        assert found is not None
        return found[1]

    def send(self, path: str, **form: Any) -> Any:
        """Submit a form."""
        return self.client.post(path, data={"csrf_token": self.token(), **form})

    def ask(self, path: str, body: dict[str, Any] | None = None, *, fresh: bool = False) -> Any:
        """What the till's script posts; `fresh` adds an operation id."""
        headers = {"X-CSRFToken": self.token(), "Accept": "application/json"}
        given = {"operation": str(uuid.uuid4()), **(body or {})} if fresh else body or {}
        return self.client.post(path, json=given, headers=headers)


@dataclass
class Shop:
    """Row ids and secrets of a small shop."""

    branch: Branch
    cashier: Cashier
    device: Device
    device_token: str
    coupon: Coupon


@pytest.fixture
def shop(runtime) -> Shop:
    """One branch with a till, Nok behind it, points, a stamp card and an offer of 20 baht."""
    token = ids.secret_token()
    with runtime.transaction() as session:
        factories.make_policy(session)
        branch = factories.make_branch(session)
        prize = factories.make_coupon(session, "prize", obtained=Obtained.STAMPS)
        factories.make_stamp_program(session, prize=prize)
        coupon = factories.make_coupon(session, total_units=100, per_member=5)
        cashier = factories.nok(session, pin_hash=PIN_HASH)
        device = factories.make_device(session, token_hash=ids.token_hash(token))
    return Shop(branch, cashier, device, token, coupon)


@pytest.fixture
def till(app, runtime, shop) -> Browser:
    """The enrolled till with Nok's PIN open."""
    token = ids.secret_token()
    with runtime.transaction() as session:
        session.add(
            CashierSession(
                token_hash=ids.token_hash(token),
                cashier_id=shop.cashier.id,
                device_id=shop.device.id,
                opened_at=NOW,
                last_seen_at=NOW,
                expires_at=NOW + timedelta(hours=12),
            )
        )
    client = app.test_client()
    client.set_cookie("taem_device", shop.device_token)
    client.set_cookie("taem_cashier", token)
    return Browser(client)


@pytest.fixture
def sign_in(app, runtime) -> Callable[..., Browser]:
    """`sign_in("auditor")` is a browser of somebody with that role."""

    def sign(role: str = "owner", **more: Any) -> Browser:
        token = ids.secret_token()
        with runtime.transaction() as session:
            values = {"email": f"{role}@taem.example", "role": Role(role)} | more
            staff = factories.prem(session, **values)
            session.add(
                StaffSession(
                    token_hash=ids.token_hash(token),
                    staff_id=staff.id,
                    created_at=NOW,
                    last_seen_at=NOW,
                    expires_at=NOW + timedelta(hours=12),
                )
            )
        client = app.test_client()
        client.set_cookie("taem_staff", token)
        return Browser(client)

    return sign


@pytest.fixture
def owner(sign_in) -> Browser:
    return sign_in("owner")


@pytest.fixture
def api(app, runtime) -> Callable[..., Any]:
    """`api("POST", path, body)` calls with a fresh key of every scope (or of `scopes`)."""
    made: dict[tuple[str, ...], str] = {}

    def key_for(scopes: tuple[str, ...]) -> str:
        if scopes not in made:
            made[scopes] = ids.secret_token()
            with runtime.transaction() as session:
                session.add(
                    ApiKey(
                        name=f"till software {len(made)}",
                        key_hash=ids.token_hash(made[scopes]),
                        scopes=list(scopes),
                        created_at=NOW,
                    )
                )
        return made[scopes]

    def call(
        method: str, path: str, body: Any = None, *, key: str | None = "",
        scopes: tuple[str, ...] = people.API_SCOPES, **headers: str,
    ) -> Any:  # fmt: skip
        """`key` is the Idempotency-Key: made if empty, left out if None."""
        sent = {"Authorization": f"Bearer {key_for(scopes)}", **headers}
        if method != "GET" and key is not None:
            sent["Idempotency-Key"] = key or str(uuid.uuid4())
        return app.test_client().open(f"/api/v1{path}", method=method, json=body, headers=sent)

    call.key_for = key_for  # type: ignore[attr-defined]
    return call


@pytest.fixture
def somchai(runtime, shop) -> Member:
    """Somchai with a key of his own and a proven phone."""
    with runtime.transaction() as session:
        member = factories.somchai(session, vault=runtime.vault)
        e164 = members.parse_phone(PHONE)
        assert e164 is not None
        members.set_phone(session, runtime.vault, member, e164, NOW)
        member.phone_proven_at, member.phone_proven_by = NOW, "cashier"
    return member


@pytest.fixture
def claim(runtime, shop) -> Callable[..., Any]:
    """`claim(member)` takes the shop's offer (or another one)."""

    def take(member: Member, coupon: Coupon | None = None) -> Any:
        with runtime.transaction() as session:
            who = session.get_one(Member, member.id)
            return coupons.claim(session, (coupon or shop.coupon).id, who, NOW, BANGKOK)

    return take


@pytest.fixture
def show(runtime) -> Callable[..., str]:
    """`show(member)` is the QR of their page; `show(member, voucher)` that of a voucher's page."""

    def make(member: Member, voucher: Any = None, purpose: str = "identify") -> str:
        with runtime.transaction() as session:
            if purpose == "card":
                return codes.card_code(session, factories.SECRET_KEY, member.id, NOW)
            return codes.make_code(
                session,
                factories.SECRET_KEY,
                CodePurpose.REDEEM if voucher else CodePurpose(purpose),
                member.id,
                voucher_id=voucher.id if voucher else None,
                real_now=runtime.clock.real_now(),
            )

    return make
