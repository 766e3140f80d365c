"""Opening a shop: what is done, what comes next, live checks, and the poster for the counter."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from flask import Response, make_response, render_template, request, url_for
from PIL import Image
from sqlalchemy import func, select

from bot import poster
from core.clock import local_day
from core.i18n import money, t
from insights.dashboard import Counts
from loyalty import points, shop
from models.campaigns import Campaign, CampaignState
from models.coupons import Coupon, CouponState
from models.inbox import Event
from models.members import SourceCode
from models.menus import Menu
from models.points import EarnPolicy
from models.purchases import Purchase
from models.staff import Branch, Cashier, Device, Staff
from web.admin.ground import blueprint, may
from web.auth import staff_only
from web.checkup import Finding, examine
from web.ground import db, locale, opened, outside, runtime, shop_look
from web.liff import qr
from web.liff.ground import basic_id, chat_url, invite_link


@dataclass(frozen=True)
class Step:
    """One step: whether it is done, and where it is done. `key` names its words."""

    key: str
    is_done: bool
    #: A console page; None where `.env` or LINE's own console is the place.
    endpoint: str | None = None
    #: The part of that page.
    part: str | None = None
    #: Shops can live without it.
    is_optional: bool = False

    @property
    def address(self) -> str | None:
        """Where the step is done, if that is in the console."""
        return url_for(self.endpoint, _anchor=self.part) if self.endpoint else None


@blueprint.get("/setup")
@staff_only("settings.read")
def setup_page() -> str:
    """Every step in order; each remembers itself, so that it can be gone on with any day."""
    return _page(None)


@blueprint.post("/setup/check")
@staff_only("settings.edit")
@outside
def setup_check() -> str:
    """Ask LINE and our own address now, and say in words what to do."""
    findings = examine(runtime())
    with opened(is_reading=True):
        return _page(findings)


def _page(findings: list[Finding] | None) -> str:
    codes = db().scalars(
        select(SourceCode).where(SourceCode.is_active).order_by(SourceCode.id).limit(50)
    )
    return render_template(
        "admin/setup.html",
        **_guide(),
        findings=findings,
        sources=codes.all(),
        account=basic_id(db()),
        can_edit=may("settings.edit"),
    )


def _guide() -> dict[str, Any]:
    """What the list of steps shows."""
    steps = list(_steps())
    return {
        "steps": steps,
        "done": sum(step.is_done for step in steps),
        "following": _following(steps),
        "facts": _facts(),
    }


def _following(steps: Iterable[Step]) -> Step | None:
    """The next thing that a shop cannot open without."""
    return next((one for one in steps if not one.is_done and not one.is_optional), None)


def _facts() -> dict[str, str]:
    """What the words of the steps may name."""
    settings, clock = runtime().settings, runtime().clock
    policy = points.policy_for(db(), local_day(clock.now(), clock.tz))
    return {
        "webhook": f"{settings.public_url}/callback",
        "liff": f"{settings.public_url}/m",
        "baht": money(locale(), policy.satang_per_point),
        "chat": settings.line_api_url if settings.demo else chat_url(db()),
    }


def _steps() -> Iterator[Step]:
    """In the order in which an owner gets there: the look first, the first customer last."""
    settings = runtime().settings
    is_named = shop.get(db(), "shop.name_th") != shop.DEFAULTS["shop.name_th"]
    has_look = bool(shop.get(db(), "shop.colour") or shop.get(db(), "shop.logo"))
    yield Step("shop", is_named, "admin.settings_page", "shop")
    yield Step("look", has_look, "admin.settings_page", "look", is_optional=True)
    yield Step("line", bool(settings.line_channel_secret) and settings.has_token)
    yield Step("webhook", _is_any(Event))
    yield Step("liff", settings.has_liff, is_optional=True)
    yield Step("earning", _is_any(EarnPolicy), "admin.earning_page", "policy", is_optional=True)
    yield Step("offer", _is_any(Coupon, Coupon.state == CouponState.LIVE), "admin.offers")
    is_shown = Menu.is_default, Menu.published_version.is_not(None)
    yield Step("menu", _is_any(Menu, *is_shown), "admin.menus")
    works = Cashier.is_active
    has_till = _is_any(Device, Device.revoked_at.is_(None))
    is_open = has_till and _is_any(Cashier, works)
    has_branch = _is_any(Branch, Branch.is_active)
    where = (
        "admin.cashiers_page" if has_till else "admin.devices_page" if has_branch else "admin.tills"
    )
    yield Step("till", is_open, where)
    yield Step("try", _is_any(Purchase))
    cashiers = db().scalar(select(func.count()).select_from(Cashier).where(works)) or 0
    yield Step("cashiers", cashiers > 1, "admin.cashiers_page", is_optional=True)
    people = db().scalar(select(func.count()).select_from(Staff)) or 0
    yield Step("staff", people > 1, "admin.staff_page", is_optional=True)
    is_sent = Campaign.state.not_in((CampaignState.DRAFT, CampaignState.CANCELLED))
    yield Step("campaign", _is_any(Campaign, is_sent), "admin.campaigns_page", is_optional=True)


def _is_any(model: Any, *conditions: Any) -> bool:
    return db().scalar(select(model.id).where(*conditions).limit(1)) is not None


@blueprint.get("/setup/poster.pdf")
@staff_only("settings.read")
def setup_poster() -> Response:
    """A poster to print: its QR opens the chat, or a source's own link, so that it is counted."""
    code = db().scalar(
        select(SourceCode.code).where(
            SourceCode.code == request.args.get("source", "")[:64], SourceCode.is_active
        )
    )
    link = invite_link(code) if code else chat_url(db())
    language = "en" if request.args.get("language") == "en" else "th"
    words = poster.Words(
        shop=shop.shop_name(db(), language),
        title=t(language, "setup.poster_title"),
        lead=t(language, "setup.poster_lead"),
        foot=basic_id(db()) or t(language, "setup.poster_foot"),
    )
    mark = shop.logo(db(), shop.get(db(), "shop.logo"))
    look = poster.Look(shop_look()["colour"], Image.open(BytesIO(mark)) if mark else None)
    picture = poster.draw(words, Image.open(BytesIO(qr.png(link, box=1))), look)
    response = make_response(poster.as_pdf(picture))
    response.headers["Content-Type"] = "application/pdf"
    response.headers["Content-Disposition"] = 'inline; filename="poster.pdf"'
    return response


def next_step() -> Step | None:
    """The next step of a shop that is not open yet, for whoever opens it."""
    return _following(_steps()) if may("settings.edit") else None


def first_steps(counts: Counts) -> dict[str, Any] | None:
    """The guide in place of the figures, while there are none: a shop that nobody has joined."""
    if counts.members or not may("settings.edit"):
        return None
    guide = _guide()
    return guide if guide["following"] else None
