"""The shop's rich menus: the list, new ones, their order, publishing, and how LINE compares."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from flask import Response, abort, g, jsonify, make_response, render_template, request
from sqlalchemy import BigInteger, func, literal, select

from bot.gateway import SdkLine
from core.errors import OutsideFault, Refused
from core.i18n import t
from core.text import parse_whole
from models.menus import Menu, MenuLink, MenuVersion
from rich_menus import assign, audiences, plans, publish, shelf, status, upkeep
from rich_menus.definitions import Words
from web.admin import forms, menu_words, progress
from web.admin.ground import back, blueprint, noted
from web.auth import staff_only
from web.ground import db, locale, opened, outside, runtime


@blueprint.get("/menus")
@staff_only("menus.read")
def menus() -> str:
    """Every menu with its newest version, who sees it, and whether it is live."""
    return _list("")


def _list(refusal: str) -> str:
    session = db()
    rows = [_shown(menu) for menu in session.scalars(select(Menu).order_by(Menu.priority, Menu.id))]
    templates = [(f"menu.{one['menu'].key}", one["name"]) for one in rows]
    return render_template(
        "admin/menus.html",
        menus=[one for one in rows if one["menu"].archived_at is None],
        archived=[one for one in rows if one["menu"].archived_at is not None],
        templates=templates,
        packs=list(shelf.TEMPLATES),
        upkeep=upkeep.of(session),
        refusal=refusal,
        values=request.form,
    )


def _shown(menu: Menu) -> dict[str, Any]:
    language = locale()
    newest = publish.latest_version(db(), menu.id)
    return {
        "menu": menu,
        "name": menu.name_th if language == "th" else menu.name_en,
        "newest": newest,
        "audience": menu_words.audience(menu.audience, language, is_default=menu.is_default),
        "plan": plans.open_plan(db(), menu.id),
        "is_draft": menu.published_version != newest.version,
    }


@blueprint.get("/menus/people.json")
@staff_only("menus.read")
def menus_people() -> Response:
    """How many people see each menu now; asked for after the page is there."""
    return jsonify(audiences.counts(db(), audiences.sight(db())))


@blueprint.post("/menus")
@staff_only("menus.edit")
def menu_new() -> Any:
    """A new menu out of a template or as a copy; nobody sees it yet."""
    template = shelf.template_of(db(), request.form.get("template", ""))
    if template is None:
        abort(404)
    name = Words(forms.words("name_th", "menus.name_th"), forms.words("name_en", "menus.name_en"))
    try:
        with db().begin_nested():
            made = shelf.create(
                db(), template, name, made_by=f"staff:{g.staff.id}", now=_real_now()
            )
    except Refused as error:
        return make_response(_list(t(locale(), error.code, **error.facts)), error.status)
    noted("menus.made", menu=made.key, template=request.form["template"][:64])
    return back("admin.menu", note="console.saved", key=made.key)


@blueprint.post("/menus/<string:key>/order")
@staff_only("menus.edit")
def menu_order(key: str) -> Response:
    """Ask this menu's rule before its neighbour's, or after it."""
    menu = menu_of(key)
    is_up = request.form.get("way") == "up"
    shelf.move(db(), menu, up=is_up)
    noted("menus.ordered", menu=key, up=is_up)
    return back("admin.menus", note="console.saved")


@blueprint.post("/menus/<string:key>/archive")
@staff_only("menus.publish")
def menu_archive(key: str) -> Any:
    """Put a menu away, or take it out of the archive again."""
    menu = menu_of(key)
    is_back = request.form.get("back") == "1"
    try:
        if is_back:
            shelf.bring_back(menu)
        else:
            shelf.archive(db(), menu, runtime().clock.now(), _real_now())
    except Refused as error:
        return make_response(_list(t(locale(), error.code, **error.facts)), error.status)
    noted("menus.archived", menu=key, back=is_back)
    return back("admin.menus", note="console.saved")


@blueprint.post("/menus/publish")
@staff_only("menus.publish")
@outside
def menus_publish() -> Any:
    """Publish the newest version of every menu; safe to press again after any fault."""
    with opened() as session:
        publish.choose_newest(session)
        upkeep.ask(session, _real_now())
        noted("menus.published")
    return brought("admin.menus")


@blueprint.post("/menus/<string:key>/publish")
@staff_only("menus.publish")
@outside
def menu_publish(key: str) -> Any:
    """Have LINE show this version of this menu, now; the others stay as they are."""
    number = request.form.get("version", type=parse_whole) or 0
    with opened() as session:
        row = menu_of(key)
        if row.archived_at is not None:
            abort(404)
        publish.choose(session, row, version_of(row, number))
        upkeep.ask(session, _real_now())
        noted("menus.published", menu=key, version=number)
    return brought("admin.menu", key=key)


def brought(endpoint: str, **values: Any) -> Any:
    """After a choice was committed: bring LINE there now; what fails is tried again by itself."""

    def work(told: progress.Told) -> Response:
        held = runtime()
        try:
            upkeep.bring(
                held,
                SdkLine(held.settings),
                told=lambda done, most: told("progress.menus", done, most),
            )
        except OutsideFault as error:
            raise Refused("menus.line_failed", status=502) from error
        return back(endpoint, note="console.published", **values)

    return progress.shown(work)


# --- LINE compared with what we believe ---------------------------------------------------------
@blueprint.get("/menus/line")
@staff_only("menus.read")
@outside
def menus_line() -> Any:
    """What LINE holds, in words, with what a repair would do."""
    held = runtime()
    try:
        found = status.compare(held, SdkLine(held.settings))
    except OutsideFault:
        found = None
    with opened(is_reading=True) as session:
        kept = upkeep.of(session)
        links = _links()
        page = render_template("admin/menus_line.html", found=found, upkeep=kept, links=links)
    return page


def _links() -> dict[str, int]:
    """How many people are linked, sure of it, and still to be told."""
    linked = MenuLink.linked_line_menu_id.is_not(None)
    row = db().execute(
        select(
            func.count().filter(linked).label("linked"),
            func.count().filter(linked, MenuLink.confirmed_at.is_not(None)).label("sure"),
            func.count().filter(MenuLink.is_due).label("due"),
        ).select_from(MenuLink)
    )
    return dict(row.mappings().one())


@blueprint.post("/menus/line")
@staff_only("menus.publish")
@outside
def menus_repair() -> Any:
    """Make LINE agree again: missing menus, aliases, the default, orphans; then everybody's link."""
    with opened() as session:
        upkeep.ask(session, _real_now())
        assign.ask_sweep(session)
        noted("menus.repaired")
    return brought("admin.menus_line")


def menu_of(key: str) -> Menu:
    """The menu with this key, or 404."""
    row = db().scalar(select(Menu).where(Menu.key == key))
    if row is None:
        abort(404)
    return row


def version_of(row: Menu, number: int) -> MenuVersion:
    """A saved version of a menu, or 404."""
    found = db().scalar(
        select(MenuVersion).where(
            MenuVersion.menu_id == row.id, MenuVersion.version == literal(number, BigInteger)
        )
    )
    if found is None:
        abort(404)
    return found


def _real_now() -> datetime:
    return runtime().clock.real_now()
