"""B12: a rich menu picture 2500 × 1686 with Thai text, and a stamp card, in milliseconds of CPU."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from benchmarks.ground import Bench, Result, median
from bot import stamp_card
from bot.stamp_card import Face
from rich_menus import images
from rich_menus.definitions import DEFAULT_PACK

MENU_MS, CARD_MS = 150.0, 40.0


def run(bench: Bench) -> Iterator[Result]:
    """Both drawings in turns, the first of each not counted; caches of whole pictures are emptied."""
    member = next(menu for menu in DEFAULT_PACK if menu.key == "member")
    face = Face("กาแฟครบ 10 แก้ว", "7/10 ดวง", 7, 10, (5, 10))
    menu_ms: list[float] = []
    card_ms: list[float] = []
    for turn in range(max(5, bench.rounds) + 1):
        stamp_card.draw.cache_clear()
        took_menu = spent(lambda: images.draw_menu(member, member.tabs[0], "th"))
        took_card = spent(lambda: stamp_card.draw(face))
        if turn:
            menu_ms.append(took_menu)
            card_ms.append(took_card)
    for name, figures, limit in (
        ("B12 ms, rich menu picture", menu_ms, MENU_MS),
        ("B12 ms, stamp card picture", card_ms, CARD_MS),
    ):
        took = median(figures)
        yield Result(name, took, limit, f"<= {limit:g} ms", took <= limit)


def spent(draw: Callable[[], object]) -> float:
    """Milliseconds of this process's own time."""
    began = time.process_time()
    draw()
    return (time.process_time() - began) * 1000
