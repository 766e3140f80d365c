"""Lucky draws on the member page, and the page on which anybody checks them."""

from __future__ import annotations

from typing import Any

from flask import Response, g, redirect, render_template, request

from core.clock import last_day
from core.errors import Refused
from core.i18n import t
from core.text import parse_whole
from loyalty import draws
from models.draws import Draw
from web.auth import member_only, public
from web.ground import db, locale, runtime
from web.liff.ground import blueprint, page, shop_name, signed_in

NAME_LETTERS = 64


@blueprint.get("/m/draws")
@member_only
def show_draws() -> Any:
    """The newest open draw; without one, a kind word."""
    found = draws.open_draws(db(), runtime().clock.now())
    if found:
        return redirect(f"/m/draws/{found[0].key}")
    return page("draw", "coupons", draw=None)


@blueprint.get("/m/draws/<key>")
@member_only
def show_draw(key: str) -> Any:
    """Chances, turns, and the turn that was just played."""
    if not g.member.is_member:
        return redirect("/m/join")
    return _page(draws.by_key(db(), key))


@blueprint.post("/m/draws/<key>/play")
@member_only
def play(key: str) -> Any:
    """One turn, once: the form names it."""
    held = runtime()
    draw = draws.by_key(db(), key)
    name = request.form.get("turn", "")[:NAME_LETTERS]
    try:
        with db().begin_nested():
            played = draws.play(
                db(), held.vault, draw, g.member, name, held.clock.now(), held.clock.tz
            )
    except Refused as refusal:
        return _page(draw, t(locale(), refusal.code, **refusal.facts)), refusal.status
    return redirect(f"/m/draws/{draw.key}?turn={played.turn.ordinal}", code=303)


def _page(draw: Draw, problem: str = "") -> str:
    held, language = runtime(), locale()
    now, tz = held.clock.now(), held.clock.tz
    played = draws.played_by(db(), draw, g.member.id)
    asked = parse_whole(request.args.get("turn", ""))
    shown = next((one for one in played if one.turn.ordinal == asked), None)
    left = draws.turns_left(db(), draw, g.member.id, now, tz) if draws.is_open(draw, now) else []
    return page(
        "draw",
        "coupons",
        draw=draw,
        title=draw.name_en if language == "en" else draw.name_th,
        rules=draws.rules_in_words(draw, language),
        chances=draws.chances_in_words(db(), draw, now, language),
        turns=left,
        history=[(one, *draws.result_in_words(one, language)) for one in played],
        shown=shown,
        shown_words=draws.result_in_words(shown, language) if shown else None,
        ends_on=last_day(draw.ends_at, tz) if draw.ends_at else None,
        is_over=draws.is_over(draw, now),
        problem=problem,
    )


@blueprint.get("/m/draws/<key>/proof")
@public
def proof(key: str) -> Any:
    """What anybody needs to check a draw: fingerprint, ranges, and the seed when it has ended."""
    member = signed_in()  # who says which language
    held, language = runtime(), locale()
    draw = draws.by_key(db(), key)
    seed = draws.seed_of(held.vault, draw, held.clock.now())
    player = request.args.get("id", "")[:NAME_LETTERS].strip()
    ordinal = parse_whole(request.args.get("turn", ""))
    number = (
        draws.number_of(seed, draw.key, player, ordinal) if seed and player and ordinal else None
    )
    chances = draws.chances_of(db(), draw.id)
    won = draws.chance_of(chances, number) if number is not None else None
    return render_template(
        "member/draw_proof.html",
        shop_name=shop_name(db()),
        draw=draw,
        title=draw.name_en if language == "en" else draw.name_th,
        seed=seed.hex() if seed else "",
        chances=[(one, draws.name_of(one.coupon, language)) for one in chances],
        player=player or (member.public_id if member else ""),
        ordinal=ordinal or 1,
        number=number,
        won=draws.name_of(won.coupon, language) if won else "",
        own_id=member.public_id if member else "",
    )


@blueprint.get("/m/draws/<key>/proof.txt")
@public
def proof_text(key: str) -> Response:
    """The same as plain text, with the three lines of Python that compute a number."""
    held = runtime()
    draw = draws.by_key(db(), key)
    seed = draws.seed_of(held.vault, draw, held.clock.now())
    lines = [
        f"draw: {draw.key}",
        f"sha256(seed): {draw.seed_hash}",
        f"seed: {seed.hex() if seed else '(shown when the draw has ended)'}",
        "number: HMAC-SHA256(seed, 'draw:player:turn') as a whole number, modulo 1000000",
        *(
            f"{one.first:06d}-{one.last:06d}: {one.coupon.name_en} ({one.prize.per_million} in 1000000)"
            for one in draws.chances_of(db(), draw.id)
        ),
        "",
        "import hashlib, hmac",
        f"message = b'{draw.key}:' + b'<player>' + b':' + b'<turn>'",
        "digest = hmac.new(bytes.fromhex('<seed>'), message, hashlib.sha256).digest()",
        "print(int.from_bytes(digest, 'big') % 1000000)",
    ]
    return Response("\n".join(lines) + "\n", mimetype="text/plain")
