"""Tracked links: counts a member's tap and leads on to the address that staff registered.

Nothing of the request decides where it leads, so that no link of ours opens a stranger's door.
"""

from __future__ import annotations

import re
from typing import Any

import structlog
from flask import redirect, render_template, request
from sqlalchemy.exc import DBAPIError

from engagement import taps
from web.auth import public
from web.ground import db, runtime
from web.liff.ground import blueprint, chat_url, shop_name
from web.limits import LINKS, limiter

log = structlog.get_logger("links")
#: Who opens links without a finger: LINE's own preview, and other robots.
_ROBOT = re.compile(
    r"line-poker|facebookexternalhit|bot\b|bot/|crawler|spider|preview|curl|wget|python|http-?client",
    re.IGNORECASE,
)


@blueprint.get("/l/<token>/<part>")
@public
@limiter.limit(LINKS)
def tracked_link(token: str, part: str) -> Any:
    """To the registered address; the first time a member does so is written down."""
    held = runtime()
    opened = taps.open_link(db(), held.vault, token, part)
    if opened is None:
        shown = render_template(
            "member/unknown_link.html", shop_name=shop_name(db()), chat_url=chat_url(db())
        )
        return shown, 404
    if is_finger() and not taps.is_counted(db(), opened):
        try:
            with held.transaction() as writing:
                taps.follow(writing, opened, held.clock.now())
        except DBAPIError as error:  # a tap is never worth keeping somebody from the page
            log.warning("tap_lost", kind=type(error).__name__)
    answer = redirect(opened.target, 302)
    answer.headers["Cache-Control"] = "no-store"
    return answer


def is_finger() -> bool:
    """Whether a person asked, and not a preview, a prefetch or a robot."""
    if request.method != "GET" or _ROBOT.search(request.user_agent.string or "bot"):
        return False
    purpose = request.headers.get("Sec-Purpose", "") + request.headers.get("Purpose", "")
    return "prefetch" not in purpose and "preview" not in purpose
