"""The life cycle in figures: where members stand, how they move, RFM, worth; and its thresholds."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

from flask import Response, make_response, render_template, request

from core.errors import Invalid, Refused
from core.i18n import money, t
from insights import dashboard, lifecycle, rfm
from loyalty import shop
from loyalty.lifecycle import thresholds as settings
from loyalty.lifecycle.thresholds import Thresholds
from models.members import Level, Stage
from web.admin import charts, forms
from web.admin.ground import back, blueprint, may, noted
from web.auth import staff_only
from web.ground import db, locale, runtime

DEFAULT_DAYS = 30
#: The thresholds as the page groups them.
PARTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("stages", ("retention_days", "retention_gaps")),
    ("high_maintenance", ("tickets", "tickets_days")),
    ("inactive", ("inactive_days", "inactive_gaps", "inactive_floor")),
    (
        "at_risk",
        (
            "at_risk_days", "at_risk_gaps", "at_risk_floor", "drop_percent", "drop_purchases",
            "csat_low", "csat_days",
        ),
    ),
    ("vip", ("vip_percentile", "vip_buyers")),
    ("potential_high_value", ("potential_vips", "potential_days", "potential_acts")),
    ("regular", ("regular_days",)),
    ("worth", ("margin_percent",)),
    ("rfm", ("rfm_days", "rfm_bills", "rfm_satang")),
)  # fmt: skip
BROKEN = ("retention_gaps", "inactive_gaps", "at_risk_gaps")


@blueprint.get("/lifecycle")
@staff_only("lifecycle.read")
def lifecycle_page() -> str:
    """Funnel, levels, moves between them, days at a stage, the RFM grid and worth."""
    session, language = db(), locale()
    now = runtime().clock.now()
    days = request.args.get("days", DEFAULT_DAYS, type=int)
    days = days if days in lifecycle.PERIODS else DEFAULT_DAYS
    scores = rfm.of(session)
    levels = dashboard.by_level(session)
    return render_template(
        "admin/lifecycle.html",
        stages=dashboard.by_stage(session),
        levels=levels,
        level_total=sum(levels.values()),
        every_level=list(Level),
        every_stage=list(Stage),
        migration=lifecycle.migration(session, now, days),
        days=days,
        periods=lifecycle.PERIODS,
        spans=_spans(language),
        in_stage=lifecycle.days_in_stage(session, now),
        rfm=scores,
        worth_chart=charts.named_bars(
            t(language, "lifecycle.worth"),
            [(_worth_words(language, bar), bar.members) for bar in scores.worth],
            charts.AMBER,
        ),
        worth_rows=[(_worth_words(language, bar), bar.members) for bar in scores.worth],
    )


def _spans(language: str) -> list[str]:
    edges = (0, *lifecycle.SPANS)
    words = [
        t(language, "lifecycle.span", least=least, most=most)
        for least, most in itertools.pairwise(edges)
    ]
    return [*words, t(language, "lifecycle.span_more", least=edges[-1])]


def _worth_words(language: str, bar: rfm.Worth) -> str:
    if bar.below is None:
        return t(language, "lifecycle.worth_more", baht=money(language, bar.least))
    return t(language, "lifecycle.worth_below", baht=money(language, bar.below))


# --- Thresholds -------------------------------------------------------------------------------


@blueprint.get("/lifecycle/thresholds")
@staff_only("lifecycle.read")
def thresholds() -> str:
    """The figures behind the levels, as they are and as they come."""
    return _thresholds_page(settings.of(db()))


def _thresholds_page(shown: Thresholds, refusal: str = "", given: Any = None) -> str:
    return render_template(
        "admin/lifecycle_thresholds.html",
        parts=PARTS,
        shown={name: _as_typed(name, getattr(shown, name)) for name in settings.NAMES},
        usual={name: _as_typed(name, getattr(Thresholds(), name)) for name in settings.NAMES},
        given=given or {},
        bounds=settings.BOUNDS,
        broken=BROKEN,
        refusal=refusal,
        can_edit=may("lifecycle.edit"),
    )


def _as_typed(name: str, value: Any) -> str:
    if name == "rfm_satang":
        return ", ".join(str(one // 100) for one in value)
    if isinstance(value, tuple):
        return ", ".join(str(one) for one in value)
    return f"{value:g}"


@blueprint.post("/lifecycle/thresholds")
@staff_only("lifecycle.edit")
def thresholds_save() -> Response:
    """Change them; everybody is looked at by the new ones tonight."""
    language = locale()
    try:
        wanted = Thresholds(**{name: read_threshold(name) for name in settings.NAMES})
        settings.check(wanted)
    except Refused as error:
        facts = {
            name: t(language, f"lifecycle.{value}") if value in settings.NAMES else value
            for name, value in error.facts.items()
        }
        page = _thresholds_page(
            settings.of(db()), t(language, error.code, **facts), request.form.to_dict()
        )
        return make_response(page, error.status)
    _save(wanted)
    return back("admin.thresholds", note="console.saved")


@blueprint.post("/lifecycle/thresholds/usual")
@staff_only("lifecycle.edit")
def thresholds_usual() -> Response:
    """Back to how they come."""
    _save(Thresholds())
    return back("admin.thresholds", note="console.saved")


def _save(wanted: Thresholds) -> None:
    session, now = db(), runtime().clock.now()
    before, after = settings.of(session).as_facts(), replace(wanted).as_facts()
    changed = {name: value for name, value in after.items() if value != before[name]}
    for name, value in changed.items():
        shop.set(session, f"lifecycle.{name}", value, now)
    if changed:
        noted("lifecycle.thresholds_changed", **changed)


def read_threshold(name: str) -> Any:
    """One threshold as it was typed."""
    label = f"lifecycle.{name}"
    if name in settings.LIST_MOST:
        return _read_cuts(name, label)
    if name in BROKEN:
        text = request.form.get(name, "").strip()
        try:
            value = round(float(text), 1) if len(text) < 10 else 0.0
        except ValueError:
            raise forms.bad(label) from None
        if not 0 < value < 1_000:
            raise forms.bad(label)
        return value
    return forms.whole(name, label, 0, 10_000_000)


def _read_cuts(name: str, label: str) -> tuple[int, ...]:
    parts = request.form.get(name, "")[:200].replace(" ", "").split(",")
    cuts = tuple(int(one) for one in parts if one.isascii() and one.isdigit() and len(one) < 9)
    if len(cuts) != len(parts):
        raise Invalid("lifecycle.odd_cuts", setting=name)
    return tuple(one * 100 for one in cuts) if name == "rfm_satang" else cuts
