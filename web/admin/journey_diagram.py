"""A journey drawn on the server: boxes below each other, arrows where a way leads elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from bot.theme import clip_graphemes
from core.i18n import t
from engagement import journey_shapes
from web.admin.journey_words import step_words, trigger_words
from web.ground import locale

WIDTH, BOX, HEIGHT, GAP = 380, 300, 46, 26
LEFT = 8
LETTERS = 36


def drawn(name: str, definition: Mapping[str, Any]) -> Markup:
    """The whole journey as inline SVG; every text in it is escaped."""
    steps: Sequence[Mapping[str, Any]] = definition["steps"]
    places = {step["key"]: number for number, step in enumerate(steps, 1)}
    last = len(steps) + 1
    parts = [_box(0, "start", trigger_words(definition))]
    for number, step in enumerate(steps, 1):
        parts.append(_box(number, step["kind"], step_words(step)))
        parts.append(_arrow(number - 1))
        lane = 0
        for to in journey_shapes.targets(step):
            target = last if to == journey_shapes.END else places[to]
            if target != number + 1:
                parts.append(_leap(number, target, lane))
                lane += 1
    parts += [_box(last, "end", t(locale(), "journeys.the_end")), _arrow(last - 1)]
    height = (last + 1) * (HEIGHT + GAP)
    return Markup(
        '<svg class="journey-map" viewBox="0 0 {width} {height}" role="img" aria-label="{name}">'
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7"'
        ' markerHeight="7" orient="auto"><path d="M0 0 8 4 0 8z"/></marker></defs>{inner}</svg>'
    ).format(width=WIDTH, height=height, name=name, inner=Markup("").join(parts))


def _top(number: int) -> int:
    return 4 + number * (HEIGHT + GAP)


def _box(number: int, kind: str, words: str) -> Markup:
    return Markup(
        '<g class="box {kind}"><title>{full}</title><rect x="{x}" y="{y}" width="{width}"'
        ' height="{height}" rx="12"/><text x="{tx}" y="{ty}">{words}</text></g>'
    ).format(
        kind=kind.replace("_", "-"), full=words, x=LEFT, y=_top(number), width=BOX, height=HEIGHT,
        tx=LEFT + 14, ty=_top(number) + HEIGHT // 2 + 5, words=clip_graphemes(words, LETTERS),
    )  # fmt: skip


def _arrow(number: int) -> Markup:
    x, y = LEFT + 40, _top(number) + HEIGHT
    return Markup('<path class="way" d="M{x} {y}V{to}" marker-end="url(#tip)"/>').format(
        x=x, y=y, to=y + GAP - 2
    )


def _leap(number: int, target: int, lane: int) -> Markup:
    """An arrow along the right side, each in a lane of its own."""
    x, out = LEFT + BOX, LEFT + BOX + 22 + lane * 14
    y, to = _top(number) + HEIGHT // 2, _top(target) + HEIGHT // 2
    return Markup(
        '<path class="way" d="M{x} {y}H{out}V{to}H{end}" marker-end="url(#tip)"/>'
    ).format(x=x, y=y, out=out, to=to, end=x + 3)
