"""Charts drawn on the server as inline SVG: no script, its one style under the CSP nonce."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from datetime import date
from functools import cache
from typing import Any

from markupsafe import Markup

from core.i18n import t
from web.ground import locale
from web.security import nonce

_SCRIPT = re.compile(r"<script\b.*?</script>", re.DOTALL)
_STYLE = re.compile(r"<style\b[^>]*>")
_STYLED = re.compile(r' style="[^"]*"')
_PROLOGUE = re.compile(r"<\?xml[^>]*\?>")
#: Up to here an axis names each whole number, as it would count in parts of one.
FEW = 5
#: Names of the page's own colours, which differ by light and dark.
LEAF, AMBER, CORAL = "var(--chart-1)", "var(--chart-2)", "var(--chart-3)"


@cache
def _pygal() -> tuple[Any, Any]:
    """The library, for pages with charts only; without the import hook it leaves behind, which
    every later import in the process would stumble over."""
    import pygal
    from pygal.style import Style

    sys.meta_path[:] = [one for one in sys.meta_path if type(one).__module__ != "pygal"]
    return pygal, Style


def bars(title: str, points: Sequence[tuple[date, int]], colour: str = LEAF) -> Markup:
    """One bar a day, labelled every fifth. Every text in it is made here or escaped by pygal."""
    chart = _chart("Bar", (colour,), show_legend=False, height=260)
    chart.x_labels = [f"{on.day}/{on.month}" for on, _ in points]
    values = [value for _, value in points]
    chart.add(title, values)
    return _svg(chart, values)


def named_bars(title: str, points: Sequence[tuple[str, int]], colour: str = LEAF) -> Markup:
    """One bar for each name, every one labelled. Texts are made here or escaped by pygal."""
    chart = _chart("Bar", (colour,), show_legend=False, height=260)
    chart.x_labels = [name for name, _ in points]
    chart.config.x_labels_major_every = 1
    chart.config.show_minor_x_labels = True
    values = [value for _, value in points]
    chart.add(title, values)
    return _svg(chart, values)


def stacked(
    names: Sequence[str], series: Sequence[tuple[str, Sequence[int]]], *, height: int = 300
) -> Markup:
    """Several parts of each bar one on top of the other, named below."""
    chart = _chart("StackedBar", (LEAF, AMBER, CORAL), show_legend=True, height=height)
    chart.x_labels = list(names)
    chart.config.x_labels_major_every = 1
    chart.config.show_minor_x_labels = True
    for name, values in series:
        chart.add(name, list(values))
    return _svg(
        chart, [sum(parts) for parts in zip(*(values for _, values in series), strict=True)]
    )


def moves(
    days: Sequence[date], series: Sequence[tuple[str, Sequence[int]]], *, every: int = 5
) -> Markup:
    """Several lines over days, named below; every so many of the days are labelled."""
    chart = _chart("Line", (LEAF, AMBER, CORAL), show_legend=True, height=320)
    chart.x_labels = [f"{on.day}/{on.month}" for on in days]
    chart.config.x_labels_major_every = every
    for name, values in series:
        chart.add(name, list(values))
    return _svg(chart, [value for _, values in series for value in values])


def _chart(kind: str, colours: tuple[str, ...], *, show_legend: bool, height: int) -> Any:
    pygal, style_of = _pygal()
    style = style_of(
        font_family="Sarabun",
        background="transparent",
        plot_background="transparent",
        colors=colours,
        foreground="var(--muted)",
        foreground_strong="var(--ink)",
        foreground_subtle="var(--hair)",
        label_font_size=16,
        major_label_font_size=16,
        legend_font_size=17,
        title_font_size=16,
        opacity=".9",
        opacity_hover="1",
    )
    return getattr(pygal, kind)(
        style=style,
        show_legend=show_legend,
        legend_at_bottom=True,
        js=[],
        height=height,
        width=640,
        explicit_size=False,
        margin=8,
        spacing=6,
        x_labels_major_every=5,
        show_minor_x_labels=False,
        include_x_axis=True,
        print_values=False,
        truncate_label=-1,
        truncate_legend=-1,
        disable_xml_declaration=True,
        min_scale=3,
        max_scale=5,
        x_label_rotation=0,
    )


def _svg(chart: Any, tops: Sequence[int]) -> Markup:
    """The chart, by the height of its bars or lines: nothing yet is said in words, and a few are
    counted in whole ones."""
    if not any(tops):
        return Markup('<p class="empty chart-empty">{}</p>').format(t(locale(), "charts.empty"))
    if min(tops) >= 0 and max(tops) <= FEW:
        chart.y_labels = range(max(tops) + 1)
    svg = _PROLOGUE.sub("", _SCRIPT.sub("", chart.render(is_unicode=True)))
    svg = _STYLED.sub("", svg)
    svg = _STYLE.sub(f'<style nonce="{nonce()}">', svg)
    return Markup(svg)  # nosec B704  # noqa: S704  (pygal escapes its texts; ours are day numbers)
