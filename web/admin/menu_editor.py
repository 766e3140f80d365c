"""The editor of one rich menu: areas, pictures, audience, versions, publishing and plans."""

from __future__ import annotations

import base64
import json
from datetime import datetime
from typing import Any

from flask import Response, abort, g, jsonify, make_response, render_template, request
from sqlalchemy import select
from sqlalchemy.orm import Session

from bot.gateway import SdkLine
from core.clock import at_local
from core.errors import Invalid, OutsideFault, Refused
from core.i18n import LOCALES, t
from core.text import clean
from models.members import Level, Stage
from models.menus import Menu, MenuVersion
from models.segments import MemberTag
from models.staff import Staff
from models.tiers import Tier
from rich_menus import (
    audiences,
    icons,
    images,
    layouts,
    living,
    plans,
    publish,
    shelf,
    trials,
    uploads,
)
from rich_menus.definitions import (
    ACTION_TYPES,
    COMMANDS,
    INPUT_OPTIONS,
    PICKER_BOUNDS,
    PICKER_MODES,
    Fault,
    MenuDefinition,
    Variant,
    faults,
    strip_bounds,
)
from web.admin import forms, menu_forms, menu_words
from web.admin.ground import back, blueprint, may, noted
from web.admin.menus import menu_of, version_of
from web.admin.segments import masked
from web.auth import staff_only
from web.ground import db, locale, opened, outside, runtime

HISTORY = 10
TAGS = 100
#: What the phone may do besides, by LINE's word for it.
INPUTS = dict(
    zip(INPUT_OPTIONS, ("close_menu", "open_menu", "open_keyboard", "open_voice"), strict=True)
)
#: What stands in the way of drawing a draft.
UNDRAWABLE = frozenset({"menus.problem_colour", "menus.problem_bounds", "menus.problem_size"})
MOMENT_FORM = "%Y-%m-%dT%H:%M"


# --- Drafts -------------------------------------------------------------------------------------
@blueprint.get("/menus/<string:key>")
@staff_only("menus.read")
def menu(key: str) -> str:
    """The editor of one menu."""
    row = menu_of(key)
    version = publish.latest_version(db(), row.id)
    return _page(row, version, version.definition, [])


@blueprint.post("/menus/<string:key>")
@staff_only("menus.edit")
@outside
def menu_save(key: str) -> Any:
    """Keep the form as the next version, unless LINE would refuse it or somebody was quicker.

    Its pictures are kept first, whatever becomes of the rest: the draft goes on naming them.
    """
    refusal = ""
    with opened():
        row = menu_of(key)
        draft = menu_forms.read(publish.latest_version(db(), row.id).definition)
        try:
            _take_pictures(row, draft)
        except Refused as error:
            refusal = t(locale(), error.code, **error.facts)
    with opened():
        return _saved(menu_of(key), draft, refusal)


def _saved(row: Menu, draft: dict[str, Any], refusal: str) -> Any:
    version = publish.latest_version(db(), row.id)
    if refusal:
        return make_response(_page(row, version, draft, [], refusal=refusal, is_draft=True), 422)
    if menu_forms.lay_out(draft):
        return _page(row, version, draft, [], is_draft=True)
    definition = MenuDefinition.from_dict(draft)
    found = faults(definition, icons.NAMES)
    if found:
        return make_response(_page(row, version, draft, found, is_draft=True), 422)
    number = str(version.version)
    if request.form.get("base", number) != number:
        refusal = t(locale(), "menus.saved_meanwhile", number=number)
        page = _page(row, version, draft, [], refusal=refusal, is_draft=True, base=number)
        return make_response(page, 409)
    if definition.to_dict() == MenuDefinition.from_dict(version.definition).to_dict():
        return back("admin.menu", note="console.saved", key=row.key, tab=request.form.get("tab"))
    saved = publish.save_version(
        db(), row, definition, made_by=f"staff:{g.staff.id}", now=_real_now()
    )
    noted("menus.changed", menu=row.key, version=saved.version)
    return back("admin.menu", note="console.saved", key=row.key, tab=request.form.get("tab"))


def _take_pictures(row: Menu, draft: dict[str, Any]) -> None:
    """Keep the pictures sent for the open tab: one for both languages, or one each."""
    tab = next((one for one in draft["tabs"] if one["key"] == request.form.get("tab")), None)
    for name in ("both", *LOCALES):
        given = request.files.get(f"picture.{name}")
        if tab is None or given is None or not given.filename:
            continue
        kept = uploads.keep(
            db(), given.stream.read(uploads.MAX_BYTES + 1),
            made_by=f"staff:{g.staff.id}", now=_real_now(),
        )  # fmt: skip
        noted("menus.picture_kept", menu=row.key, picture=kept.content_hash[:16])
        pictures = tab.setdefault("pictures", {})
        for language in LOCALES if name == "both" else (name,):
            pictures[language] = kept.content_hash


@blueprint.post("/menus/<string:key>/preview")
@staff_only("menus.edit")
@outside
def menu_preview(key: str) -> Response:
    """The form as it stands: its picture, what is wrong where, and what taps would do."""
    with opened(is_reading=True) as session:
        row = menu_of(key)
        draft = menu_forms.read(publish.latest_version(session, row.id).definition)
        definition = MenuDefinition.from_dict(draft)
        tab = definition.tab(_chosen(draft)["key"])
        upload = uploads.picture_of(session, tab, _shown())
        sample = _sample(session, definition)
        taps = _taps(draft)
    found = faults(definition, icons.NAMES)
    picture = ""
    if not {fault.key for fault in found} & UNDRAWABLE:
        drawn = images.draw_menu(definition, tab, _shown(), sample, upload)
        kind = images.type_of(drawn)
        picture = f"data:{kind};base64,{base64.b64encode(drawn).decode()}"
    response = jsonify(picture=picture, faults=_by_place(found), taps=taps)
    response.headers["Cache-Control"] = "no-store"
    return response


@blueprint.post("/menus/<string:key>/try")
@staff_only("menus.publish")
@outside
def menu_try(key: str) -> Any:
    """The form as it stands on the testers' own telephones, for half an hour."""
    held = runtime()
    with opened(is_reading=True) as session:
        row = menu_of(key)
        version = publish.latest_version(session, row.id)
        draft = menu_forms.read(version.definition)
        definition = MenuDefinition.from_dict(draft)
        found = faults(definition, icons.NAMES)
        people = trials.testers(session, is_demo=held.settings.demo)
        sample = _sample(session, definition)
        if found:
            return make_response(_page(row, version, draft, found, is_draft=True), 422)
    said, status, count = "", 200, 0
    try:
        count = trials.show(held, SdkLine(held.settings), definition, people, sample)
    except OutsideFault:
        said, status = t(locale(), "menus.line_silent"), 502
    except Refused as error:
        said, status = t(locale(), error.code), error.status
    with opened():
        row = menu_of(key)
        if count:
            noted("menus.tried", menu=key, people=count)
        tried = t(locale(), "menus.tried", count=count) if count else ""
        page = _page(row, version, draft, [], refusal=said, tried=tried, is_draft=True)
    return make_response(page, status)


@blueprint.get("/menus/<string:key>/<string:tab>/<string:language>.png")
@staff_only("menus.read")
@outside
def menu_picture(key: str, tab: str, language: str) -> Response:
    """The finished picture of one tab of the newest version."""
    if language not in LOCALES:
        abort(404)
    held = runtime()
    with held.database.read() as session:
        row = session.scalar(select(Menu).where(Menu.key == key))
        if row is None:
            abort(404)
        version = publish.latest_version(session, row.id)
        definition = publish.definition_of(version)
        sample = _sample(session, definition)
    shown = next((one for one in definition.tabs if one.key == tab), None)
    if shown is None:
        abort(404)
    target = publish.Wanted(row.id, version.id, definition, shown, language, sample)
    picture = publish.picture(held, target)
    response = Response(picture, mimetype=images.type_of(picture))
    response.headers["Cache-Control"] = "private, max-age=31536000"
    response.set_etag(target.content_hash)
    return response


def _sample(session: Session, definition: MenuDefinition) -> Variant:
    """A living menu is shown about half way."""
    found = living.variants(session, definition.living)
    return found[len(found) // 2]


# --- Versions -----------------------------------------------------------------------------------
@blueprint.post("/menus/<string:key>/versions/<int:number>")
@staff_only("menus.edit")
def menu_roll_back(key: str, number: int) -> Any:
    """Make an earlier version the newest again; what came after it stays in the history."""
    row = menu_of(key)
    earlier = version_of(row, number)
    saved = publish.save_version(
        db(),
        row,
        publish.definition_of(earlier),
        made_by=f"staff:{g.staff.id}",
        now=_real_now(),
    )
    noted("menus.rolled_back", menu=key, to=number, version=saved.version)
    return back("admin.menu", note="console.saved", key=key)


@blueprint.post("/menus/<string:key>/plan")
@staff_only("menus.publish")
def menu_plan(key: str) -> Any:
    """Publish a version at a moment, and perhaps go back at another; or call that off."""
    row = menu_of(key)
    if request.form.get("cancel"):
        if plans.cancel(db(), row, _real_now()) is not None:
            noted("menus.plan_cancelled", menu=key)
        return back("admin.menu", note="console.saved", key=key)
    version = publish.latest_version(db(), row.id)
    try:
        made = plans.make(
            db(),
            row,
            version,
            publish_at=_moment("publish_at", is_needed=True) or _real_now(),
            ends_at=_moment("ends_at"),
            made_by=f"staff:{g.staff.id}",
            now=runtime().clock.now(),
        )
    except Refused as error:
        refusal = t(locale(), error.code, **error.facts)
        page = _page(row, version, version.definition, [], refusal=refusal)
        return make_response(page, 422)
    noted("menus.planned", menu=key, version=version.version, at=made.publish_at.isoformat())
    return back("admin.menu", note="console.saved", key=key)


def _moment(field: str, *, is_needed: bool = False) -> datetime | None:
    """A moment on the shop's wall clock."""
    text = request.form.get(field, "").strip()[:16]
    if not text and not is_needed:
        return None
    try:
        given = datetime.strptime(text, MOMENT_FORM)  # noqa: DTZ007  (the shop's wall clock)
    except ValueError:
        raise Invalid("menus.plan_not_ahead") from None
    if not forms.FIRST_YEAR <= given.year <= forms.LAST_YEAR:
        raise Invalid("menus.plan_not_ahead")
    return at_local(given.date(), given.hour, given.minute, runtime().clock.tz)


# --- Who sees it --------------------------------------------------------------------------------
@blueprint.post("/menus/<string:key>/audience")
@staff_only("menus.publish")
def menu_audience(key: str) -> Any:
    """Say who sees this menu; links follow by themselves."""
    row = menu_of(key)
    try:
        with db().begin_nested():
            if not row.is_default:
                shelf.set_audience(db(), row, _rule(row))
            row.name_th = forms.words("name_th", "menus.name_th")
            row.name_en = forms.words("name_en", "menus.name_en")
    except Refused as error:
        version = publish.latest_version(db(), row.id)
        refusal = t(locale(), error.code, **error.facts)
        page = _page(row, version, version.definition, [], refusal=refusal)
        return make_response(page, 422)
    noted("menus.audience_set", menu=key, rule=row.audience)
    return back("admin.menu", note="console.saved", key=key)


@blueprint.post("/menus/<string:key>/people")
@staff_only("menus.read")
def menu_people(key: str) -> str:
    """Who would see this menu with the rule as the form has it; asked while it is changed."""
    row = menu_of(key)
    try:
        rule = row.audience if row.is_default else audiences.checked(_rule(row))
    except Refused as error:
        refusal = t(locale(), error.code, **error.facts)
        return render_template("admin/menu_people.html", found=None, refusal=refusal)
    changed = audiences.offer_of(row)
    changed = audiences.Offer(row.key, rule, changed.priority, changed.is_default, changed.living)
    found = audiences.who_sees(db(), audiences.with_offer(audiences.sight(db()), changed), row.key)
    is_open = may("members.read")
    people = [
        (one.shown_name if is_open else masked(one.shown_name), one.public_id if is_open else None)
        for one in found.people
    ]
    return render_template(
        "admin/menu_people.html", found=found, people=people, refusal="", is_open=is_open
    )


def _rule(row: Menu) -> dict[str, Any]:
    form = request.form
    rule: dict[str, Any] = {name: form.getlist(name) for name in audiences.LISTS}
    rule["tags"] = [
        tag for tag in (clean(one, audiences.MAX_LETTERS) for one in rule["tags"]) if tag
    ]
    rule["state"] = form.get("state") or None
    if rule["state"] != "member":
        rule |= {name: [] for name in audiences.OF_MEMBERS}
    if rule["state"] is None:
        rule["locales"] = []
    if form.get("by_hand") == "1":
        rule["override"] = row.audience.get("override") or row.key
    return rule


# --- The page -----------------------------------------------------------------------------------
def _page(
    row: Menu,
    version: MenuVersion,
    definition: dict[str, Any],
    found: list[Fault],
    *,
    refusal: str = "",
    tried: str = "",
    is_draft: bool = False,
    base: str = "",
) -> str:
    """`base` is the version that a draft rests on: the one it began with until somebody is told."""
    language = locale()
    if is_draft:
        base = base or request.form.get("base", "")
    session = db()
    live = (
        publish.version_of(session, row.id, row.published_version)
        if row.published_version is not None
        else None
    )
    names = menu_words.tab_names(definition, language)
    return render_template(
        "admin/menu.html",
        menu=row,
        version=version,
        base=base or version.version,
        definition=definition,
        carried=json.dumps(definition, ensure_ascii=False),
        chosen=_chosen(definition),
        shown=_shown(),
        colours=menu_forms.COLOURS,
        heights=menu_forms.HEIGHTS,
        most_tabs=menu_forms.MOST_TABS,
        icon_options=[(name, t(language, f"menus.icon_{name}")) for name in icons.NAMES],
        type_options=[(one, t(language, f"menus.action_{one}")) for one in _types(definition)],
        targets=list(names.items()),
        does=lambda action: menu_words.action(action, language, names),
        is_troubled=lambda name: any(fault.place.startswith(f"{name}.") for fault in found),
        who=_who,
        commands={data: words[0].of(language) for data, words in COMMANDS.items()},
        input_words=[(one, t(language, f"menus.input_{name}")) for one, name in INPUTS.items()],
        mode_words=[(one, t(language, f"menus.mode_{one}")) for one in PICKER_MODES],
        picker_bounds=PICKER_BOUNDS,
        living=[(value, words.of(language)) for value, words in living.choices(session)],
        version_hash=f"{version.id}-{images.VERSION}",
        problems=list(dict.fromkeys(t(language, fault.key) for fault in found)),
        wrong=_by_place(found),
        refusal=refusal,
        tried=tried,
        phone=runtime().settings.line_api_url if runtime().settings.demo else "",
        taps=_taps(definition),
        layouts=layouts.LAYOUTS,
        snap=layouts.SNAP,
        is_draft=is_draft,
        history=_history(row),
        live=live,
        ahead=_ahead(live, version),
        plan=plans.open_plan(session, row.id),
        audience=menu_words.audience(row.audience, language, is_default=row.is_default),
        choices=_choices(row, language),
        own_tiers=_own_tiers(row, language),
    )


def _types(definition: dict[str, Any]) -> list[str]:
    """Kinds of actions; a tab to switch to needs another tab."""
    has_tabs = len(definition["tabs"]) > 1
    return [one for one in ACTION_TYPES if has_tabs or one != "richmenuswitch"]


def _who(made_by: str) -> str:
    """The one who saved a version, by name."""
    kind, _, number = made_by.partition(":")
    staff = db().get(Staff, int(number)) if kind == "staff" and number.isdecimal() else None
    return staff.name if staff is not None else t(locale(), "menus.made_by_taem")


def _chosen(definition: dict[str, Any]) -> dict[str, Any]:
    form = request.form
    key = form.get("open") or request.args.get("tab", "") or form.get("tab", "")
    tabs: list[dict[str, Any]] = definition["tabs"]
    if form.get("add_tab"):
        return tabs[-1]
    return next((tab for tab in tabs if tab["key"] == key), tabs[0])


def _shown() -> str:
    """The language of the preview."""
    shown = request.args.get("shown") or request.form.get("shown") or locale()
    return shown if shown in LOCALES else "th"


def _by_place(found: list[Fault]) -> dict[str, str]:
    return {fault.place: t(locale(), fault.key) for fault in reversed(found)}


def _taps(definition: dict[str, Any]) -> list[dict[str, Any]]:
    """What taps in the phone frame would do, tab by tab."""
    language = locale()
    names = menu_words.tab_names(definition, language)
    by_alias = {tab["alias"]: tab["key"] for tab in definition["tabs"]}
    shown = MenuDefinition.from_dict(definition)
    found = []
    for tab in shown.tabs:
        areas = [
            {
                "box": [area.x, area.y, area.width, area.height],
                "label": area.label.of(language),
                "kind": area.action.type,
                "says": _says(area.action, _shown()),
                "does": menu_words.action(
                    {"type": area.action.type, "value": area.action.value,
                     "say": vars(area.action.say) if area.action.say else None},
                    language, names,
                ),
                "tab": by_alias.get(area.action.value)
                if area.action.type == "richmenuswitch" else None,
            }
            for area in tab.areas
        ]  # fmt: skip
        if shown.has_strip:
            areas += [
                {
                    "box": [x, 0, width, layouts.top_of(has_strip=True)],
                    "label": other.label.of(language),
                    "kind": "richmenuswitch",
                    "says": "",
                    "does": t(language, "menus.does_richmenuswitch", tab=other.label.of(language)),
                    "tab": other.key,
                }
                for other, x, width in strip_bounds(shown, tab)
            ]
        found.append({"key": tab.key, "areas": areas})
    return found


def _says(action: Any, language: str) -> str:
    """What appears in the chat as the customer's own words."""
    if action.type == "message":
        return str(action.say.of(language) if action.say else action.value)
    return str(action.say.of(language)) if action.type == "postback" and action.say else ""


def _ahead(live: MenuVersion | None, version: MenuVersion) -> list[str]:
    """What the newest version would change at LINE."""
    if live is None or live.id == version.id:
        return []
    return menu_words.differences(live.definition, version.definition, locale())


def _choices(row: Menu, language: str) -> dict[str, list[tuple[str, str]]]:
    """What each list of a rule can hold."""
    tiers = db().scalars(select(Tier).where(Tier.is_on).order_by(Tier.threshold)).all()
    tags = set(db().scalars(select(MemberTag.tag).distinct().limit(TAGS)))
    tags |= set(row.audience.get("tags") or ())
    values = {
        "tiers": [audiences.NO_TIER, *(one.key for one in tiers)] if tiers else [],
        "stages": [one.value for one in Stage],
        "levels": [one.value for one in Level],
        "locales": list(LOCALES),
        "tags": sorted(tags),
    }
    return {
        name: [(one, menu_words.value_words(name, one, language)) for one in some]
        for name, some in values.items()
    }


def _own_tiers(row: Menu, language: str) -> list[str]:
    """Tiers that have this menu for their own, whatever the rule says."""
    return [
        menu_words.tier_name(tier.key, language)
        for tier in db().scalars(select(Tier).where(Tier.is_on).order_by(Tier.threshold))
        if tier.benefits.get("menu") == row.key
    ]


def _history(row: Menu) -> list[dict[str, Any]]:
    """The newest versions, each with what it changed."""
    versions = db().scalars(
        select(MenuVersion)
        .where(MenuVersion.menu_id == row.id)
        .order_by(MenuVersion.version.desc())
        .limit(HISTORY + 1)
    )
    rows = versions.all()
    shown = []
    for number, one in enumerate(rows[:HISTORY]):
        before = rows[number + 1].definition if number + 1 < len(rows) else None
        found = menu_words.differences(before, one.definition, locale()) if before else []
        shown.append({"version": one, "changes": found, "is_newest": number == 0})
    return shown


def _real_now() -> datetime:
    return runtime().clock.real_now()
