"""The console's first page: main counts, two charts, where people stand."""

from __future__ import annotations

from flask import render_template

from core.i18n import t
from insights import dashboard as figures
from insights import rfm
from web.admin import charts
from web.admin.ground import blueprint
from web.auth import staff_only
from web.ground import db, locale, runtime


@blueprint.get("")
@staff_only("dashboard.read")
def dashboard() -> str:
    """Everything at a glance, for the last 30 days."""
    now, tz, language = runtime().clock.now(), runtime().clock.tz, locale()
    joined = figures.joined_by_day(db(), now, tz)
    sales = figures.sales_by_day(db(), now, tz)
    levels = figures.by_level(db())
    return render_template(
        "admin/dashboard.html",
        counts=figures.counts(db(), now, tz),
        stages=figures.by_stage(db()),
        levels=levels,
        level_total=sum(levels.values()),
        rfm=rfm.of(db()),
        joined=joined,
        sales=sales,
        joined_chart=charts.bars(t(language, "console.chart_joined"), joined),
        sales_chart=charts.bars(t(language, "console.chart_sales"), sales, charts.AMBER),
    )
