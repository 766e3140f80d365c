"""The weekly summary: its words, and the card that goes to the owner on Mondays."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.orm import Session

from bot import theme
from bot.flex.weekly import weekly_card
from core.clock import local_day
from core.i18n import day, money, t, texts
from core.runtime import Runtime
from engagement import alerts
from insights import weekly
from insights.weekly import Best, Week
from models.outbox import MessageClass

#: Sent on Monday, or on Tuesday where Monday was missed; later it is no news.
DAYS = (0, 1)


def send(session: Session, runtime: Runtime, now: datetime, *, there: Session | None = None) -> int:
    """Send last week's card to the owner, once for each week. Returns how many were new.

    The week is added up `there`, if that is another session, before anything is written.
    """
    tz = runtime.clock.tz
    there = there or session
    if local_day(now, tz).weekday() not in DAYS:
        return 0
    if not alerts.reached(there, runtime, MessageClass.SERVICE, now):
        return 0
    week = weekly.of_week(there, weekly.monday_of(now, tz), now, tz)
    address = f"{runtime.settings.public_url}/admin/weekly"
    sent = 0
    for person, at in alerts.reached(session, runtime, MessageClass.SERVICE, now):
        language = person.locale
        card = weekly_card(
            t(language, "weekly.title"),
            period(week, language),
            headline(week, language),
            lines(week, language),
            t(language, "weekly.next"),
            advice(week, language),
            theme.uri_action(t(language, "weekly.open"), address),
        )
        key = f"weekly:{week.first_on.isoformat()}:{person.id}"
        sent += alerts.send_card(session, person, key, "shop.weekly", card, at, now)
    return sent


def period(week: Week, language: str) -> str:
    """`16 พ.ย. 2569 – 22 พ.ย. 2569`."""
    return f"{day(language, week.first_on)} – {day(language, week.last_on)}"


def headline(week: Week, language: str) -> str:
    """Sales by members, and how they moved."""
    sales = money(language, week.sales_satang)
    change = week.change_percent
    if change is None:
        return t(language, "weekly.sales", baht=sales)
    key = "weekly.sales_up" if change >= 0 else "weekly.sales_down"
    return t(language, key, baht=sales, percent=abs(change))


def lines(week: Week, language: str) -> list[tuple[str, str]]:
    """Label and value by line."""
    best = t(language, "weekly.no_best")
    if week.best is not None:
        best = t(
            language, "weekly.best_made", journey=best_name(week.best, language),
            baht=money(language, week.best.made_satang),
        )  # fmt: skip
    figures = {
        "new": f"{week.new_members:,}",
        "active": t(language, "weekly.active_of", count=f"{week.active_members:,}",
                    bills=f"{week.bills:,}"),
        "points": t(language, "weekly.points_moved", issued=f"{week.points_issued:,}",
                    burned=f"{week.points_burned:,}"),
        "messages": t(language, "weekly.messages_sent", count=f"{week.messages:,}",
                      free=f"{week.free_messages:,}"),
        "cost": t(language, "weekly.baht", baht=money(language, week.cost_satang)),
        "best": best,
    }  # fmt: skip
    return [(t(language, f"weekly.line_{name}"), value) for name, value in figures.items()]


def advice(week: Week, language: str) -> str:
    """What to do next, in a sentence."""
    return t(language, f"weekly.next_{week.next_act}", count=f"{week.next_count:,}")


def best_name(best: Best, language: str) -> str:
    """What the journey is called."""
    key = f"journeys.name_{best.key.replace('.', '_')}"
    if best.name or key not in texts(language):
        return best.name or best.key
    return t(language, key)
