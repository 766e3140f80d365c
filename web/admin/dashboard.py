"""The console's first page: main counts, two charts, where people stand."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from flask import render_template

from core.i18n import t
from insights import dashboard as figures
from insights import rfm
from web.admin import charts
from web.admin.ground import blueprint
from web.auth import staff_only
from web.ground import db, locale, remembered, runtime


@blueprint.get("")
@staff_only("dashboard.read")
def dashboard() -> str:
    """Everything at a glance, for the last 30 days."""
    now, tz, language = runtime().clock.now(), runtime().clock.tz, locale()
    seen = remembered("dashboard", lambda: _look(now, tz))
    return render_template(
        "admin/dashboard.html",
        **seen,
        level_total=sum(seen["levels"].values()),
        joined_chart=charts.bars(t(language, "console.chart_joined"), seen["joined"]),
        sales_chart=charts.bars(t(language, "console.chart_sales"), seen["sales"], charts.AMBER),
    )


def _look(now: datetime, tz: ZoneInfo) -> dict[str, Any]:
    """Every figure of the page."""
    return {
        "counts": figures.counts(db(), now, tz),
        "stages": figures.by_stage(db()),
        "levels": figures.by_level(db()),
        "rfm": rfm.of(db()),
        "joined": figures.joined_by_day(db(), now, tz),
        "sales": figures.sales_by_day(db(), now, tz),
    }
