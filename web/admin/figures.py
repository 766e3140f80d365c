"""Figures over months: who comes back, whom sales come from, coupons, and what messages cost."""

from __future__ import annotations

from datetime import date

from flask import render_template

from core.i18n import t
from insights import cohorts as figures
from insights import liability
from models.outbox import ChannelState
from web.admin import charts
from web.admin.ground import blueprint
from web.auth import staff_only
from web.ground import db, locale, runtime

#: Offers of the coupon chart; the rest stand on the page of points owed.
OFFERS = 8


@blueprint.get("/figures")
@staff_only("dashboard.read")
def figures_page() -> str:
    """The last six months."""
    clock, language = runtime().clock, locale()
    now, tz = clock.now(), clock.tz
    sales = figures.sales(db(), now, tz)
    messages = figures.messages(db(), now, tz)
    uses = liability.coupon_use(db())[:OFFERS]
    months = [month_name(one.first_on) for one in sales]
    return render_template(
        "admin/figures.html",
        cohorts=figures.cohorts(db(), now, tz),
        sales=sales,
        messages=messages,
        uses=uses,
        channel=db().get(ChannelState, 1),
        month_name=month_name,
        sales_chart=charts.stacked(
            months,
            [
                (t(language, "figures.new"), [one.new_satang // 100 for one in sales]),
                (t(language, "figures.returning"), [one.returning_satang // 100 for one in sales]),
            ],
        ),
        messages_chart=charts.stacked(
            months,
            [
                (t(language, "figures.free"), [one.free for one in messages]),
                (t(language, "figures.paid"), [one.paid for one in messages]),
            ],
        ),
    )


def month_name(first_on: date) -> str:
    """`พ.ย. 69` or `Nov 26`: a month as a heading, in two figures of the reader's years."""
    language = locale()
    year = first_on.year + (543 if language == "th" else 0)
    return f"{t(language, f'months.{first_on.month}')} {year % 100:02d}"
