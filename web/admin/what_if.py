"""Try other rules: a form filled with today's, the replays so far, and what came out of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import date
from typing import Any

from flask import Response, g, make_response, render_template, request

from core.errors import NotFound, Refused
from core.i18n import money, t
from core.text import parse_whole
from engagement import what_if, what_if_rules
from engagement.what_if_rules import JourneyRule, Rules
from loyalty import shop
from loyalty.tiers.ladder import NO_TIER, every_tier
from models.journeys import Journey
from models.members import Level
from models.points import ExpiryKind
from models.results import WhatIf, WhatIfState
from models.tiers import Tier
from web.admin import charts, forms
from web.admin.earning import read_hours
from web.admin.ground import back, blueprint, may, noted
from web.admin.lifecycle import read_threshold
from web.admin.results import journey_name
from web.auth import staff_only
from web.ground import db, locale, runtime

#: The figures of a result, and which of them are baht.
FIGURES = ("issued", "expired", "owed", "owed_baht", "short", "messages", "free", "cost")
IN_BAHT = ("owed_baht", "cost")
#: How the page names the rule that was refused.
_NAMES = {
    "days": "what_if.days",
    "satang_per_point": "what_if.rate",
    "expiry": "what_if.expiry",
    "expiry_months": "what_if.expiry_months",
    "percent": "what_if.percent",
    "weekdays": "what_if.weekdays",
    "hours": "what_if.hours",
    "tiers": "what_if.tiers",
    "levels": "what_if.levels",
    "journeys": "what_if.journeys",
}


@blueprint.get("/what-if")
@staff_only("what_if.read")
def what_if_page() -> str:
    """What was tried, and the form; `like` fills it with the rules of an earlier one."""
    shown, days = _today(), what_if.DEFAULT_DAYS
    like = db().get(WhatIf, request.args.get("like", type=parse_whole) or 0)
    if like is not None:
        shown, days = _on_top(shown, Rules.of(like.rules["would"])), int(like.rules["days"])
    return _page(shown, days)


def _today() -> Rules:
    held = runtime()
    return what_if_rules.today(db(), held.clock.now(), held.clock.tz)


def _on_top(today: Rules, given: Rules) -> Rules:
    """Earlier rules as far as what they are about is still there."""

    def known(now: Mapping[str, Any], then: Mapping[str, Any]) -> dict[str, Any]:
        return {key: then.get(key, value) for key, value in now.items()}

    return replace(
        given,
        tiers=known(today.tiers, given.tiers),
        levels=known(today.levels, given.levels),
        journeys=known(today.journeys, given.journeys),
    )


def _page(shown: Rules, days: int, refusal: str = "") -> str:
    session, today = db(), _today()
    return render_template(
        "admin/what_if.html",
        runs=[(row, len(_changes(row))) for row in what_if.past_runs(session)],
        shown=shown,
        today=today,
        days=days,
        most_days=what_if_rules.MOST_DAYS,
        form=request.form,
        kinds=list(ExpiryKind),
        tiers=_tiers(),
        tiers_in_baht=shop.get(session, "tiers.basis") == "spend",
        hours=", ".join(f"{start}-{end}" for start, end in shown.hours),
        levels=what_if_rules.LEVELS,
        journeys=_journeys(),
        refusal=refusal,
        journey_name=journey_name,
        can_edit=may("what_if.edit"),
    )


def _tiers() -> list[Tier]:
    return [tier for tier in every_tier(db()) if tier.is_on]


def _journeys() -> list[Journey]:
    return [journey for journey, _ in what_if_rules.journeys_of(db()).values()]


@blueprint.post("/what-if")
@staff_only("what_if.edit")
def what_if_ask() -> Response:
    """Ask for a replay under what the form says."""
    held, today = runtime(), _today()
    try:
        days = forms.whole("days", "what_if.days", 1, what_if_rules.MOST_DAYS)
        row = what_if.ask(
            db(),
            _read(today),
            days,
            made_by=f"staff:{g.staff.id}",
            now=held.clock.now(),
            tz=held.clock.tz,
        )
    except Refused as error:
        facts = {name: _named(value) for name, value in error.facts.items()}
        page = _page(today, what_if.DEFAULT_DAYS, t(locale(), error.code, **facts))
        return make_response(page, error.status)
    noted("what_if.asked", days=days)
    return back("admin.what_if_result", run_id=row.id)


def _named(value: Any) -> Any:
    """A rule or a threshold of a refusal in the reader's words; any other fact as it is."""
    if value in _NAMES:
        return t(locale(), _NAMES[value])
    return t(locale(), f"lifecycle.{value}") if value in what_if_rules.LEVELS else value


def _read(today: Rules) -> Rules:
    in_baht = shop.get(db(), "tiers.basis") == "spend"
    tier: Callable[[str], int] = (
        (lambda field: forms.money(field, "what_if.tiers"))
        if in_baht
        else (lambda field: forms.whole(field, "what_if.tiers", 1, what_if_rules.MOST_THRESHOLD))
    )
    return Rules(
        satang_per_point=forms.money("rate", "what_if.rate"),
        has_carry=request.form.get("has_carry") == "1",
        expiry_kind=forms.choice(
            "expiry_kind", "what_if.expiry", [one.value for one in ExpiryKind]
        ),
        expiry_months=forms.maybe_whole("expiry_months", "what_if.expiry_months", 1, 120)
        or today.expiry_months,
        percent=forms.whole("percent", "what_if.percent", 100, what_if_rules.MOST_PERCENT),
        weekdays=tuple(
            sorted(
                int(one)
                for one in forms.choices("weekdays", "what_if.weekdays", [str(d) for d in range(7)])
            )
        ),
        hours=tuple((start, end) for start, end in read_hours(request.form.get("hours", "")[:100])),
        tiers={key: tier(f"tier_{key}") for key in today.tiers},
        levels={name: read_threshold(name) for name in what_if_rules.LEVELS},
        journeys={key: _read_journey(key, rule) for key, rule in today.journeys.items()},
    )


def _read_journey(key: str, today: JourneyRule) -> JourneyRule:
    is_on = request.form.get(f"on_{key}") == "1"
    if today.days is None:
        return JourneyRule(is_on)
    most = what_if_rules.MOST_COOLDOWN
    days = forms.maybe_whole(f"days_{key}", "what_if.cooldown", 1, most)
    return JourneyRule(is_on, days or today.days)


# --- One result -------------------------------------------------------------------------------


@blueprint.get("/what-if/<int:run_id>")
@staff_only("what_if.read")
def what_if_result(run_id: int) -> str:
    """Both sides beside each other; a page that looks again by itself while it is worked on."""
    row = db().get(WhatIf, run_id)
    if row is None:
        raise NotFound
    is_done = row.state == WhatIfState.DONE
    return render_template(
        "admin/what_if_result.html",
        row=row,
        result=row.result or {},
        is_open=row.state in (WhatIfState.WAITING, WhatIfState.RUNNING),
        changes=_changes(row),
        **(_shown(row.result) if is_done and row.result else {}),
    )


def _shown(result: Mapping[str, Any]) -> dict[str, Any]:
    language = locale()
    was, would = result["was"], result["would"]
    months = [date.fromisoformat(month) for month in result["months"]]
    names = {tier.key: tier.name_th if language == "th" else tier.name_en for tier in _all_tiers()}
    names[NO_TIER] = t(language, "tiers.none")
    tiers = [(key, names.get(key, key)) for key in (NO_TIER, *result["tier_order"])]
    levels = [(level.value, t(language, f"levels.{level.value}")) for level in Level]
    journeys = {journey.key: journey_name(journey) for journey in _journeys()}
    told = sorted({*was["messages"], *would["messages"]})
    return {
        "from_day": date.fromisoformat(result["from"]),
        "until_day": date.fromisoformat(result["until"]),
        "figures": [_figure(name, was, would) for name in FIGURES],
        "baht_rows": [
            (month, was["owed_satang"][place], would["owed_satang"][place])
            for place, month in enumerate(months)
        ],
        "owed_chart": charts.moves(
            [charts_day(months, place, result["until"]) for place in range(len(months))],
            [
                (t(language, f"what_if.{name}"), [satang // 100 for satang in side["owed_satang"]])
                for name, side in (("was", was), ("would", would))
            ],
            every=1,
        ),
        "matrices": [
            _Matrix("tier", tiers, result["tier_moves"]),
            _Matrix("level", levels, result["level_moves"]),
        ],
        "messages": [
            (journeys.get(key, key), was["messages"].get(key, 0), would["messages"].get(key, 0))
            for key in told
        ],
    }


def charts_day(months: list[date], place: int, until: str) -> date:
    """The day that a month's figure is of: its last one, or the last of all."""
    if place + 1 < len(months):
        return date.fromordinal(months[place + 1].toordinal() - 1)
    return date.fromisoformat(until)


def _all_tiers() -> list[Tier]:
    return list(every_tier(db()))


def _figure(name: str, was: Mapping[str, Any], would: Mapping[str, Any]) -> dict[str, Any]:
    def of(side: Mapping[str, Any]) -> int:
        if name == "owed":
            return int(side["owed"][-1])
        if name == "owed_baht":
            return int(side["owed_satang"][-1])
        if name == "messages":
            return sum(side["messages"].values())
        return int(side["cost_satang" if name == "cost" else name])

    def said(number: int) -> str:
        return money(locale(), number) if name in IN_BAHT else f"{number:,}"

    before, after = of(was), of(would)
    sign = "+" if after > before else ""
    return {
        "name": name,
        "was": said(before),
        "would": said(after),
        "difference": f"{sign}{said(after - before)}" if after != before else "–",
        "is_changed": after != before,
    }


class _Matrix:
    """Who moves from where to where; empty rows and columns are left out."""

    def __init__(self, kind: str, places: list[tuple[str, str]], moves: list[list[Any]]) -> None:
        self.kind = kind
        self._moves = {(before, after): int(count) for before, after, count in moves}
        used = {key for pair in self._moves for key in pair}
        self.places = [(key, words) for key, words in places if key in used]
        self.total = sum(self._moves.values())
        self.stayed = sum(n for (before, after), n in self._moves.items() if before == after)
        self.moved = self.total - self.stayed

    def of(self, before: str, after: str) -> int:
        return self._moves.get((before, after), 0)

    def was(self, key: str) -> int:
        """Members there under today's rules."""
        return sum(count for (before, _), count in self._moves.items() if before == key)

    def would(self, key: str) -> int:
        """Members there under the rules tried."""
        return sum(count for (_, after), count in self._moves.items() if after == key)


# --- What was changed, in words ---------------------------------------------------------------


def _changes(row: WhatIf) -> list[str]:
    was, would = Rules.of(row.rules["was"]), Rules.of(row.rules["would"])
    return [
        t(locale(), "what_if.change", rule=rule, before=before, after=after)
        for rule, before, after in _pairs(was, would)
        if before != after
    ]


def _pairs(was: Rules, would: Rules) -> Iterator[tuple[str, str, str]]:
    language = locale()
    plain: tuple[tuple[str, Callable[[Rules], str]], ...] = (
        ("rate", lambda rules: money(language, rules.satang_per_point)),
        ("has_carry", lambda rules: t(language, _yes(rules.has_carry))),
        ("expiry", _expiry),
        ("percent", lambda rules: f"{rules.percent}%"),
    )
    for name, words in plain:
        yield t(language, f"what_if.{name}"), words(was), words(would)
    if would.percent != 100:
        yield t(language, "what_if.weekdays"), "", _times(would)
    tiers = {tier.key: tier for tier in _all_tiers()}
    in_baht = shop.get(db(), "tiers.basis") == "spend"
    for key, threshold in would.tiers.items():
        tier = tiers.get(key)
        name = (tier.name_th if language == "th" else tier.name_en) if tier else key
        both = (was.tiers.get(key, threshold), threshold)
        before, after = (money(language, one) if in_baht else f"{one:,}" for one in both)
        yield name, before, after
    for key, limit in would.levels.items():
        yield t(language, f"lifecycle.{key}"), f"{was.levels.get(key, limit):g}", f"{limit:g}"
    names = {journey.key: journey_name(journey) for journey in _journeys()}
    for key, rule in would.journeys.items():
        yield names.get(key, key), _switch(was.journeys.get(key, rule)), _switch(rule)


def _yes(is_so: bool) -> str:
    return "what_if.yes" if is_so else "what_if.no"


def _expiry(rules: Rules) -> str:
    if rules.expiry_kind == ExpiryKind.END_OF_MONTH:
        return t(locale(), "earning.expiry_end_of_month", months=rules.expiry_months)
    return t(locale(), f"what_if.expiry_{rules.expiry_kind}")


def _times(rules: Rules) -> str:
    days = [t(locale(), f"earning.weekday_{day}") for day in rules.weekdays]
    hours = [f"{start}-{end}" for start, end in rules.hours]
    return ", ".join([*days, *hours]) or t(locale(), "what_if.any")


def _switch(rule: JourneyRule) -> str:
    if not rule.is_on:
        return t(locale(), "what_if.off")
    if rule.days is None:
        return t(locale(), "what_if.on")
    return t(locale(), "what_if.on_days", days=rule.days)
