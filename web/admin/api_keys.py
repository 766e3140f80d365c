"""Keys of till software: made once, shown once, revoked at once. The owner's alone."""

from __future__ import annotations

from flask import Response, abort, g, make_response, render_template, request
from sqlalchemy import select

from core.errors import Refused
from core.i18n import t
from loyalty import people
from models.staff import ApiKey
from web.admin.ground import back, blueprint, freshly
from web.admin.tables import Column, Listing, found_in, listed
from web.auth import staff_only
from web.ground import db, locale, runtime

COLUMNS = (
    Column("name", "console.name", ApiKey.name, lambda key: key.name),
    Column("made", "console.made_at", ApiKey.created_at, lambda key: key.created_at, "moment"),
    Column("used", "console.last_used", ApiKey.last_used_at,
           lambda key: key.last_used_at, "moment"),
    Column("scopes", "console.scopes", None, lambda key: ", ".join(key.scopes)),
    Column("revoked", "console.revoked", ApiKey.revoked_at, lambda key: key.revoked_at, "moment"),
    Column("acts", ""),
)  # fmt: skip
KEYS = listed(
    Listing(
        "/api-keys",
        COLUMNS,
        lambda: found_in(select(ApiKey), ApiKey.name),
        "made",
        ApiKey.id.desc(),
        "api_keys.read",
        shape=lambda row: row[0],
    )
)


@blueprint.get("/api-keys")
@staff_only("api_keys.read")
def api_keys() -> str:
    """Every key: what it may do, and when it was last used."""
    return _page()


def _page(*, made: str | None = None, refusal: str = "") -> str:
    return render_template(
        "admin/api_keys.html",
        table=KEYS.page(),
        scopes=people.API_SCOPES,
        made=made,
        refusal=refusal,
    )


@blueprint.post("/api-keys")
@staff_only("api_keys.edit")
@freshly
def api_key_make() -> str | Response:
    """Make a key; the answer is the only place where it is ever shown."""
    try:
        made = people.create_api_key(
            db(),
            request.form.get("name", ""),
            request.form.getlist("scopes"),
            now=runtime().clock.real_now(),
            actor=f"staff:{g.staff.id}",
        )
    except Refused as error:
        return make_response(_page(refusal=t(locale(), error.code, **error.facts)), error.status)
    return _page(made=made)


@blueprint.post("/api-keys/<int:key_id>/revoke")
@staff_only("api_keys.edit")
def api_key_revoke(key_id: int) -> Response:
    """End a key; its next request is refused."""
    key = db().get(ApiKey, key_id)
    if key is None:
        abort(404)
    people.revoke_api_key(db(), key, now=runtime().clock.real_now(), actor=f"staff:{g.staff.id}")
    return back("admin.api_keys", note="console.saved")
