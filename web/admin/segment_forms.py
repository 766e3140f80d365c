"""A segment's tree as a plain form and back, and in words.

The form has groups of conditions, `g0.c1.field` and so on, and works without any script: each
button sends all of it and gets the page back with one thing changed. Two levels are what the form
shows; deeper trees (made elsewhere) are read aloud and cannot be edited here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select
from werkzeug.datastructures import MultiDict

from core.errors import Invalid
from core.i18n import money, t, texts
from core.text import clean, fit, parse_hours, parse_satang, parse_whole
from engagement import segments
from models.campaigns import Campaign, CampaignState
from models.coupons import Coupon
from models.earn_rules import Product
from models.members import SourceCode
from models.segments import MemberTag
from models.staff import Branch
from models.tiers import Tier
from web.ground import db, locale

MAX_GROUPS = 6
MAX_ROWS = 10
MANY = 200
#: What one condition may hold in the form, each a list of what was typed or ticked.
PARTS = (
    "field", "is", "value", "days", "skus", "branches", "weekdays", "hours", "state", "coupons",
    "campaigns",
)  # fmt: skip
GROUPED = (
    ("about", ("totals.stage", "totals.level", "tier", "tags", "member.language", "source",
               "birthday", "consent", "member.following", "member.phone_proven",
               "member.tester")),
    ("buying", ("totals.last_purchase", "totals.first_purchase", "totals.purchase_count",
                "totals.spent", "purchases.count", "purchases.sum", "rfm.group", "rfm.recency",
                "rfm.frequency", "rfm.money", "rfm.spent_365", "rfm.clv")),
    ("doing", ("totals.balance", "stamps.filled", "stamps.left", "vouchers", "campaigns",
               "member.joined", "member.wrote")),
)  # fmt: skip


@dataclass
class Row:
    """One condition as it stands in the form."""

    values: dict[str, list[str]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.one("field")

    @property
    def kind(self) -> str:
        return segments.FIELDS[self.name].kind.value

    def one(self, part: str) -> str:
        """What a part holds, if it holds one thing."""
        return (self.values.get(part) or [""])[0]

    def many(self, part: str) -> list[str]:
        """Everything a part holds."""
        return self.values.get(part) or []


@dataclass
class Group:
    """Conditions that hold all together, or any of them, or not at all."""

    join: str = "all"
    is_not: bool = False
    rows: list[Row] = field(default_factory=list)


@dataclass
class Form:
    """The whole builder."""

    name: str = ""
    join: str = "all"
    groups: list[Group] = field(default_factory=lambda: [Group()])


# --- Form to form -------------------------------------------------------------------------------


def read(form: MultiDict[str, str]) -> Form:
    """What was sent, as it was typed; nothing is judged yet."""
    found = Form(name=fit(form.get("name", ""), 100), join=_join(form.get("join")), groups=[])
    for place in range(MAX_GROUPS):
        if f"g{place}.join" not in form:
            continue
        group = Group(_join(form.get(f"g{place}.join")), form.get(f"g{place}.not") == "1")
        for spot in range(MAX_ROWS):
            at = f"g{place}.c{spot}."
            if form.get(at + "field") in segments.FIELDS:
                values = {part: form.getlist(at + part)[:MANY] for part in PARTS}
                if values["is"] == ["within_days"] and at + "ahead" in form:
                    values["value"] = [form[at + "ahead"]]  # months may be ticked beside it
                group.rows.append(Row({part: given for part, given in values.items() if given}))
        found.groups.append(group)
    if not found.groups:
        found.groups.append(Group())
    return found


def _join(given: str | None) -> str:
    return "any" if given == "any" else "all"


def change(form: Form, act: str, given: MultiDict[str, str]) -> None:
    """Do what a button says: `add.0`, `remove.0.1`, `group`, `drop.1`; anything else is nothing."""
    what, *places = act.split(".")
    spots = [spot for place in places if (spot := parse_whole(place)) is not None]
    if len(spots) < len(places):
        return
    if what == "group" and len(form.groups) < MAX_GROUPS:
        form.groups.append(Group())
    elif what == "drop" and len(spots) == 1 and spots[0] < len(form.groups) > 1:
        del form.groups[spots[0]]
    elif what == "add" and len(spots) == 1 and spots[0] < len(form.groups):
        group = form.groups[spots[0]]
        chosen = given.get(f"g{spots[0]}.add", "")
        if chosen in segments.FIELDS and len(group.rows) < MAX_ROWS:
            way = segments.WAYS[segments.FIELDS[chosen].kind][0]
            group.rows.append(Row({"field": [chosen], "is": [way]}))
    elif what == "remove" and len(spots) == 2 and spots[0] < len(form.groups):
        rows = form.groups[spots[0]].rows
        if spots[1] < len(rows):
            del rows[spots[1]]


# --- Form to tree -------------------------------------------------------------------------------


def tree_of(form: Form) -> dict[str, Any]:
    """The tree a form means. Raises Invalid naming the condition that cannot be read."""
    parts = []
    for group in form.groups:
        conditions = [_condition(row) for row in group.rows]
        if not conditions:
            continue
        one: dict[str, Any] = conditions[0] if len(conditions) == 1 else {group.join: conditions}
        parts.append({"not": one} if group.is_not else one)
    if len(parts) == 1 and set(parts[0]) <= {"all", "any"}:
        return parts[0]
    return {form.join: parts}


def _condition(row: Row) -> dict[str, Any]:
    known = segments.FIELDS[row.name]
    way = row.one("is")
    node: dict[str, Any] = {"field": row.name, "is": way}
    if way not in segments.WAYS[known.kind]:
        raise _bad(row)
    if way not in segments.BARE:
        node["value"] = _value(row, known, way)
    for part in sorted(segments.DETAILS.get(known.kind, ())):
        found = _detail(row, part)
        if found:
            node[part] = found
    return node


def _value(row: Row, known: segments.Field, way: str) -> Any:
    if way in ("one_of", "none_of"):
        words = [clean(one, segments.MAX_LETTERS) for one in row.many("value")]
        if not any(words):
            raise _bad(row)
        return [one for one in dict.fromkeys(words) if one]
    if way == "in_months":
        return _numbers(row, "value")
    number = (parse_satang if known.is_money else parse_whole)(row.one("value").strip())
    if number is None:
        raise _bad(row)
    return number


def _detail(row: Row, part: str) -> Any:
    if part == "days":
        text = row.one(part).strip()
        days = parse_whole(text) if text else None
        if text and not days:
            raise _bad(row)
        return days
    if part == "hours":
        spans = parse_hours(row.one(part))
        if spans is None:
            raise _bad(row)
        return spans
    if part in ("weekdays", "campaigns"):
        return _numbers(row, part) if row.many(part) else None
    if part == "state":
        return row.one(part)
    return [clean(one, segments.MAX_LETTERS) for one in row.many(part) if one.strip()]


def _numbers(row: Row, part: str) -> list[int]:
    found = [parse_whole(one) for one in row.many(part)]
    numbers = sorted({one for one in found if one is not None})
    if not numbers:
        raise _bad(row)
    return numbers


def _bad(row: Row) -> Invalid:
    return Invalid("segments.unreadable", field=field_words(row.name, locale()))


# --- Tree to form -------------------------------------------------------------------------------


def form_of(name: str, tree: Mapping[str, Any]) -> Form | None:
    """A tree as the form shows it; None when it is deeper than that."""
    if "field" in tree or "not" in tree:
        tree = {"all": [tree]}
    ((join, parts),) = tree.items()
    groups: list[Group] = []
    if all("field" in part for part in parts):
        groups.append(Group(join, rows=[_row(part) for part in parts]))
        return Form(name, join="all", groups=groups)
    for part in parts:
        group = _group(part)
        if group is None:
            return None
        groups.append(group)
    return Form(name, join, groups) if len(groups) <= MAX_GROUPS else None


def _group(node: Mapping[str, Any]) -> Group | None:
    is_not = "not" in node
    inner = node["not"] if is_not else node
    if "field" in inner:
        return Group("all", is_not, [_row(inner)])
    if "not" in inner:
        return None
    ((join, parts),) = inner.items()
    if not all("field" in part for part in parts):
        return None
    return Group(join, is_not, [_row(part) for part in parts])


def _row(node: Mapping[str, Any]) -> Row:
    values: dict[str, list[str]] = {}
    known = segments.FIELDS[node["field"]]
    for part, value in node.items():
        if part == "value" and known.is_money:
            values[part] = [money("en", value).replace(",", "")]
        elif part == "hours":
            values[part] = [", ".join(f"{a:02d}-{b:02d}" for a, b in value)]
        else:
            values[part] = [str(one) for one in (value if isinstance(value, list) else [value])]
    return Row(values)


# --- Words --------------------------------------------------------------------------------------


def field_words(name: str, language: str) -> str:
    """A field as people call it."""
    return t(language, f"segments.field_{name.replace('.', '_')}")


def choices_of(name: str, language: str) -> list[tuple[str, str]]:
    """What a field of a closed set can be: value and words."""
    known = segments.FIELDS[name]
    if name == "totals.stage":
        return [(one, t(language, f"stages.{one}")) for one in known.choices]
    if name == "totals.level":
        return [(one, t(language, f"levels.{one}")) for one in known.choices]
    if name == "rfm.group":
        return [(one, t(language, f"segments.rfm_{one}")) for one in known.choices]
    if name == "member.language":
        return [("th", "ไทย"), ("en", "English")]
    if name == "tier":
        tiers = db().scalars(select(Tier).order_by(Tier.threshold))
        named = [(one.key, one.name_th if language == "th" else one.name_en) for one in tiers]
        return [*named, (segments.NONE, t(language, "tiers.none"))]
    if name == "tags":
        tags = db().scalars(select(MemberTag.tag).distinct().order_by(MemberTag.tag).limit(MANY))
        return [(one, one) for one in tags]
    if name == "source":
        codes = db().scalars(select(SourceCode).order_by(SourceCode.id).limit(MANY))
        named = [(one.code, f"{one.label} ({one.code})") for one in codes]
        return [*named, (segments.UNKNOWN, t(language, "segments.source_unknown"))]
    return []


def details_of(part: str, language: str) -> list[tuple[str, str]]:
    """What a detail can be: value and words."""
    is_thai = language == "th"
    if part == "branches":
        return [
            (one.code, one.name_th if is_thai else one.name_en)
            for one in db().scalars(select(Branch).order_by(Branch.id))
        ]
    if part == "skus":
        return [
            (one.sku, one.name_th if is_thai else one.name_en)
            for one in db().scalars(select(Product).order_by(Product.sku).limit(MANY))
        ]
    if part == "coupons":
        return [
            (one.key, one.name_th if is_thai else one.name_en)
            for one in db().scalars(select(Coupon).order_by(Coupon.id).limit(MANY))
        ]
    if part == "campaigns":
        found = select(Campaign).where(Campaign.state != CampaignState.DRAFT)
        return [
            (str(one.id), one.name)
            for one in db().scalars(found.order_by(Campaign.id.desc()).limit(MANY))
        ]
    if part == "weekdays":
        return [(str(one), t(language, f"days.{one}")) for one in range(7)]
    if part == "state":
        return [(one, t(language, f"segments.voucher_{one}")) for one in segments.VOUCHER_STATES]
    assert part == "months"
    return [(str(one), t(language, f"months.{one}")) for one in range(1, 13)]


def described(tree: Mapping[str, Any], language: str) -> str:
    """A tree in one sentence."""
    if "field" in tree:
        return _said(tree, language)
    if "not" in tree:
        return t(language, "segments.say_not", what=described(tree["not"], language))
    ((join, parts),) = tree.items()
    if not parts:
        return t(language, "segments.say_everybody")
    said = [
        described(part, language)
        if "field" in part or len(parts) == 1
        else f"({described(part, language)})"
        for part in parts
    ]
    whole, *others = said
    for one in others:
        whole = t(language, f"segments.say_{join}", first=whole, next=one)
    return whole


def _said(node: Mapping[str, Any], language: str) -> str:
    name, way = node["field"], node["is"]
    known = segments.FIELDS[name]
    facts: dict[str, Any] = {"field": field_words(name, language)}
    if way in ("one_of", "none_of"):
        facts["values"] = _named(choices_of(name, language), node["value"], language)
    elif way == "in_months":
        facts["values"] = _named(details_of("months", language), node["value"], language)
    elif "value" in node:
        value = node["value"]
        facts["value"] = money(language, value) if known.is_money else f"{value:,}"
        facts["count"] = value
    key = f"segments.say_{known.kind.value}_{way}"
    if key not in texts(language) and f"{key}.other" not in texts(language):
        key = f"segments.say_{way}"
    said = t(language, key, **facts)
    more = [
        _detail_said(part, node[part], language)
        for part in PARTS
        if part in node and part not in ("field", "is", "value")
    ]
    return t(language, "segments.say_with", what=said, more=" ".join(more)) if more else said


def _detail_said(part: str, value: Any, language: str) -> str:
    if part == "days":
        return t(language, "segments.with_days", count=value)
    if part == "hours":
        spans = ", ".join(f"{a:02d}:00–{b:02d}:00" for a, b in value)
        return t(language, "segments.with_hours", values=spans)
    values = [value] if isinstance(value, str) else value
    return t(
        language,
        f"segments.with_{part}",
        values=_named(details_of(part, language), values, language),
    )


def _named(known: Sequence[tuple[str, str]], values: Sequence[Any], language: str) -> str:
    """Any of these, as one says it: `VIP or Regular`."""
    words = dict(known)
    whole, *others = (words.get(str(value), str(value)) for value in values)
    for one in others:
        whole = t(language, "segments.say_any", first=whole, next=one)
    return whole
