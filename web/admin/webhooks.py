"""Outgoing webhooks: where events are posted, whether they arrive, and posting some again."""

from __future__ import annotations

from flask import Response, abort, g, make_response, render_template, request
from sqlalchemy import select

from config import is_loopback
from core.errors import Invalid, Refused
from core.i18n import t
from core.text import parse_whole
from loyalty import feed
from models.feed import WebhookTarget
from web.admin.ground import back, blueprint, freshly
from web.admin.tables import Column, Listing, found_in, listed
from web.auth import staff_only
from web.ground import db, locale, runtime


def _state(target: WebhookTarget) -> str:
    if not target.is_on:
        return t(locale(), "console.off")
    if target.error:
        return t(locale(), "console.webhook_failing", count=target.attempts)
    return t(locale(), "console.on")


TARGETS = listed(
    Listing(
        "/webhooks",
        (
            Column("name", "console.name", WebhookTarget.name, lambda one: one.name),
            Column("url", "console.address", WebhookTarget.url, lambda one: one.url, "mono"),
            Column("state", "console.state", WebhookTarget.is_on, _state),
            Column("position", "console.position", WebhookTarget.position,
                   lambda one: one.position, "num"),
            Column("delivered", "webhooks.delivered", WebhookTarget.delivered_at,
                   lambda one: one.delivered_at, "moment"),
            Column("error", "webhooks.problem", WebhookTarget.error, lambda one: one.error,
                   "mono"),
            Column("kinds", "webhooks.kinds", None, lambda one: ", ".join(one.kinds)),
            Column("acts", ""),
        ),
        lambda: found_in(select(WebhookTarget), WebhookTarget.name, WebhookTarget.url),
        "name",
        WebhookTarget.id,
        "webhooks.read",
        is_down=False,
        shape=lambda row: row[0],
        home="admin.webhooks",
    )
)  # fmt: skip


@blueprint.get("/webhooks")
@staff_only("webhooks.read")
def webhooks() -> str:
    """Every target: how far it is, and what went wrong last."""
    return _page()


def _page(*, made: feed.NewTarget | None = None, refusal: str = "") -> str:
    return render_template(
        "admin/webhooks.html",
        table=TARGETS.page(),
        newest=feed.newest(db()),
        kinds=feed.PUBLIC_KINDS,
        made=made,
        refusal=refusal,
        values=request.form if refusal else {},
    )


@blueprint.post("/webhooks")
@staff_only("webhooks.edit")
@freshly
def webhook_add() -> str | Response:
    """Add a target; the answer is the only place where its secret is ever shown."""
    settings = runtime().settings
    host = settings.public_url.partition("://")[2].partition("/")[0]
    try:
        made = feed.add_target(
            db(),
            runtime().vault,
            name=request.form.get("name", ""),
            url=request.form.get("url", "").strip(),
            kinds=request.form.getlist("kinds"),
            allows_local=settings.demo or is_loopback(host.partition(":")[0]),
            now=runtime().clock.real_now(),
            actor=f"staff:{g.staff.id}",
        )
    except Refused as error:
        return make_response(_page(refusal=t(locale(), error.code, **error.facts)), error.status)
    return _page(made=made)


@blueprint.post("/webhooks/<int:target_id>")
@staff_only("webhooks.edit")
def webhook_change(target_id: int) -> Response:
    """Switch off or on, try again now, or post again from a position."""
    target = db().get(WebhookTarget, target_id)
    if target is None:
        abort(404)
    now, actor = runtime().clock.real_now(), f"staff:{g.staff.id}"
    what = request.form.get("what", "")
    if what in ("on", "off"):
        feed.switch(db(), target, is_on=what == "on", now=now, actor=actor)
    elif what == "resend":
        position = parse_whole(request.form.get("position", ""))
        if position is None:
            raise Invalid("errors.invalid_field", field=t(locale(), "console.position"))
        feed.resend(db(), target, position, now=now, actor=actor)
    else:
        raise Invalid("errors.invalid_field", field="what")
    return back("admin.webhooks", note="console.saved")
