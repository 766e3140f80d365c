"""Charts drawn on the server as inline SVG: no script, its one style under the CSP nonce."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date

from markupsafe import Markup

from web.security import nonce

_SCRIPT = re.compile(r"<script\b.*?</script>", re.DOTALL)
_STYLE = re.compile(r"<style\b[^>]*>")
_STYLED = re.compile(r' style="[^"]*"')
_PROLOGUE = re.compile(r"<\?xml[^>]*\?>")
LEAF, AMBER = "#0E6B5C", "#F2B544"


def bars(title: str, points: Sequence[tuple[date, int]], colour: str = LEAF) -> Markup:
    """One bar a day, labelled every fifth. Every text in it is made here or escaped by pygal."""
    import pygal  # noqa: PLC0415  (pages with charts only)
    from pygal.style import Style  # noqa: PLC0415

    style = Style(
        font_family="Sarabun", background="transparent", plot_background="transparent",
        colors=(colour,), foreground="#5F6F6A", foreground_strong="#21302D",
        foreground_subtle="#E4E0D6", label_font_size=13, major_label_font_size=13,
        title_font_size=16, opacity=".9", opacity_hover="1",
    )
    chart = pygal.Bar(
        style=style, show_legend=False, js=[], height=260, width=640, explicit_size=False,
        margin=8, spacing=6, x_labels_major_every=5, show_minor_x_labels=False,
        include_x_axis=True, print_values=False, truncate_label=-1, disable_xml_declaration=True,
        min_scale=3, max_scale=5, x_label_rotation=0,
    )
    chart.x_labels = [f"{on.day}/{on.month}" for on, _ in points]
    chart.add(title, [value for _, value in points])
    svg = _PROLOGUE.sub("", _SCRIPT.sub("", chart.render(is_unicode=True)))
    svg = _STYLED.sub("", svg)
    svg = _STYLE.sub(f'<style nonce="{nonce()}">', svg)
    return Markup(svg)  # noqa: S704  (pygal escapes its texts; ours are day numbers)
