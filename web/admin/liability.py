"""The owner's view: what is owed in points, how they move, what coupons cost, who to look at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from flask import Response, g, make_response, render_template

from core.clock import local_day
from core.errors import Refused
from core.i18n import day, t
from insights import liability as figures
from insights import suspects as watch
from loyalty import shop
from web.admin import charts, forms
from web.admin.ground import back, blueprint, freshly, may, noted
from web.admin.tables import spreadsheet
from web.auth import staff_only
from web.ground import db, locale, opened, outside, runtime

Rows = list[Sequence[Any]]
MOVES = ("earned", "burned", "expired", "adjusted", "reversed")


@blueprint.get("/liability")
@staff_only("liability.read")
def liability() -> str:
    """Points owed by month, breakage, the last 30 days, and coupons."""
    return _page()


def _page(refusal: str = "") -> str:
    session, held, language = db(), runtime(), locale()
    now, tz = held.clock.now(), held.clock.tz
    days = figures.by_day(session, now, tz)
    owed = figures.liability(session, now, tz)
    return render_template(
        "admin/liability.html",
        owed=owed,
        satang_each=int(shop.get(session, "points.satang_each")),
        most=max([month.points for month in owed.months], default=1),
        breakage=figures.breakage(session),
        days=days,
        moves=MOVES,
        chart=charts.moves(
            [one.on for one in days],
            [
                (t(language, f"liability.{name}"), [abs(getattr(one, name)) for one in days])
                for name in ("earned", "burned", "expired")
            ],
        ),
        uses=figures.coupon_use(session),
        refusal=refusal,
        can_edit=may("liability.edit"),
        can_export=may("liability.export"),
    )


@blueprint.post("/liability/worth")
@staff_only("liability.edit")
def liability_worth() -> Response:
    """What a point costs the shop."""
    now = runtime().clock.now()
    try:
        satang = forms.money("worth", "liability.worth")
        if satang > 100_000:
            raise forms.bad("liability.worth")
    except Refused as error:
        return make_response(_page(t(locale(), error.code, **error.facts)), error.status)
    shop.set(db(), "points.satang_each", satang, now)
    noted("points.worth_changed", satang=satang)
    return back("admin.liability", note="console.saved")


@blueprint.post("/liability/<any(months, days, coupons):what>.csv")
@staff_only("liability.export")
@freshly
@outside
def liability_export(what: str) -> Response:
    """One of the tables as a file."""
    made: dict[str, Callable[[], Rows]] = {"months": _months, "days": _days, "coupons": _coupons}
    return _file(what, made[what])


@blueprint.get("/suspects")
@staff_only("suspects.read")
def suspects() -> str:
    """Cashiers and members whose figures deserve a look, with the reasons in words."""
    return render_template(
        "admin/suspects.html",
        lists=[("cashiers", _cashiers()), ("members", _members())],
        reason=lambda flag: _reason(flag, locale()),
        days=watch.DAYS,
        can_export=may("suspects.export"),
    )


@blueprint.post("/suspects/<any(cashiers, members):what>.csv")
@staff_only("suspects.export")
@freshly
@outside
def suspects_export(what: str) -> Response:
    """One of the lists as a file."""
    return _file(f"suspects-{what}", lambda: _suspects(what))


def _suspects(what: str) -> Rows:
    language = locale()
    found = _cashiers() if what == "cashiers" else _members()
    rows: Rows = [[t(language, "console.name"), t(language, "suspects.reasons")]]
    rows += [[one.name, " · ".join(_reason(flag, language) for flag in one.flags)] for one in found]
    return rows


def _cashiers() -> list[watch.Suspect]:
    clock = runtime().clock
    return watch.cashiers(db(), clock.now(), clock.real_now(), clock.tz)


def _members() -> list[watch.Suspect]:
    return watch.members(db(), runtime().clock.now(), runtime().clock.tz)


def _reason(flag: watch.Flag, language: str) -> str:
    return t(language, f"suspects.reason_{flag.kind}", **flag.facts)


def _months() -> Rows:
    session, held, language = db(), runtime(), locale()
    owed = figures.liability(session, held.clock.now(), held.clock.tz)
    each = int(shop.get(session, "points.satang_each"))
    head = [t(language, f"liability.{name}") for name in ("ends_in", "points", "baht")]
    rows: Rows = [head]
    for month in owed.months:
        name = month.first_on.isoformat()[:7] if month.first_on else t(language, "liability.never")
        rows.append([name, month.points, _baht(figures.baht_of(month.points, each))])
    return rows


def _days() -> Rows:
    held, language = runtime(), locale()
    head = [t(language, "liability.day"), *(t(language, f"liability.{name}") for name in MOVES)]
    days = figures.by_day(db(), held.clock.now(), held.clock.tz)
    return [head, *([day(language, one.on), *(getattr(one, m) for m in MOVES)] for one in days)]


def _coupons() -> Rows:
    language = locale()
    names = ("console.name", "console.issued", "console.redeemed")
    head = [t(language, name) for name in (*names, "liability.discount", "liability.cost")]
    uses = figures.coupon_use(db())
    return [
        head,
        *(
            [
                use.coupon.name_th if language == "th" else use.coupon.name_en,
                use.issued,
                use.redeemed,
                _baht(use.discount_satang),
                _baht(use.cost_satang),
            ]
            for use in uses
        ),
    ]


def _baht(satang: int) -> str:
    return f"{satang // 100}.{satang % 100:02d}"


def _file(name: str, find: Callable[[], Rows]) -> Response:
    """A CSV to keep; that it was taken is written down, with how much. No lock while reading."""
    with opened(is_reading=True):
        rows = find()
    with opened():
        noted("exports.made", what=name, rows=len(rows) - 1, by=g.staff.id)
    clock = runtime().clock
    on = local_day(clock.now(), clock.tz).isoformat()
    return spreadsheet(rows, f"taem-{name}-{on}.csv")
