"""Pictures that LINE and other people's telephones fetch without an identity, perhaps weeks later.

Their names are unguessable and say nothing about a person; what a name stands for never changes.
"""

from __future__ import annotations

import re

from flask import Response

from bot import palette, stamp_card
from bot.stamp_card import Face
from core.errors import NotFound, Refused
from core.i18n import t
from loyalty import codes, conversations, referrals, shop, stamp_pictures, stamps
from models.coupons import CodePurpose
from models.stamps import StampProgram
from web.auth import public
from web.ground import db, runtime
from web.liff import qr
from web.liff.ground import blueprint, invite_link

YEAR_SECONDS = 365 * 24 * 3600
_CODE = re.compile(r"[A-Z0-9]{4,32}", re.ASCII)


@blueprint.get("/p/qr/<code>.png")
@public
def card_picture(code: str) -> Response:
    """The QR of a member card; only a code we have made ourselves is drawn."""
    try:
        parsed = codes.parse(runtime().settings.secret_key, code)
    except Refused as refusal:
        raise NotFound from refusal
    if parsed.purpose != CodePurpose.CARD:
        raise NotFound
    return _picture(qr.png(qr.scan_url(code), box=12))


@blueprint.get("/p/invite/<code>.png")
@public
def invite_picture(code: str) -> Response:
    """The QR of an invitation: the page that the code leads to."""
    wanted = referrals.normalised(code)
    if not _CODE.fullmatch(wanted):
        raise NotFound
    return _picture(qr.png(invite_link(wanted), box=12))


@blueprint.get("/p/chat/<token>.jpg")
@public
def chat_picture(token: str) -> Response:
    """A picture that staff sent in a chat, for LINE and whoever was given its link."""
    body = conversations.linked_picture(db(), runtime().vault, token[:128])
    if body is None:
        raise NotFound
    response = Response(body, mimetype="image/jpeg")
    # It can be thrown away or taken back: nobody may keep it for longer.
    response.headers["Cache-Control"] = "private, max-age=300"
    return response


@blueprint.get("/p/logo/<name>.jpg")
@public
def shop_logo(name: str) -> Response:
    """The shop's mark."""
    body = shop.logo(db(), name[:64])
    if body is None:
        raise NotFound
    return _kept(Response(body, mimetype="image/jpeg"))


@blueprint.get("/p/look/<colour>.css")
@public
def shop_sheet(colour: str) -> Response:
    """The shades of a colour for a page: the same for ever, so that browsers keep it."""
    wanted = palette.parse(f"#{colour}")
    if wanted is None:
        raise NotFound
    return _kept(Response(palette.sheet(wanted), mimetype="text/css"))


@blueprint.get("/p/stamps/<token>.png")
@public
def stamp_picture(token: str) -> Response:
    """A drawn stamp card: a version of a programme with so many stamps."""
    wanted = stamp_pictures.read(runtime().settings.secret_key, token)
    program = db().get(StampProgram, wanted.program_id)
    if program is None:
        raise NotFound
    face = Face(
        title=program.name_en if wanted.locale == "en" else program.name_th,
        count=t(wanted.locale, "stamps.progress", filled=wanted.filled, size=program.size),
        filled=wanted.filled,
        size=program.size,
        prizes_at=tuple(prize.at_stamp for prize in stamps.prizes_of(db(), program)),
        design=program.design,
    )
    return _picture(stamp_card.draw(face))


def _picture(png: bytes) -> Response:
    return _kept(Response(png, mimetype="image/png"))


def _kept(response: Response) -> Response:
    response.headers["Cache-Control"] = f"public, max-age={YEAR_SECONDS}, immutable"
    return response
