"""What every console page shares: sessions, permissions by role, tables, and the frame."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import cache, wraps
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

from flask import Blueprint, Response, current_app, g, make_response, redirect, request, url_for
from flask_wtf.csrf import generate_csrf
from markupsafe import Markup
from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from core.i18n import LOCALES
from core.ids import token_hash
from loyalty import audit, waiting
from models.staff import Role, Staff, StaffSession
from web.auth import Access, Forbidden, SignInNeeded, resolver
from web.ground import db, runtime
from web.security import read_cookie

View = TypeVar("View", bound=Callable[..., Any])
blueprint = Blueprint("admin", __name__, url_prefix="/admin")
IDLE = timedelta(hours=2)
LIFE = timedelta(hours=12)
#: How long after the password exports and other grave acts ask for it once more.
FRESH = timedelta(minutes=15)
SEEN_EVERY = timedelta(minutes=1)
SEARCH_LETTERS = 100
LANGUAGE_COOKIE = "taem_console_language"
_OF_URL_FOR = frozenset({"self", "endpoint", "_anchor", "_method", "_scheme", "_external"})

_READ = frozenset(
    {
        "dashboard.read",
        "members.read",
        "offers.read",
        "draws.read",
        "journeys.read",
        "segments.read",
        "campaigns.read",
        "costs.read",
        "outbox.read",
        "quarantine.read",
        "conversations.read",
        "menus.read",
        "health.read",
        "earning.read",
        "adjustments.read",
        "liability.read",
        "tills.read",
        "shifts.read",
        "tiers.read",
        "stamps.read",
        "referrals.read",
        "settings.read",
        "results.read",
        "alarms.read",
        "lifecycle.read",
        "surveys.read",
        "what_if.read",
        "privacy.read",
    }
)
_MARKETING = frozenset(
    {
        "lifecycle.edit",
        "surveys.edit",
        "what_if.edit",
        "results.edit",
        "offers.edit",
        "draws.edit",
        "stamps.edit",
        "journeys.edit",
        "segments.edit",
        "campaigns.edit",
        "campaigns.send",
        "menus.edit",
        "menus.publish",
    }
)
#: Points are money: who plans them, gives them by hand, and takes their figures out.
_POINTS = frozenset(
    {
        "earning.edit",
        "adjustments.give",
        "adjustments.decide",
        "liability.edit",
        "liability.export",
        "members.unfreeze",
    }
)
#: Who is watched does not see the list, and who is limited does not set the limit.
_WATCH = frozenset({"suspects.read", "suspects.export", "adjustments.ceilings"})
_FLOOR = frozenset(
    {
        "alarms.edit",
        "tickets.edit",
        "surveys.words",
        "members.edit",
        "conversations.reply",
        "replies.edit",
        "outbox.decide",
        "quarantine.decide",
        "tills.edit",
    }
)
#: Opening and closing branches, how much a till may give, who hears of alarms: the owner alone.
_SHOP = frozenset(
    {
        "branches.edit",
        "costs.edit",
        "alarms.owners",
        "settings.edit",
        "audit.read",
        "audit.export",
        "privacy.edit",
        "staff.read",
        "staff.edit",
    }
)
#: Other systems at the door: the owner alone.
_OUTSIDE = frozenset({"api_keys.read", "api_keys.edit", "webhooks.read", "webhooks.edit"})
#: People brought in, two made one, and lists of them taken out.
_PEOPLE = frozenset({"imports.read", "imports.edit", "merges.read", "merges.edit", "lists.export"})
#: Who belongs to which tier, and what bringing a friend is worth.
_LADDER = frozenset({"tiers.edit", "tiers.set", "referrals.edit"})
#: What gives value away or takes it back by hand; printing codes twice is the owner's alone.
_VOUCHERS = frozenset({"vouchers.give", "vouchers.withdraw"})
#: What each role may do. A route not listed for a role is refused (default deny).
PERMISSIONS: Mapping[Role, frozenset[str]] = {
    Role.OWNER: _VOUCHERS
    | {"codes.export_again"}
    | _SHOP
    | _OUTSIDE
    | _PEOPLE
    | _READ
    | _MARKETING
    | _FLOOR
    | _LADDER
    | _POINTS
    | _WATCH,
    Role.MANAGER: _VOUCHERS | _PEOPLE | _READ | _MARKETING | _FLOOR | _LADDER | _POINTS,
    Role.MARKETER: frozenset(
        {
            "dashboard.read",
            "offers.read",
            "draws.read",
            "segments.read",
            "campaigns.read",
            "costs.read",
            "journeys.read",
            "menus.read",
            "outbox.read",
            "earning.read",
            "tiers.read",
            "stamps.read",
            "referrals.read",
            "results.read",
            "lifecycle.read",
            "surveys.read",
            "what_if.read",
        }
    )
    | _MARKETING,
    Role.AUDITOR: _READ | {"audit.read", "imports.read", "merges.read", "suspects.read"},
}
#: The frame's navigation, by group: endpoint, permission, words, icon.
_GROUPS: Mapping[str, tuple[tuple[str, str, str, str], ...]] = {
    "": (
        ("admin.dashboard", "dashboard.read", "console.dashboard", "bar-chart-line"),
        ("admin.figures_page", "dashboard.read", "console.figures", "pie-chart"),
        ("admin.alarms", "alarms.read", "console.alarms", "bell"),
    ),
    "console.group_people": (
        ("admin.members", "members.read", "console.members", "people"),
        ("admin.purchases_page", "members.read", "console.bills_all", "receipt"),
        ("admin.lifecycle_page", "lifecycle.read", "console.lifecycle", "arrow-repeat"),
        ("admin.segments_page", "segments.read", "console.segments", "person-bounding-box"),
        ("admin.surveys_page", "surveys.read", "console.surveys", "emoji-smile"),
        ("admin.tickets_page", "members.read", "console.tickets", "flag"),
        ("admin.disputes_page", "members.read", "console.disputes", "pause-circle"),
        ("admin.conversations_list", "conversations.read", "console.conversations", "chat-dots"),
        ("admin.replies_page", "conversations.read", "console.replies", "chat-left-quote"),
    ),
    "console.group_messages": (
        ("admin.journeys", "journeys.read", "console.journeys", "envelope-heart"),
        ("admin.campaigns_page", "campaigns.read", "console.campaigns", "megaphone"),
        ("admin.results", "results.read", "console.results", "graph-up-arrow"),
        ("admin.menus", "menus.read", "console.menus", "phone"),
        ("admin.outbox", "outbox.read", "console.outbox", "send"),
    ),
    "console.group_programme": (
        ("admin.earning_page", "earning.read", "console.earning", "coin"),
        ("admin.offers", "offers.read", "console.offers", "ticket-perforated"),
        ("admin.vouchers_page", "members.read", "console.vouchers_all", "ticket"),
        ("admin.stamps_page", "stamps.read", "console.stamps", "grid-3x3-gap"),
        ("admin.tiers_page", "tiers.read", "console.tiers", "award"),
        ("admin.referrals_page", "referrals.read", "console.referrals", "person-plus"),
        ("admin.draws_page", "draws.read", "console.draws", "gift"),
        ("admin.adjustments", "adjustments.read", "console.adjustments", "plus-slash-minus"),
        ("admin.liability", "liability.read", "console.liability", "graph-up"),
        ("admin.what_if_page", "what_if.read", "console.what_if", "sliders2"),
    ),
    "console.group_shop": (
        ("admin.setup_page", "settings.read", "console.setup", "list-check"),
        ("admin.settings_page", "settings.read", "console.settings", "sliders"),
        ("admin.tills", "tills.read", "console.tills", "shop"),
        ("admin.staff_page", "staff.read", "console.staff", "person-badge"),
    ),
    "console.group_system": (
        ("admin.suspects", "suspects.read", "console.suspects", "shield-exclamation"),
        ("admin.imports", "imports.read", "console.imports", "box-arrow-in-down"),
        ("admin.merges", "merges.read", "console.merges", "person-lines-fill"),
        ("admin.api_keys", "api_keys.read", "console.api_keys", "key"),
        ("admin.webhooks", "webhooks.read", "console.webhooks", "broadcast"),
        ("admin.quarantine", "quarantine.read", "console.quarantine", "inbox"),
        ("admin.audit_page", "audit.read", "console.audit", "journal-check"),
        ("admin.privacy_page", "privacy.read", "console.privacy", "shield-lock"),
        ("admin.health", "health.read", "console.health", "heart-pulse"),
    ),
}


@resolver("staff")
def _admit(access: Access) -> None:
    """Session cookie -> `g.staff`, checked against the rows each time (Z23)."""
    signed_in = session_of(db())
    if signed_in is None:
        raise SignInNeeded
    held, staff = signed_in
    g.staff, g.staff_session, g.locale = staff, held, staff.locale
    if access.permission not in PERMISSIONS[staff.role]:
        raise Forbidden


#: Both at once: every request of the console begins with it.
_SIGNED_IN = (
    select(StaffSession, Staff)
    .join(Staff, Staff.id == StaffSession.staff_id)
    .where(StaffSession.token_hash == bindparam("hash"))
)


def session_of(session: Session) -> tuple[StaffSession, Staff] | None:
    """The console session of this browser and its person, while both are good."""
    token = read_cookie(runtime().settings, "staff")
    found = session.execute(_SIGNED_IN, {"hash": token_hash(token)}).first() if token else None
    if found is None:
        return None
    held, staff = found
    real = runtime().clock.real_now()
    if held.revoked_at is not None or held.expires_at <= real or held.last_seen_at < real - IDLE:
        return None
    if not staff.is_active:
        return None
    if request.method == "POST" and real - held.last_seen_at > SEEN_EVERY:
        held.last_seen_at = real
    return held, staff


def browser_locale() -> str | None:
    """The language that somebody last chose in this browser."""
    chosen = request.cookies.get(LANGUAGE_COOKIE)
    return chosen if chosen in LOCALES else None


def reader_locale() -> str | None:
    """The language of whoever is signed in, else of this browser."""
    signed_in = session_of(db())
    return signed_in[1].locale if signed_in is not None else browser_locale()


def freshly(view: View) -> View:
    """Under `staff_only`: who last gave the password long ago gives it once more (`faults.md` 2.3)."""

    @wraps(view)
    def guarded(*given: Any, **named: Any) -> Any:
        held: StaffSession = g.staff_session
        since = held.confirmed_at or held.created_at
        if since > runtime().clock.real_now() - FRESH:
            return view(*given, **named)
        return make_response(redirect(url_for("admin.confirm_page", next=_page_before()), code=303))

    return cast(View, guarded)


def _page_before() -> str:
    """The path of the page that a form was sent from; `next` is checked again when used.

    One that was refused was shown at the address of its form: then the page is above that.
    """
    try:
        path = urlsplit(request.referrer or "").path[: SEARCH_LETTERS * 2]
    except ValueError:  # `https://[` and the like are no address
        return ""
    addresses = current_app.create_url_adapter(request)
    while path and addresses and not addresses.test(path, "GET"):
        path = path.rpartition("/")[0]
    return path


def may(permission: str) -> bool:
    """Whether the one signed in may do this; for showing buttons, never instead of the route."""
    return "staff" in g and permission in PERMISSIONS[g.staff.role]


def noted(act: str, **facts: Any) -> None:
    """Write a privileged act of this person to the audit chain."""
    audit.record(db(), f"staff:{g.staff.id}", act, facts, runtime().clock.real_now())


def asked() -> dict[str, Any]:
    """What this page's address says, but for names that `url_for` would take as its own."""
    given = {name: value for name, value in request.args.items() if name not in _OF_URL_FOR}
    return given | (request.view_args or {})


def here(**changes: Any) -> str:
    """This page's address with some of its query changed."""
    values = asked() | changes
    values.pop("note", None)
    return url_for(request.endpoint or "admin.dashboard", **values)


def csrf_field() -> Markup:
    """The hidden field every form carries."""
    return Markup('<input type="hidden" name="csrf_token" value="{}">').format(generate_csrf())


def context() -> dict[str, Any]:
    """What the console's templates may always name."""
    if request.blueprint != "admin":
        return {}
    always = {"csrf": csrf_field, "here": here, "note": note, "may": may, "sent": sent}
    if "staff" not in g or "session" not in g:
        return always
    waits = waiting.count(db())
    badges = {
        "admin.conversations_list": waits.conversations if may("conversations.read") else 0,
        "admin.adjustments": waits.adjustments + waits.gifts if may("adjustments.decide") else 0,
        "admin.alarms": waits.alarms if may("alarms.read") else 0,
    }
    items = _navigation(g.staff.role)
    return {
        **always, "navigation": items, "is_here": is_here, "badges": badges, "staff": g.staff,
    }  # fmt: skip


@cache
def _navigation(role: Role) -> tuple[dict[str, str], ...]:
    """What this role's pages lead to; the first of a group brings its heading."""
    items = []
    for heading, group in _GROUPS.items():
        allowed = [one for one in group if one[1] in PERMISSIONS[role]]
        items += [
            {"endpoint": endpoint, "key": key, "icon": icon, "heading": "" if place else heading}
            for place, (endpoint, _permission, key, icon) in enumerate(allowed)
        ]
    return tuple(items)


def is_here(endpoint: str, path: str) -> bool:
    """Whether this request is on the page of a navigation item, or below it."""
    return bool(request.endpoint and request.path.startswith(path)) and (
        endpoint != "admin.dashboard" or request.endpoint == endpoint
    )


def back(endpoint: str, note: str | None = None, **values: Any) -> Response:
    """After a POST: to a page, with a short note of what was done."""
    if note:
        values["note"] = note
    return make_response(redirect(url_for(endpoint, **values), code=303))


#: Notes that may come back in the address; anything else is dropped.
NOTES = frozenset(
    {
        "console.saved",
        "campaigns.noted_test",
        "campaigns.noted_started",
        "console.published",
        "console.replied",
        "conversations.noted_free",
        "console.closed",
        "console.decided",
        "console.replayed",
        "console.dismissed",
        "console.imported",
        "console.merged",
        "console.unmerged",
        "console.resumed",
        "console.changed",
        "backups.released",
        "settings.noted_menus",
        "adjustments.noted_done",
        "adjustments.noted_waiting",
        "gifts.noted_done",
        "gifts.noted_waiting",
    }
)


def note() -> str | None:
    """The note in the address, if it is one of ours."""
    given = request.args.get("note", "")
    return given if given in NOTES else None


def sent(endpoint: str, **values: Any) -> Mapping[str, str]:
    """What was typed in the form that goes there, while its refusal is shown; otherwise nothing.

    Nothing either where `forms.refuse_if_changed` has refused: what is now in force is shown.
    """
    is_this = request.method == "POST" and request.path == url_for(endpoint, **values)
    return request.form if is_this and "is_outdated" not in g else {}


def escaped(text: str) -> str:
    r"""For LIKE with `\\` as its escape: wildcards are letters."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
