"""The owner's week: the card that goes to LINE on Mondays, here for every week; and next acts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

from flask import abort, render_template, request
from sqlalchemy import select

from core.i18n import t
from engagement import weekly as words
from insights import suggestions
from insights import weekly as figures
from models.journeys import Journey
from models.members import Level
from models.scores import MemberScore
from web.admin.ground import blueprint, may
from web.auth import staff_only
from web.ground import db, locale, runtime

#: Where the next act of each level is done; with `journey` its sentence says whether that is on.
ACTS: dict[Level, tuple[str, str, str]] = {
    Level.HIGH_MAINTENANCE: ("admin.conversations_list", "conversations.read", ""),
    Level.AT_RISK: ("admin.journeys", "journeys.read", "lifecycle.win_back"),
    Level.POTENTIAL_HIGH_VALUE: ("admin.offers", "offers.read", ""),
    Level.INACTIVE: ("admin.journeys", "journeys.read", "lifecycle.win_back"),
    Level.VIP: ("admin.tiers_page", "tiers.read", ""),
    Level.ADVOCATE: ("admin.referrals_page", "referrals.read", ""),
    Level.REGULAR: ("admin.stamps_page", "stamps.read", ""),
    Level.NEUTRAL: ("admin.journeys", "journeys.read", "lifecycle.thank_you"),
    Level.TARGET: ("admin.offers", "offers.read", ""),
}
#: Levels of which an act is asked on the dashboard, the most pressing first.
PRESSING = (
    Level.HIGH_MAINTENANCE, Level.AT_RISK, Level.POTENTIAL_HIGH_VALUE, Level.INACTIVE,
    Level.TARGET,
)  # fmt: skip


@dataclass(frozen=True)
class Act:
    """A next act: a sentence, and the page where it is done (None where one may not go)."""

    level: Level
    words: str
    endpoint: str | None


@blueprint.get("/weekly")
@staff_only("results.read")
def weekly() -> str:
    """One week in figures, with what is bought together."""
    clock, language = runtime().clock, locale()
    last = figures.monday_of(clock.now(), clock.tz)
    first_on = _asked(last)
    week = figures.of_week(db(), first_on, clock.now(), clock.tz)
    return render_template(
        "admin/weekly.html",
        week=week,
        period=words.period(week, language),
        headline=words.headline(week, language),
        lines=words.lines(week, language),
        advice=words.advice(week, language) if first_on == last else None,
        before=(first_on - figures.WEEK).isoformat(),
        after=(first_on + figures.WEEK).isoformat() if first_on < last else None,
        pairs=suggestions.best_pairs(db()),
        labels=suggestions.labels(db(), language),
    )


def acts(levels: dict[Level, int]) -> list[Act]:
    """What to do next for the levels that ask for it and hold anybody."""
    return [_act(level, "act", levels[level]) for level in PRESSING if levels.get(level)]


def act_of(level: Level) -> Act:
    """What to do next for one member of this level."""
    return _act(level, "next")


def liking_of(member_id: int) -> list[str]:
    """What is known of a member's habits, in words: the usual hour, something they may like."""
    hour = db().scalar(select(MemberScore.best_hour).where(MemberScore.member_id == member_id))
    item = suggestions.suggest(db(), member_id, runtime().clock.now())
    found = []
    if hour is not None:
        found.append(t(locale(), "members.best_hour", hour=f"{hour:02d}"))
    if item is not None:
        item = suggestions.labels(db(), locale()).get(item, item)
        found.append(t(locale(), "members.suggested", item=item))
    return found


def _act(level: Level, kind: str, count: int = 1) -> Act:
    endpoint, permission, journey = ACTS[level]
    key = f"levels.{kind}_{level.value}"
    if journey:
        is_on = db().scalar(select(Journey.is_on).where(Journey.key == journey))
        key += "_on" if is_on else "_off"
    return Act(level, t(locale(), key, count=count), endpoint if may(permission) else None)


def _asked(last: date) -> date:
    """The Monday in the address; the last whole week without one."""
    given = request.args.get("week", "")
    if not given:
        return last
    try:
        first_on = date.fromisoformat(given)
    except ValueError:
        abort(404)
    if first_on.weekday() or first_on > last or first_on < last - timedelta(weeks=520):
        abort(404)
    return first_on
