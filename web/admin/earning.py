"""How points are earned: the policy of each day, the rules on top of it, products, a preview."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from flask import Response, g, make_response, render_template, request
from sqlalchemy import select

from core.clock import at_local, local_day
from core.errors import NotFound, Refused
from core.i18n import t
from core.text import parse_hours, parse_satang
from loyalty import earn_rules, earning, points
from loyalty.earn_rules import Bill, Extra, Line
from models.earn_rules import EarnRule, EarnRuleKind, Product
from models.members import Level
from models.points import EarnPolicy, ExpiryKind
from models.staff import Branch
from models.tiers import Tier
from web.admin import forms
from web.admin.ground import back, blueprint, may, noted
from web.admin.tables import Column, Listing, found_in, listed
from web.auth import staff_only
from web.ground import db, locale, runtime

_KEY = re.compile(r"[a-z0-9_]{2,40}")
MOST_POINTS = 10_000_000
#: Products that the trial of a bill offers to choose from.
SKUS_OFFERED = 500
PREVIEW_BAHT, PREVIEW_HOUR = "250", 12


@dataclass(frozen=True)
class Preview:
    """What a bill would earn, by the rules that will judge it."""

    base: int
    extras: tuple[Extra, ...]

    @property
    def points(self) -> int:
        return self.base + sum(extra.points for extra in self.extras)


@blueprint.get("/earning")
@staff_only("earning.read")
def earning_page() -> str:
    """Everything about earning on one page."""
    return _page()


@dataclass(frozen=True)
class RuleLine:
    """A rule with what it gave so far."""

    rule: EarnRule
    given: int

    @property
    def name(self) -> str:
        return self.rule.name_en if locale() == "en" else self.rule.name_th

    @property
    def adds(self) -> str:
        """How many points it adds, in words."""
        if self.rule.percent:
            return t(locale(), "earning.times", percent=self.rule.percent)
        return t(locale(), "earning.plus", points=self.rule.bonus_points)

    @property
    def conditions(self) -> list[str]:
        return conditions_of(self.rule, locale())

    @property
    def state(self) -> str:
        """What it does at this moment, as a key of texts."""
        if self.rule.ended_at:
            return "earning.ended"
        return "console.on" if self.rule.is_on else "earning.off"


def _rule_line(row: Any) -> RuleLine:
    if "rules_given" not in g:  # once for a page
        g.rules_given = earn_rules.given_by(db())
    return RuleLine(row[0], g.rules_given.get(row[0].id, 0))


RULES = listed(
    Listing(
        "/earning/rules",
        (
            Column("position", "earning.position", EarnRule.position,
                   lambda line: line.rule.position, "num"),
            Column("name", "console.name", EarnRule.name_th, lambda line: line.name),
            Column("key", "tills.code", EarnRule.key, lambda line: line.rule.key, "mono"),
            Column("adds", "earning.adds", None, lambda line: line.adds),
            Column("when", "earning.when", None, lambda line: ", ".join(line.conditions)),
            Column("from", "lists.since", EarnRule.starts_on, lambda line: line.rule.starts_on,
                   "day"),
            Column("until", "lists.until", EarnRule.ends_on, lambda line: line.rule.ends_on,
                   "day"),
            Column("cap_member", "earning.cap_member_short", EarnRule.per_member_cap,
                   lambda line: line.rule.per_member_cap, "num"),
            Column("cap_total", "earning.cap_total_short", EarnRule.total_cap,
                   lambda line: line.rule.total_cap, "num"),
            Column("given", "earning.given", None, lambda line: line.given, "num"),
            Column("state", "console.state", EarnRule.is_on,
                   lambda line: t(locale(), line.state)),
            Column("acts", ""),
        ),
        lambda: found_in(select(EarnRule), EarnRule.name_th, EarnRule.name_en, EarnRule.key),
        "position",
        EarnRule.id,
        "earning.read",
        is_down=False,
        shape=_rule_line,
        first=EarnRule.ended_at.is_not(None),
        home="admin.earning_rules",
    )
)  # fmt: skip
PRODUCTS = listed(
    Listing(
        "/earning/products",
        (
            Column("sku", "earning.sku", Product.sku, lambda one: one.sku, "mono"),
            Column("name_th", "console.name_th", Product.name_th, lambda one: one.name_th),
            Column("name_en", "console.name_en", Product.name_en, lambda one: one.name_en),
            Column("label", "earning.label", Product.label, lambda one: one.label),
            Column("state", "console.state", Product.is_active,
                   lambda one: t(locale(), "earning.sold" if one.is_active
                                 else "earning.not_sold")),
            Column("acts", ""),
        ),
        lambda: found_in(
            select(Product), Product.sku, Product.name_th, Product.name_en, Product.label
        ),
        "sku",
        Product.id,
        "earning.read",
        is_down=False,
        shape=lambda row: row[0],
        home="admin.earning_products",
    )
)  # fmt: skip


@blueprint.get("/earning/rules")
@staff_only("earning.read")
def earning_rules() -> str:
    """What is added to the base, in the order in which it acts; ended ones last."""
    return _rules_page()


def _rules_page(refusal: str = "") -> str:
    return render_template(
        "admin/earning_rules.html",
        table=RULES.page(),
        branches=db().scalars(select(Branch).order_by(Branch.code)).all(),
        tiers=db().scalars(select(Tier).order_by(Tier.threshold)).all(),
        levels=list(Level),
        form=request.form,
        refusal=refusal,
        can_edit=may("earning.edit"),
    )


@blueprint.get("/earning/products")
@staff_only("earning.read")
def earning_products() -> str:
    """What the shop sells, as far as its rules need to know."""
    return _products_page()


def _products_page(refusal: str = "") -> str:
    return render_template(
        "admin/earning_products.html",
        table=PRODUCTS.page(),
        form=request.form,
        refusal=refusal,
        can_edit=may("earning.edit"),
    )


def _page(refusal: str = "") -> str:
    session, held = db(), runtime()
    today = local_day(held.clock.now(), held.clock.tz)
    every = points.policies(session)
    current = points.policy_for(session, today)
    asked, preview = _preview()
    return render_template(
        "admin/earning.html",
        today=today,
        current=current,
        first_day=points.first_day(session, today),
        planned=[one for one in every if one.valid_from > today],
        past=[one for one in every if one.valid_from <= today and one.id != current.id],
        products=session.scalars(
            select(Product).where(Product.is_active).order_by(Product.sku).limit(SKUS_OFFERED)
        ).all(),
        branches=session.scalars(select(Branch).order_by(Branch.code)).all(),
        tiers=session.scalars(select(Tier).order_by(Tier.threshold)).all(),
        levels=list(Level),
        expiry_kinds=list(ExpiryKind),
        asked=asked,
        preview=preview,
        form=request.form,
        refusal=refusal,
        can_edit=may("earning.edit"),
    )


def _doing(endpoint: str, page: Callable[[str], str], work: Callable[[], None]) -> Response:
    """Do what a form asks; refused, its page comes back as it was filled."""
    try:
        work()
    except Refused as error:
        words = t(locale(), error.code, **error.facts)
        return make_response(page(words), error.status)
    return back(endpoint, note="console.saved")


# --- The policy --------------------------------------------------------------------------------


@blueprint.post("/earning/policy")
@staff_only("earning.edit")
def earning_plan() -> Response:
    """Plan how points are earned from a day to come."""

    def plan() -> None:
        held = runtime()
        starts = forms.maybe_day("valid_from", "earning.valid_from")
        if starts is None:
            raise forms.bad("earning.valid_from")
        policy = EarnPolicy(
            valid_from=starts,
            satang_per_point=forms.money("rate", "earning.rate"),
            has_carry=request.form.get("has_carry") == "1",
            pending_days=forms.whole("pending_days", "earning.pending_days", 0, 90),
            expiry_kind=ExpiryKind(
                forms.choice("expiry_kind", "earning.expiry", [kind.value for kind in ExpiryKind])
            ),
            expiry_months=forms.maybe_whole("expiry_months", "earning.expiry_months", 1, 120) or 12,
        )
        points.plan_policy(db(), policy, local_day(held.clock.now(), held.clock.tz))
        noted(
            "points.policy_planned",
            valid_from=starts.isoformat(),
            satang_per_point=policy.satang_per_point,
            pending_days=policy.pending_days,
            expiry=policy.expiry_kind.value,
            months=policy.expiry_months,
        )

    return _doing("admin.earning_page", _page, plan)


@blueprint.post("/earning/policy/<int:policy_id>/cancel")
@staff_only("earning.edit")
def earning_cancel(policy_id: int) -> Response:
    """Drop a plan that has not begun."""

    def cancel() -> None:
        held = runtime()
        today = local_day(held.clock.now(), held.clock.tz)
        policy = points.cancel_plan(db(), policy_id, today)
        noted("points.policy_cancelled", valid_from=policy.valid_from.isoformat())

    return _doing("admin.earning_page", _page, cancel)


# --- Rules ---------------------------------------------------------------------------------------


@blueprint.post("/earning/rules")
@staff_only("earning.edit")
def earning_rule_create() -> Response:
    """Add a multiplier or a bonus."""

    def create() -> None:
        held = runtime()
        kind = EarnRuleKind(
            forms.choice("kind", "earning.kind", [one.value for one in EarnRuleKind])
        )
        is_bonus = kind == EarnRuleKind.BONUS
        key = request.form.get("key", "").strip()
        if not _KEY.fullmatch(key):
            raise forms.bad("console.key")
        rule = EarnRule(
            key=key,
            kind=kind,
            position=forms.maybe_whole("position", "earning.position", 1, 10_000) or 100,
            name_th=forms.words("name_th", "console.name_th"),
            name_en=forms.words("name_en", "console.name_en"),
            percent=None if is_bonus else forms.whole("percent", "earning.percent", 101, 1000),
            bonus_points=forms.whole("bonus_points", "earning.bonus_points", 1, 100_000)
            if is_bonus
            else None,
            conditions=_conditions(),
            starts_on=forms.maybe_day("starts_on", "console.starts_on"),
            ends_on=forms.maybe_day("ends_on", "console.ends_on"),
            per_member_cap=forms.maybe_whole(
                "per_member_cap", "earning.per_member_cap", 1, MOST_POINTS
            ),
            total_cap=forms.maybe_whole("total_cap", "earning.total_cap", 1, 10**12),
            created_at=held.clock.now(),
        )
        earn_rules.create(db(), rule, today=local_day(held.clock.now(), held.clock.tz))
        noted("earn_rules.created", rule=rule.id, key=rule.key)

    return _doing("admin.earning_rules", _rules_page, create)


def _conditions() -> dict[str, Any]:
    """What the form asks of a bill; empty fields ask nothing."""
    session, form = db(), request.form
    weekdays = forms.choices("weekdays", "earning.weekdays", [str(day) for day in range(7)])
    found: dict[str, Any] = {
        "weekdays": sorted(_DIGITS.index(day) for day in weekdays),
        "hours": read_hours(form.get("hours", "")),
        "branches": forms.choices(
            "branches", "earning.branches", session.scalars(select(Branch.code))
        ),
        "tiers": forms.choices("tiers", "earning.tiers", session.scalars(select(Tier.key))),
        "levels": forms.choices("levels", "earning.levels", [level.value for level in Level]),
        "skus": _list("skus"),
        "labels": _list("labels"),
        "min_satang": forms.maybe_money("min_bill", "console.min_bill"),
        "first_purchase": form.get("first_purchase") == "1",
        "birthday_month": form.get("birthday_month") == "1",
    }
    return {name: value for name, value in found.items() if value}


_DIGITS = "0123456"


def _list(field: str) -> list[str]:
    texts = forms.words(field, f"earning.{field}", 500, needed=False).split(",")
    return [text.strip()[:64] for text in texts if text.strip()]


def read_hours(text: str) -> list[list[int]]:
    """Spans of hours as people type them: `7-10, 15-18`."""
    spans = parse_hours(text)
    if spans is None:
        raise forms.bad("earning.hours")
    return spans


@blueprint.post("/earning/rules/<int:rule_id>/<any(end, on, off):what>")
@staff_only("earning.edit")
def earning_rule_change(rule_id: int, what: str) -> Response:
    """End a rule for good, or switch it off and on."""

    def change() -> None:
        if db().get(EarnRule, rule_id) is None:
            raise NotFound
        if what == "end":
            earn_rules.end(db(), rule_id, runtime().clock.now())
        else:
            earn_rules.switch(db(), rule_id, is_on=what == "on")
        noted("earn_rules.changed", rule=rule_id, what=what)

    return _doing("admin.earning_rules", _rules_page, change)


def conditions_of(rule: EarnRule, language: str) -> list[str]:
    """A rule's conditions in words."""
    asked = rule.conditions
    told: list[str] = []
    if days := asked.get("weekdays"):
        told.append(", ".join(t(language, f"earning.weekday_{day}") for day in days))
    if hours := asked.get("hours"):
        told.append(", ".join(f"{start:02d}:00–{end:02d}:00" for start, end in hours))
    told += [
        t(language, f"earning.only_{name}", names=", ".join(asked[name]))
        for name in ("branches", "tiers", "skus", "labels")
        if asked.get(name)
    ]
    if levels := asked.get("levels"):
        told.append(", ".join(t(language, f"levels.{level}") for level in levels))
    if least := asked.get("min_satang"):
        told.append(t(language, "earning.only_from", baht=least // 100))
    told += [
        t(language, f"earning.only_{name}")
        for name in ("first_purchase", "birthday_month")
        if asked.get(name)
    ]
    return told


# --- Products ------------------------------------------------------------------------------------


@blueprint.post("/earning/products")
@staff_only("earning.edit")
def earning_product() -> Response:
    """Add a product, or change the one with this number."""

    def save() -> None:
        # All that may be refused comes first: the page that says so would write half a product.
        sku = forms.words("sku", "earning.sku", 64)
        name_th = forms.words("name_th", "console.name_th")
        name_en = forms.words("name_en", "console.name_en")
        label = forms.words("label", "earning.label", 64, needed=False) or None
        product = db().scalar(select(Product).where(Product.sku == sku))
        if product is None:
            product = Product(sku=sku)
            db().add(product)
        product.name_th, product.name_en, product.label = name_th, name_en, label
        product.is_active = request.form.get("is_active", "1") == "1"
        noted("products.saved", sku=sku)

    return _doing("admin.earning_products", _products_page, save)


# --- The preview -----------------------------------------------------------------------------------


def _preview() -> tuple[dict[str, str], Preview | None]:
    """The bill that the address describes, and what it would earn; None when it cannot be read."""
    session, held, given = db(), runtime(), request.args
    now = held.clock.now()
    today = local_day(now, held.clock.tz)
    asked = {
        "amount": given.get("amount", PREVIEW_BAHT)[:20],
        "on": given.get("on", today.isoformat())[:10],
        "hour": given.get("hour", str(PREVIEW_HOUR))[:2],
        "branch": given.get("branch", "")[:64],
        "tier": given.get("tier", "")[:64],
        "level": given.get("level", "")[:64],
        "sku": given.get("sku", "")[:64],
        "first": given.get("first", "")[:1],
        "birthday": given.get("birthday", "")[:1],
    }
    amount = parse_satang(asked["amount"])
    try:
        day = date.fromisoformat(asked["on"])
    except ValueError:
        return asked, None
    hour = given.get("hour", PREVIEW_HOUR, type=int)
    if not amount or hour is None or not 0 <= hour < 24 or not 2000 <= day.year <= 2200:
        return asked, None
    at: datetime = at_local(day, hour, 0, held.clock.tz).astimezone(held.clock.tz)
    base = earning.award(points.policy_for(session, day), amount, 0).points
    tier = session.scalar(select(Tier).where(Tier.key == asked["tier"], Tier.is_on))
    product = session.scalar(select(Product).where(Product.sku == asked["sku"]))
    bill = Bill(
        base=base,
        amount_satang=amount,
        at=at,
        branch=asked["branch"],
        lines=[Line(product.sku, product.label, amount)] if product else [],
        level=asked["level"] or None,
        tier=tier.key if tier else None,
        tier_names=(tier.name_th, tier.name_en) if tier else ("", ""),
        tier_percent=tier.earn_percent if tier else 100,
        is_first=asked["first"] == "1",
        is_birthday_month=asked["birthday"] == "1",
    )
    return asked, Preview(base, tuple(earn_rules.preview(session, bill)))
