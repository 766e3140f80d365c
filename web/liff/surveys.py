"""The way to the shop's review page: that a member took it is noted, and it leads nowhere else."""

from __future__ import annotations

from typing import Any

import structlog
from flask import redirect, render_template
from sqlalchemy.exc import DBAPIError

from loyalty import shop, surveys
from web.auth import public
from web.ground import db, runtime
from web.liff.ground import blueprint, chat_url, shop_name
from web.liff.links import is_finger
from web.limits import LINKS, limiter

log = structlog.get_logger("surveys")


@blueprint.get("/r/<int:question_id>.<signature>")
@public
@limiter.limit(LINKS)
def review(question_id: int, signature: str) -> Any:
    """To the review page of the settings; the first time is written down (L1)."""
    held = runtime()
    target = str(shop.get(db(), "shop.review_url"))
    known = surveys.review_of(db(), held.vault, question_id, signature)
    if known is None or not target:
        shown = render_template(
            "member/unknown_link.html", shop_name=shop_name(db()), chat_url=chat_url(db())
        )
        return shown, 404
    if is_finger():
        try:
            with held.transaction() as writing:
                surveys.note_review(writing, known, held.clock.now())
        except DBAPIError as error:  # noting it is never worth keeping somebody from the page
            log.warning("review_lost", kind=type(error).__name__)
    answer = redirect(target, 302)
    answer.headers["Cache-Control"] = "no-store"
    return answer
