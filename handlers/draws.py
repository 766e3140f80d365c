"""Lucky draws in the chat: what can be played, and one turn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bot.flex import draws as cards
from bot.flex import errors
from bot.flex import members as member_cards
from bot.flex.draws import DrawView, ResultView
from core.clock import last_day
from core.errors import Refused
from core.i18n import t
from handlers import links
from loyalty import draws
from loyalty.draws import Played
from models.draws import Draw

if TYPE_CHECKING:
    from handlers.router import Context, Messages


def show(ctx: Context) -> Messages:
    """`ลุ้นโชค`: every open draw with its chances, and the turns there are."""
    if not ctx.member.is_member:
        return [member_cards.must_join(ctx.locale)]
    shown = [_view(ctx, draw) for draw in draws.open_draws(ctx.session, ctx.now)]
    return [cards.draw_list(shown, ctx.locale)]


def play(ctx: Context) -> Messages:
    """A tap on *play*: its turn once, however often it is tapped."""
    if not ctx.member.is_member:
        return [member_cards.must_join(ctx.locale)]
    params = ctx.postback.params if ctx.postback else {}
    tz = ctx.runtime.clock.tz
    try:
        draw = draws.by_key(ctx.session, params.get("draw", "")[:64])
        played = draws.play(
            ctx.session,
            ctx.runtime.vault,
            draw,
            ctx.member,
            params.get("turn", "")[:64],
            ctx.now,
            tz,
            tapped_at=ctx.happened_at,
        )
    except Refused as refusal:
        return [errors.sorry(t(ctx.locale, refusal.code, **refusal.facts))]
    left = draws.turns_left(ctx.session, draw, ctx.member.id, ctx.now, tz)
    view = _result(played, ctx.locale, left[0].name if left else None)
    return [cards.result(draw.key, view, ctx.locale)]


def _view(ctx: Context, draw: Draw) -> DrawView:
    tz = ctx.runtime.clock.tz
    left = draws.turns_left(ctx.session, draw, ctx.member.id, ctx.now, tz)
    return DrawView(
        key=draw.key,
        title=draw.name_en if ctx.locale == "en" else draw.name_th,
        rules=draws.rules_in_words(draw, ctx.locale),
        chances=draws.chances_in_words(ctx.session, draw, ctx.now, ctx.locale),
        turns=len(left),
        turn=left[0].name if left else None,
        ends_on=last_day(draw.ends_at, tz) if draw.ends_at else None,
        proof_url=links.public_url(ctx, f"/m/draws/{draw.key}/proof"),
    )


def _result(played: Played, locale: str, next_turn: str | None) -> ResultView:
    title, words = draws.result_in_words(played, locale)
    return ResultView(
        title=title,
        words=words,
        number=t(locale, "draws.number", number=f"{played.turn.number:06d}"),
        has_won=played.voucher is not None,
        voucher=played.voucher.public_id
        if played.voucher is not None and draws.can_be_used(played.voucher)
        else None,
        next_turn=next_turn,
    )
