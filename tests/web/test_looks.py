"""Pages whose content stands still look as they did when somebody last looked at them.

What is kept is small and grey: one value for each 10 × 10 pixels. A letter that is drawn a little
otherwise by another browser does not matter; a lost style sheet, a moved button or a missing
picture does. `TAEM_KEEP_LOOKS=1` keeps what is seen now, for somebody to look at and commit.
"""

from __future__ import annotations

import io
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageChops, ImageStat

from core import ids
from loyalty import coupons, doors, purchases
from models.members import Member
from models.staff import CashierSession, Role, StaffSession
from tests import factories
from tests.moments import BANGKOK, NOW

pytestmark = pytest.mark.e2e

KEPT = Path(__file__).parent / "looks"
PHONE = {"width": 390, "height": 840}
CELL = 10
#: Of 255: how far a cell may be off, and how many of a hundred cells may be further.
FAR = 32
MOST_PERCENT = 2.0
#: Who opens it, and what moves on it by itself.
PAGES = {
    "sign_in": ("nobody", "/admin/sign-in", None),
    "enrol": ("nobody", "/cashier/enrol", None),
    "till": ("cashier", "/cashier", None),
    "home": ("member", "/m/home", None),
    "card": ("member", "/m/card", "img"),
    "points": ("member", "/m/points", None),
    "stamps": ("member", "/m/stamps", None),
    "coupons": ("member", "/m/coupons", None),
    "me": ("member", "/m/me", None),
    "offers": ("staff", "/admin/offers", None),
    "tiers": ("staff", "/admin/tiers", None),
}


@pytest.fixture
def engine_kind():
    """The browser makes no difference between the engines."""
    return "sqlite"


@pytest.fixture
def tokens(runtime, shop) -> dict[str, str]:
    """Sessions of แพรว, who bought and claimed something, of the till, and of the owner."""
    tokens = {name: ids.secret_token() for name in ("staff", "cashier")}
    life = {"last_seen_at": NOW, "expires_at": NOW + timedelta(hours=12)}
    with runtime.transaction() as session:
        owner = factories.prem(session, role=Role.OWNER)
        session.add(
            StaffSession(
                token_hash=ids.token_hash(tokens["staff"]),
                staff_id=owner.id,
                created_at=NOW,
                **life,
            )
        )
        session.add(
            CashierSession(
                token_hash=ids.token_hash(tokens["cashier"]), cashier_id=shop.cashier.id,
                device_id=shop.device.id, opened_at=NOW, **life,
            )
        )  # fmt: skip
        member = factories.make_member(session, "แพรว")
        purchases.record_purchase(
            session, member_id=member.id, branch=shop.branch, amount_satang=42_000,
            operation_id="looks:1", now=NOW, tz=BANGKOK,
        )  # fmt: skip
        coupons.claim(session, shop.coupon.id, session.get(Member, member.id), NOW, BANGKOK)
        tokens["member"] = doors.open_session(session, member, "link", NOW)
    return tokens | {"device": shop.device_token}


@pytest.fixture
def open_page(new_page, served, tokens) -> Any:
    """`open_page("till")` is that page of the shop, with its time standing still."""

    def open_one(name: str) -> Any:
        who, path, _ = PAGES[name]
        page = new_page(viewport=PHONE, reduced_motion="reduce", locale="th")
        page.clock.set_fixed_time(NOW)
        cookies = {"staff": ["staff"], "member": ["member"], "cashier": ["device", "cashier"]}
        page.context.add_cookies(
            [{"name": f"taem_{one}", "value": tokens[one], "url": served}
             for one in cookies.get(who, [])]
        )  # fmt: skip
        page.goto(f"{served}{path}", wait_until="networkidle")
        page.evaluate("document.fonts.ready")
        return page

    return open_one


def seen(page: Any, name: str) -> Image.Image:
    """The page as one grey value for each cell; what moves by itself is covered."""
    moving = PAGES[name][2]
    shot = page.screenshot(mask=[page.locator(moving)] if moving else [], animations="disabled")
    with Image.open(io.BytesIO(shot)) as picture:
        grey = picture.convert("L")
    return grey.resize((grey.width // CELL, grey.height // CELL), Image.Resampling.BOX)


def percent_off(one: Image.Image, other: Image.Image) -> float:
    """How many of a hundred cells are far off."""
    if one.size != other.size:
        return 100.0
    far = ImageChops.difference(one, other).point(lambda value: 100 * (value > FAR))
    return float(ImageStat.Stat(far).mean[0])


def test_pages_look_as_they_did(open_page):
    wrong = {}
    for name in PAGES:
        now = seen(open_page(name), name)
        file = KEPT / f"{name}.png"
        if os.environ.get("TAEM_KEEP_LOOKS"):
            now.save(file, optimize=True)
        with Image.open(file) as kept:
            off = percent_off(now, kept)
        if off > MOST_PERCENT:
            wrong[name] = f"{off:.1f} % of it look otherwise"
    assert wrong == {}


def test_control_a_spoilt_page_is_noticed(open_page):
    page = open_page("home")
    with Image.open(KEPT / "home.png") as kept:
        page.evaluate("document.querySelector('main').style.marginTop = '120px'")
        assert percent_off(seen(page, "home"), kept) > MOST_PERCENT
        page.evaluate(
            "document.querySelectorAll('link[rel=stylesheet]').forEach((one) => one.remove())"
        )
        assert percent_off(seen(page, "home"), kept) > MOST_PERCENT
