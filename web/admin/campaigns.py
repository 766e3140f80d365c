"""Campaigns in the console: written, tried, costed, looked at twice, sent, and reported."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from flask import Response, abort, g, make_response, render_template, request
from sqlalchemy import select

from core.clock import at_local, local_day
from core.errors import Refused
from core.i18n import LOCALES, day, t
from core.i18n import texts as all_texts
from engagement import campaigns, delivery, segments, taps, texts, topics
from engagement.campaigns import Content
from insights import results as figures
from loyalty import coupons as rules
from loyalty import shop
from models.campaigns import Campaign, CampaignState
from models.coupons import Coupon, CouponState
from models.segments import Segment
from models.tiers import Tier
from web.admin import costs as cost_pages
from web.admin import forms
from web.admin.ground import back, blueprint, may, noted
from web.admin.segment_forms import described
from web.admin.tables import Column, Listing, found_in, listed
from web.auth import staff_only
from web.ground import db, locale, runtime

COLUMNS = (
    Column("name", "campaigns.name", Campaign.name, lambda row: row[0].name),
    Column("segment", "console.segment", Segment.name, lambda row: row[1]),
    Column("state", "campaigns.state", Campaign.state,
           lambda row: t(locale(), f"campaigns.state_{row[0].state.value}")),
    Column("audience", "campaigns.audience", Campaign.audience,
           lambda row: row[0].audience, "num"),
    Column("started", "campaigns.started", Campaign.started_at,
           lambda row: row[0].started_at or row[0].starts_at, "moment"),
    Column("made", "campaigns.made", Campaign.created_at,
           lambda row: row[0].created_at, "moment"),
)  # fmt: skip
#: Variants of the words for whom they are, besides the usual ones, as far as they are written.
FOR_WHOM = ("consideration", "purchase", "retention", "advocacy", "vip", "at_risk", "inactive")
#: In the form, before the key of a ready-made segment.
READY = "ready:"
MAX_LETTERS = 2000
#: Past campaigns that the expected return is told by.
PAST = 10


@blueprint.get("/campaigns")
@staff_only("campaigns.read")
def campaigns_page() -> str:
    """Every campaign, newest first; archived ones apart."""
    return render_template(
        "admin/campaigns.html",
        table=CAMPAIGNS.page(),
        is_archive=request.args.get("archived") == "1",
    )


def _campaigns() -> Any:
    is_archive = request.args.get("archived") == "1"
    is_shown = Campaign.archived_at.is_not(None) if is_archive else Campaign.archived_at.is_(None)
    query = (
        select(Campaign, Segment.name)
        .outerjoin(Segment, Segment.id == Campaign.segment_id)
        .where(is_shown)
    )
    return found_in(query, Campaign.name, Segment.name)


CAMPAIGNS = listed(
    Listing("/campaigns", COLUMNS, _campaigns, "made", Campaign.id.desc(), "campaigns.read")
)


@blueprint.get("/campaigns/new")
@staff_only("campaigns.edit")
def campaign_new() -> str:
    """An empty draft, perhaps for a segment already chosen."""
    values = {"segment": request.args.get("segment", ""), "topic": "offers"}
    button = {
        language: {texts.DEFAULT: {"button": t(language, "campaigns.usual_button")}}
        for language in LOCALES
    }
    return _form(None, values, "", variants={"a": {"texts": button}})


@blueprint.post("/campaigns/new")
@staff_only("campaigns.edit")
def campaign_create() -> Any:
    """Save a first draft."""
    return _saved(None)


@blueprint.get("/campaigns/<int:campaign_id>")
@staff_only("campaigns.read")
def campaign_page(campaign_id: int) -> str:
    """A draft to write; anything else as its report."""
    campaign = _campaign(campaign_id)
    if campaign.state == CampaignState.DRAFT:
        return _form(campaign, _values(campaign), "")
    return _report(campaign, "")


@blueprint.post("/campaigns/<int:campaign_id>")
@staff_only("campaigns.edit")
def campaign_save(campaign_id: int) -> Any:
    """Save a draft, or show what is wrong with it (FX19)."""
    return _saved(_campaign(campaign_id))


@blueprint.route("/campaigns/<int:campaign_id>", methods=["DELETE"])
@staff_only("campaigns.edit")
def campaign_delete(campaign_id: int) -> Any:
    """Campaigns are archived, never deleted (AA8)."""
    _campaign(campaign_id)
    raise Refused("campaigns.deletes_nothing")


@blueprint.get("/campaigns/<int:campaign_id>/look")
@staff_only("campaigns.read")
def campaign_look(campaign_id: int) -> Any:
    """The second look: who, why not, how many messages, what they cost, and when."""
    return _look(_campaign(campaign_id), "")


@blueprint.post("/campaigns/<int:campaign_id>/test")
@staff_only("campaigns.edit")
def campaign_test(campaign_id: int) -> Any:
    """Send every text to the testers."""
    campaign, held = _campaign(campaign_id), runtime()
    try:
        count = campaigns.send_test(db(), held, campaign, held.clock.now())
    except Refused as error:
        page = _look(campaign, t(locale(), error.code, **error.facts))
        return make_response(page, error.status)
    noted("campaigns.tested", campaign=campaign.id, messages=count)
    return back("admin.campaign_look", note="campaigns.noted_test", campaign_id=campaign_id)


@blueprint.post("/campaigns/<int:campaign_id>/start")
@staff_only("campaigns.send")
def campaign_start(campaign_id: int) -> Any:
    """Send it now, or at its hour; pressed twice, it starts once (FX11)."""
    campaign, held = _campaign(campaign_id, is_locked=True), runtime()
    try:
        forms.refuse_if_changed(_looked_at(campaign))
        starts_at = _starts_at() if request.form.get("when") == "later" else None
        with db().begin_nested():
            campaigns.start(
                db(), campaign, now=held.clock.now(), tz=held.clock.tz,
                by=f"staff:{g.staff.id}", starts_at=starts_at,
            )  # fmt: skip
    except Refused as error:
        db().refresh(campaign)
        page = _page_of(campaign, t(locale(), error.code, **error.facts))
        return make_response(page, error.status)
    noted("campaigns.started", campaign=campaign.id, at=starts_at.isoformat() if starts_at else "")
    return back("admin.campaign_page", note="campaigns.noted_started", campaign_id=campaign_id)


@blueprint.post("/campaigns/<int:campaign_id>/<any(pause, resume, cancel, unschedule):act>")
@staff_only("campaigns.send")
def campaign_act(campaign_id: int, act: str) -> Any:
    """Pause, go on, cancel, or take the schedule back."""
    campaign, now = _campaign(campaign_id), runtime().clock.now()
    try:
        if act == "pause":
            campaigns.pause(db(), campaign, now)
        elif act == "resume":
            campaigns.resume(db(), campaign, now)
        elif act == "cancel":
            campaigns.cancel(db(), campaign, now)
        else:
            campaigns.unschedule(db(), campaign)
    except Refused as error:
        page = _page_of(campaign, t(locale(), error.code, **error.facts))
        return make_response(page, error.status)
    noted(f"campaigns.{act}", campaign=campaign.id)
    return back("admin.campaign_page", note="console.saved", campaign_id=campaign_id)


@blueprint.post("/campaigns/<int:campaign_id>/copy")
@staff_only("campaigns.edit")
def campaign_copy(campaign_id: int) -> Response:
    """The same once more, as a draft."""
    campaign = _campaign(campaign_id)
    name = t(locale(), "campaigns.copy_of", name=campaign.name)[:100]
    fresh = campaigns.copy(
        db(), campaign, name, made_by=f"staff:{g.staff.id}", now=runtime().clock.now()
    )
    noted("campaigns.copied", campaign=campaign.id, copy=fresh.id)
    return back("admin.campaign_page", campaign_id=fresh.id)


@blueprint.post("/campaigns/<int:campaign_id>/archive")
@staff_only("campaigns.edit")
def campaign_archive(campaign_id: int) -> Any:
    """Out of the list."""
    campaign = _campaign(campaign_id)
    try:
        campaigns.archive(db(), campaign, runtime().clock.now())
    except Refused as error:
        page = _page_of(campaign, t(locale(), error.code, **error.facts))
        return make_response(page, error.status)
    noted("campaigns.archived", campaign=campaign.id)
    return back("admin.campaigns_page", note="console.saved")


# --- Reading the form -------------------------------------------------------------------------


def _saved(campaign: Campaign | None) -> Any:
    try:
        with db().begin_nested():
            content = _read()
            if campaign is None:
                campaign = campaigns.create(
                    db(), content.name, made_by=f"staff:{g.staff.id}", now=runtime().clock.now()
                )
            campaigns.save(db(), campaign, content)
    except Refused as error:
        kept = campaign if campaign is not None and campaign.id is not None else None
        page = _form(
            db().get(Campaign, kept.id) if kept is not None else None,
            request.form.to_dict(),
            t(locale(), error.code, **forms.placed(error.facts)),
            variants=_read_words(),
        )
        return make_response(page, error.status)
    noted("campaigns.saved", campaign=campaign.id)
    if request.form.get("do") == "look":
        return back("admin.campaign_look", campaign_id=campaign.id)
    return back("admin.campaign_page", note="console.saved", campaign_id=campaign.id)


def _read() -> Content:
    words = _read_words()
    action = request.form.get("action", "")
    if action == "web":
        action = request.form.get("url", "").strip()
        taps.check_target(action)
    test: dict[str, Any] = {}
    if len(words) > 1 and request.form.get("tests") == "1":
        test = {
            "sample_percent": forms.whole("sample_percent", "campaigns.sample", 2, 100),
            "hours": forms.whole("hours", "campaigns.hours", 1, campaigns.MAX_HOURS),
            "by": forms.choice("by", "campaigns.by", ("taps", "baht")),
        }
    return Content(
        name=forms.words("name", "campaigns.name"),
        topic=forms.choice("topic", "campaigns.topic", topics.TOPICS),
        segment_id=_segment_id(),
        variants=words,
        test=test,
        coupon_key=request.form.get("coupon") or None,
        action=action or None,
        holdout_percent=forms.whole("holdout", "campaigns.holdout_percent", 0, 50),
        not_after=forms.maybe_moment("not_after", "campaigns.not_after", is_end=True),
    )


def _segment_id() -> int | None:
    """The segment chosen; a ready-made one is kept as the shop's own from now on."""
    ready = request.form.get("segment", "").removeprefix(READY)
    if ready not in segments.READY:
        return forms.maybe_whole("segment", "campaigns.segment", 1, 2**62)
    made = segments.create(
        db(),
        t(locale(), f"segments.ready_{ready}"),
        segments.READY[ready],
        made_by=f"staff:{g.staff.id}",
        now=runtime().clock.now(),
    )
    noted("segments.saved", segment=made.id, version=made.current_version)
    return made.id


def _ready(known: Iterable[Segment]) -> dict[str, str]:
    """Ready-made segments that the shop has not made its own: form value -> name."""
    names = {one.name for one in known}
    found = {f"{READY}{key}": t(locale(), f"segments.ready_{key}") for key in segments.READY}
    return {key: name for key, name in found.items() if name not in names}


def _read_words() -> dict[str, Any]:
    """The form's words: text -> language -> for whom -> field. Empty ones fall away, and English
    that was left out is the Thai: a guest who reads English hears of the offer all the same."""
    found: dict[str, Any] = {}
    for name in campaigns.VARIANTS:
        book: dict[str, Any] = {}
        for language in LOCALES:
            for whom in _whom():
                words = {
                    field: request.form.get(f"{name}.{language}.{whom}.{field}", "")
                    .replace("\r\n", "\n")[:MAX_LETTERS]
                    .strip()
                    for field in texts.FIELDS
                }
                if any(words.values()):
                    book.setdefault(language, {})[whom] = words
        thai = book.get("th", {}).get(texts.DEFAULT)
        english = book.get("en", {}).get(texts.DEFAULT, {})
        if thai and not (english.get("title") or english.get("body")):
            kept = {field: words for field, words in english.items() if words}
            book.setdefault("en", {})[texts.DEFAULT] = thai | kept
        if book or name == "a":
            found[name] = {"texts": book}
    return found


def _whom() -> list[str]:
    tiers = db().scalars(select(Tier.key).where(Tier.is_on.is_(True)).order_by(Tier.threshold))
    return [texts.DEFAULT, *FOR_WHOM, *(f"{texts.TIER}{key}" for key in tiers), texts.PLAIN]


def _starts_at() -> datetime:
    on = forms.maybe_day("on", "campaigns.on")
    if on is None:
        raise forms.bad("campaigns.on")
    try:
        at = datetime.strptime(request.form.get("at", ""), "%H:%M").time()  # noqa: DTZ007
    except ValueError:
        raise forms.bad("campaigns.at") from None
    return at_local(on, at.hour, at.minute, runtime().clock.tz)


# --- Pages ------------------------------------------------------------------------------------


def _campaign(campaign_id: int, *, is_locked: bool = False) -> Campaign:
    campaign = db().get(Campaign, campaign_id, with_for_update=is_locked)
    if campaign is None:
        abort(404)
    return campaign


def _page_of(campaign: Campaign, refusal: str) -> str:
    if campaign.state == CampaignState.DRAFT:
        return _look(campaign, refusal)
    return _report(campaign, refusal)


def _values(campaign: Campaign) -> dict[str, Any]:
    tz = runtime().clock.tz
    is_web = bool(campaign.action) and campaign.action not in campaigns.ACTIONS
    ends = campaign.not_after
    return {
        "name": campaign.name,
        "topic": campaign.topic,
        "segment": str(campaign.segment_id or ""),
        "coupon": campaign.coupon_key or "",
        "action": "web" if is_web else campaign.action or "",
        "url": campaign.action if is_web else "",
        "holdout": str(campaign.holdout_percent),
        "tests": "1" if campaign.test else "",
        "sample_percent": str(campaign.test.get("sample_percent", "")),
        "hours": str(campaign.test.get("hours", "")),
        "by": campaign.test.get("by", ""),
        "not_after": (local_day(ends - timedelta(microseconds=1), tz).isoformat() if ends else ""),
    }


def _looked_at(campaign: Campaign) -> dict[str, Any]:
    """What the second look shows of a campaign, and so what somebody agrees to send (M6)."""
    segment = db().get(Segment, campaign.segment_id) if campaign.segment_id else None
    version = segment.current_version if segment else None
    return {**_values(campaign), "variants": campaign.variants, "segment_version": version}


def _form(
    campaign: Campaign | None,
    values: dict[str, Any],
    refusal: str,
    variants: dict[str, Any] | None = None,
) -> str:
    kept = variants if variants is not None else (campaign.variants if campaign else {})
    values.setdefault("holdout", str(shop.get(db(), "messages.holdout_percent")))
    tiers = db().scalars(select(Tier).where(Tier.is_on.is_(True)).order_by(Tier.threshold))
    saved = (
        db()
        .scalars(select(Segment).where(Segment.archived_at.is_(None)).order_by(Segment.id.desc()))
        .all()
    )
    return render_template(
        "admin/campaign.html",
        campaign=campaign,
        values=values,
        refusal=refusal,
        variants=kept,
        names=campaigns.VARIANTS,
        whom=_whom(),
        tier_names={
            f"{texts.TIER}{one.key}": one.name_th if locale() == "th" else one.name_en
            for one in tiers
        },
        fields=texts.FIELDS,
        limits=texts.LIMITS,
        placeholders=campaigns.PLACEHOLDERS,
        segments=saved,
        ready=_ready(saved),
        coupons=db()
        .scalars(select(Coupon).where(Coupon.state == CouponState.LIVE).order_by(Coupon.id))
        .all(),
        actions=campaigns.ACTIONS,
        topics=topics.TOPICS,
        previews=_previews(kept, values.get("coupon", "")),
        can_edit=may("campaigns.edit"),
    )


def _previews(variants: dict[str, Any], coupon_key: str) -> dict[str, dict[str, dict[str, str]]]:
    """Each text in each language, as an invented guest would read it."""
    coupon = db().scalar(select(Coupon).where(Coupon.key == coupon_key)) if coupon_key else None
    now, tz = runtime().clock.now(), runtime().clock.tz
    shown: dict[str, dict[str, dict[str, str]]] = {}
    for name, one in variants.items():
        for language in LOCALES:
            book = one["texts"].get(language, {})
            if not book.get(texts.DEFAULT, {}).get("title"):
                continue
            ends = rules.expiry_of(coupon, now, tz) if coupon is not None else None
            gift = (coupon.name_th if language == "th" else coupon.name_en) if coupon else ""
            facts = {
                "name": t(language, "console.sample_name"),
                "shop": shop.shop_name(db(), language),
                "balance": 148,
                "gift": gift,
                "expires": day(language, local_day(ends - timedelta(microseconds=1), tz))
                if ends
                else "",
            }
            words = texts.words_for({language: book, "th": book}, language, texts.DEFAULT, facts)
            shown.setdefault(name, {})[language] = {**words, "gift": gift}
    return shown


def _look(campaign: Campaign, refusal: str) -> Any:
    if campaign.state != CampaignState.DRAFT:
        return back("admin.campaign_page", campaign_id=campaign.id)
    held = runtime()
    now, tz = held.clock.now(), held.clock.tz
    found = None
    try:
        campaigns.check_ready(db(), campaign, now)
        found = campaigns.estimate(db(), campaign, now, tz)
    except Refused as error:
        refusal = refusal or t(locale(), error.code, **error.facts)
    tomorrow = local_day(now, tz) + timedelta(days=1)
    return render_template(
        "admin/campaign_look.html",
        loud_at=delivery.loud_at(db(), now, tz),
        campaign=campaign,
        refusal=refusal,
        found=found,
        segment=_segment_words(campaign),
        previews=_previews(campaign.variants, campaign.coupon_key or ""),
        why=why_words,
        testers=campaigns.testers(db()),
        expected=_expected(found.messages, now, tz) if found is not None else None,
        age=cost_pages.quota_age(),
        tomorrow=tomorrow.isoformat(),
        typed=request.form,
        seen=forms.mark_of(_looked_at(campaign)),
        today=local_day(now, tz).isoformat(),
    )


def _expected(messages: int, now: datetime, tz: Any) -> dict[str, Any] | None:
    """What past campaigns made for each message, and so perhaps this one; None without proof."""
    past = (
        db()
        .scalars(
            select(Campaign)
            .where(Campaign.state == CampaignState.DONE)
            .order_by(Campaign.ended_at.desc())
            .limit(PAST)
        )
        .all()
    )
    made = sent = proven = 0
    for one in past:
        found = figures.of_campaign(db(), one.id, now, tz)
        if found.is_proven and found.sent_total:
            made, sent, proven = made + found.made_satang, sent + found.sent_total, proven + 1
    if not proven:
        return None
    return {"satang": made * messages // sent, "campaigns": proven}


def why_words(code: str) -> str:
    """Why somebody got no message; a code without words of its own shows itself."""
    return t(locale(), code) if code in all_texts(locale()) else code


def _segment_words(campaign: Campaign) -> dict[str, str]:
    if campaign.segment_id is None:
        return {"name": "–", "words": ""}
    segment = db().get_one(Segment, campaign.segment_id)
    tree = segments.tree_of(db(), campaign.segment_id, campaign.segment_version)
    return {"name": segment.name, "words": described(tree, locale())}


def _report(campaign: Campaign, refusal: str) -> str:
    held = runtime()
    now, tz = held.clock.now(), held.clock.tz
    sums = campaigns.sums(db(), campaign)
    is_under_way = campaign.state in campaigns.RUNNING
    return render_template(
        "admin/campaign_report.html",
        campaign=campaign,
        refusal=refusal,
        sums=sums,
        why=why_words,
        total=campaign.audience if campaign.audience is not None else sums.total,
        done=sums.total - sums.waiting,
        parts=[
            (name, getattr(sums, name))
            for name in (
                "sent",
                "waiting",
                "parked",
                "failed",
                "uncertain",
                "skipped",
                "held_out",
            )
        ],
        segment=_segment_words(campaign),
        previews=_previews(campaign.variants, campaign.coupon_key or ""),
        result=figures.of_campaign(db(), campaign.id, now, tz) if sums.sent else None,
        scores=campaigns.scores(db(), campaign) if len(campaign.variants) > 1 else [],
        is_under_way=is_under_way,
        loud_at=delivery.loud_at(db(), now, tz) if is_under_way else None,
        may_stop=is_under_way or campaign.state == CampaignState.SCHEDULED,
    )
