"""Opening a shop: what is done, what comes next, live checks, and the poster for the counter."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from flask import Response, make_response, render_template, request
from PIL import Image
from sqlalchemy import func, select

from bot import poster
from core.i18n import t
from loyalty import shop
from models.coupons import Coupon, CouponState
from models.inbox import Event
from models.members import SourceCode
from models.menus import MenuPublication
from models.points import EarnPolicy
from models.staff import Cashier, Device, Staff
from web.admin.ground import blueprint, may
from web.auth import staff_only
from web.checkup import Finding, examine
from web.ground import db, locale, runtime, shop_look
from web.liff import qr
from web.liff.ground import basic_id, chat_url, invite_link


@dataclass(frozen=True)
class Step:
    """One step: whether it is done, and where it is done. `key` names its words."""

    key: str
    is_done: bool
    #: A console page; None where `.env` or LINE's own console is the place.
    endpoint: str | None = None
    #: Shops can live without it.
    is_optional: bool = False


@blueprint.get("/setup")
@staff_only("settings.read")
def setup_page() -> str:
    """Every step in order; each remembers itself, so that it can be gone on with any day."""
    return _page(None)


@blueprint.post("/setup/check")
@staff_only("settings.edit")
def setup_check() -> str:
    """Ask LINE and our own address now, and say in words what to do."""
    return _page(examine(runtime()))


def _page(findings: list[Finding] | None) -> str:
    steps = list(_steps())
    codes = db().scalars(
        select(SourceCode).where(SourceCode.is_active).order_by(SourceCode.id).limit(50)
    )
    return render_template(
        "admin/setup.html",
        steps=steps,
        done=sum(step.is_done for step in steps),
        following=next((one for one in steps if not one.is_done and not one.is_optional), None),
        findings=findings,
        sources=codes.all(),
        account=basic_id(db()),
        webhook=f"{runtime().settings.public_url}/callback",
        liff=f"{runtime().settings.public_url}/m",
        can_edit=may("settings.edit"),
    )


def _steps() -> Iterator[Step]:
    settings = runtime().settings
    is_named = shop.get(db(), "shop.name_th") != shop.DEFAULTS["shop.name_th"]
    has_token = bool(settings.line_channel_access_token or settings.line_channel_id)
    yield Step("shop", is_named, "admin.settings_page")
    yield Step("line", bool(settings.line_channel_secret) and has_token)
    yield Step("webhook", _is_any(Event))
    yield Step("liff", settings.has_liff, is_optional=True)
    yield Step("earning", _is_any(EarnPolicy), "admin.earning_page")
    live = select(Coupon.id).where(Coupon.state == CouponState.LIVE).limit(1)
    yield Step("offer", db().scalar(live) is not None, "admin.offers")
    yield Step("menu", _is_any(MenuPublication), "admin.menus")
    people = db().scalar(select(func.count()).select_from(Staff)) or 0
    yield Step("staff", people > 1, "admin.staff_page", is_optional=True)
    yield Step("till", _is_any(Device) and _is_any(Cashier), "admin.tills")


def _is_any(model: Any) -> bool:
    return db().scalar(select(model.id).limit(1)) is not None


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


def welcome_step() -> str | None:
    """The words of the next step, for the dashboard of a shop that is not open yet."""
    if not may("settings.edit"):
        return None
    step = next((one for one in _steps() if not one.is_done and not one.is_optional), None)
    return t(locale(), f"setup.{step.key}") if step else None
