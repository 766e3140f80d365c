"""What every member page shares: who is signed in, in which language, and the way back to the chat.

Identity comes from the session cookie alone; no route takes a member's id, phone or LINE id.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from flask import Blueprint, g, redirect, render_template, request
from sqlalchemy import select
from sqlalchemy.orm import Session

from core.i18n import LOCALES
from core.runtime import Runtime
from loyalty import doors, shop
from loyalty.joining import Surroundings
from models.members import Member
from models.outbox import ChannelState
from web.auth import Access, SignInNeeded, resolver
from web.ground import SAFE_METHODS, db, locale, runtime
from web.security import read_cookie

blueprint = Blueprint("member", __name__)
COOKIE = "member"
#: More of a typed code is not read.
CODE_LETTERS = 100


@resolver("member")
def _admit(access: Access) -> None:
    """Whose session this is, checked against the row each time; none for the erased."""
    held = current_session()
    member = doors.member_of(db(), held) if held else None
    if held is None or member is None:
        raise SignInNeeded
    g.member, g.member_session, g.locale = member, held, member.locale
    if request.method not in SAFE_METHODS and not request.is_json:
        doors.note_seen(held, runtime().clock.real_now())


def current_session() -> Any:
    """The live session of this browser, if any."""
    held = runtime()
    return doors.session_of(db(), read_cookie(held.settings, COOKIE), held.clock.real_now())


def signed_in() -> Member | None:
    """The member of this browser on a page that anyone may open."""
    held = current_session()
    member = doors.member_of(db(), held) if held else None
    if member is not None:
        g.locale = member.locale
    return member


def refuse_idle() -> None:
    """Pages that redeem ask for a fresh sign-in after 30 minutes without a touch."""
    if doors.is_idle(g.member_session, runtime().clock.real_now()):
        raise SignInNeeded


@blueprint.before_request
def _speak() -> None:
    """Strangers are spoken to in their browser's language, if it is one of ours."""
    if "locale" not in g:
        g.locale = request.accept_languages.best_match(LOCALES) or runtime().settings.shop_locale


def reader_locale() -> str | None:
    """The language of the member of this browser, else that of the browser."""
    member = signed_in()
    return member.locale if member else request.accept_languages.best_match(LOCALES)


@blueprint.errorhandler(SignInNeeded)
def _sign_in(error: SignInNeeded) -> Any:
    """A page becomes its own sign-in; a script is told to load the page again.

    A form was sent to an address that shows no page, so whoever signs in goes on from the start.
    """
    from web.errors import answer, wants_json

    if wants_json():
        return answer(error.status, error.code, error.facts)
    if request.method not in SAFE_METHODS:
        return redirect(doors.START_PATH, code=303)
    held = runtime()
    with held.database.read() as session:
        page = entry_page(session, held, request.full_path.rstrip("?"))
    return page, 401


def entry_page(session: Session, held: Runtime, path: str, *, code: str = "") -> str:
    """The page that signs in through LIFF and goes on to `path`; without LIFF, the way to the chat."""
    return render_template(
        "member/enter.html",
        settings=held.settings,
        path=doors.safe_path(path),
        code=code,
        shop_name=shop_name(session),
        chat_url=chat_url(session),
        has_failed=False,
    )


def shop_name(session: Session) -> str:
    """What the shop is called in the reader's language."""
    name: str = shop.get(session, f"shop.name_{locale()}")
    return name


def basic_id(session: Session) -> str | None:
    """The account's @id: LINE's own word for it, else the shop's setting."""
    known = session.scalar(select(ChannelState.basic_id).where(ChannelState.id == 1))
    said: str | None = known or shop.get(session, "shop.line_id") or None
    return said


def chat_url(session: Session, text: str | None = None) -> str:
    """A link that opens the chat, with `text` typed but not sent; LINE itself without an @id."""
    account = basic_id(session)
    if account is None:
        return "https://line.me/R/"
    if text is None:
        return f"https://line.me/R/ti/p/{quote(account, safe='')}"
    return f"https://line.me/R/oaMessage/{quote(account, safe='')}/?{quote(text, safe='')}"


def invite_link(code: str) -> str:
    """What an invited friend opens: through LIFF, which learns who they are, or our own page."""
    settings = runtime().settings
    base = f"{settings.liff_url}/{settings.liff_id}" if settings.has_liff else None
    return f"{base or settings.public_url + '/m'}/invite?code={quote(code)}"


def page(template: str, tab: str, **facts: Any) -> str:
    """A member page in the common frame; `tab` is the part of the bar at the foot."""
    return render_template(
        f"member/{template}.html",
        tab=tab,
        member=g.member,
        shop_name=shop_name(db()),
        **facts,
    )


def surroundings() -> Surroundings:
    """What the rules of joining need of this request."""
    held = runtime()
    return Surroundings(db(), held.vault, g.member, held.clock.now(), held.clock.tz)
