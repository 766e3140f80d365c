"""What a member hears about, on one page: topics, how often, and stopping it all."""

from __future__ import annotations

from typing import Any

from flask import g, redirect, request

from bot.flex.topics import times
from core.errors import Refused
from core.text import parse_whole
from engagement import topics
from loyalty import consents
from models.members import Purpose
from web.auth import member_only
from web.ground import db, locale, runtime
from web.liff.ground import blueprint, page


@blueprint.get("/m/topics")
@member_only
def choose_topics() -> Any:
    """Every topic with a tick, and how often at most."""
    if not g.member.is_member:
        return redirect("/m/join")
    choice = topics.choice_of(db(), g.member.id)
    offered = topics.per_week_choices(db())
    return page(
        "topics",
        "me",
        topics=[(name, name not in choice.muted) for name in topics.TOPICS],
        often=[(number, times(number, locale())) for number in offered],
        chosen=offered[-1] if choice.per_week is None else min(choice.per_week, offered[-1]),
        accepts_marketing=consents.is_given(db(), g.member.id, Purpose.MARKETING),
        done=request.args.get("done") == "1",
    )


@blueprint.post("/m/topics")
@member_only
def keep_topics() -> Any:
    """Keep what was ticked."""
    if not g.member.is_member:
        raise Refused("members.not_joined")
    now = runtime().clock.now()
    heard = set(request.form.getlist("topic"))
    topics.set_muted(db(), g.member.id, [one for one in topics.TOPICS if one not in heard], now)
    number = parse_whole(request.form.get("often", ""))
    topics.set_per_week(db(), g.member.id, number, now)
    return redirect("/m/topics?done=1", code=303)
