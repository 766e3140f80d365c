"""What other systems may know: public facts in an order that never changes, and who is told.

A reaction writes the rows in the transaction of the facts. Their position is given afterwards, by
one process at a time: an id is taken before its commit, so a reader going by ids would pass over
a row that becomes visible late.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import bindparam, delete, func, select, text, update
from sqlalchemy.orm import InstrumentedAttribute, Session
from sqlalchemy.orm.util import identity_key

from core import ids, outgoing
from core.bulk import insert_many
from core.crypto import Vault
from core.db import is_sqlite
from core.errors import NotFound, Refused
from core.runtime import Runtime
from core.text import fit
from loyalty import audit
from models.activities import Activity
from models.base import Base, table_of
from models.coupons import Coupon, Redemption, Voucher
from models.feed import FeedEvent, WebhookTarget
from models.members import Member
from models.purchases import Purchase, PurchaseReturn

FEED = table_of(FeedEvent)
TARGETS = table_of(WebhookTarget)
#: Facts that are sent as they are; everything else stays in the house. Never names or texts.
_FIGURES = (
    "points", "amount_satang", "discount_satang", "debt", "is_first", "is_void", "branch_code",
    "is_voucher_back", "source", "channel", "given", "count", "filled", "size", "before", "after",
    "is_manual",
)  # fmt: skip
#: Facts that hold a row's id, and what outsiders call that row.
_NAMES: dict[str, tuple[str, type[Base], InstrumentedAttribute[str]]] = {
    "purchase_id": ("purchase_id", Purchase, Purchase.public_id),
    "return_id": ("return_id", PurchaseReturn, PurchaseReturn.public_id),
    "voucher_id": ("voucher_id", Voucher, Voucher.public_id),
    "redemption_id": ("redemption_id", Redemption, Redemption.public_id),
    "coupon_id": ("coupon", Coupon, Coupon.key),
}
#: Kind of the activity -> kind outside.
KINDS = {
    "members.joined": "members.joined",
    "members.merged": "members.merged",
    "members.unmerged": "members.unmerged",
    "purchases.recorded": "purchases.recorded",
    "purchases.returned": "purchases.returned",
    "points.adjusted": "points.adjusted",
    "points.expired": "points.expired",
    "vouchers.issued": "vouchers.issued",
    "vouchers.redeemed": "vouchers.redeemed",
    "vouchers.redemption_reversed": "vouchers.reversed",
    "vouchers.voided": "vouchers.voided",
    "vouchers.expired": "vouchers.expired",
    "stamps.given": "stamps.given",
    "stamps.taken_back": "stamps.taken_back",
    "stamps.card_filled": "stamps.card_filled",
    "tiers.changed": "tiers.changed",
}
LEFT = "members.left"
#: Where a body names a member.
NUMBERS = ("member_no", "gone_member_no")
#: A journey's own call: `journey`, `step` and `occasion` of a member who came to it.
JOURNEY = "journeys.called"
PUBLIC_KINDS = (*sorted(KINDS.values()), JOURNEY, LEFT)
KEPT = timedelta(days=90)
PLACED_AT_ONCE = 2000
#: More than any shop tells between a backup and its restore.
RESTORED_AHEAD = 10_000_000
PLACING_LOCK = 0x7AE3_FEED
MAX_TARGETS = 20
SECRET_PLACE = "webhook_targets.secret"  # noqa: S105  (where it lies, not what it is)


# --- Writing ------------------------------------------------------------------------------------


def react(runtime: Runtime, session: Session, facts: list[Any], now: datetime) -> None:
    """Write the public ones of the facts just recorded, beside them."""
    public = [fact for fact in facts if fact.kind in KINDS]
    if not public:
        return
    session.flush()  # rows that the facts name are looked up by statements
    numbers = _known(session, Member, Member.member_no, {fact.member_id for fact in public})
    names = {
        key: _known(session, model, column, {f.facts[key] for f in public if f.facts.get(key)})
        for key, (_, model, column) in _NAMES.items()
        if any(fact.facts.get(key) for fact in public)
    }
    write(
        session,
        [
            (KINDS[fact.kind], fact.at, {"member_no": number, **_body(fact, names)})
            for fact in public
            if (number := numbers.get(fact.member_id)) is not None
        ],
    )


def forget_member(session: Session, member_no: str) -> None:
    """Take a member number out of everything written about it so far."""
    for name in NUMBERS:
        about = select(FEED.c.id, FEED.c.body).where(FEED.c[name] == member_no)
        if emptied := [
            {"row": row.id, "emptied": {**row.body, name: None}} for row in session.execute(about)
        ]:
            forgotten = update(FEED).where(FEED.c.id == bindparam("row"))
            values = {"body": bindparam("emptied", type_=FEED.c.body.type), name: None}
            session.connection().execute(forgotten.values(values), emptied)


def write(session: Session, events: Iterable[tuple[str, datetime, dict[str, Any]]]) -> None:
    """Write public facts: kind, moment, body."""
    rows = [
        {"public_id": ids.public_id(), "kind": kind, "at": at, "body": body}
        | {name: None if kind == LEFT else body.get(name) for name in NUMBERS}
        for kind, at, body in events
    ]
    if rows and is_sqlite(session):
        insert_many(session, FEED, rows)
    elif rows:
        session.connection().execute(FEED.insert(), rows)


def _body(fact: Activity, names: dict[str, dict[int, str]]) -> dict[str, Any]:
    body = {name: fact.facts[name] for name in _FIGURES if fact.facts.get(name) is not None}
    for key, known in names.items():
        if (name := known.get(fact.facts.get(key, 0))) is not None:
            body[_NAMES[key][0]] = name
    if fact.kind in ("members.merged", "members.unmerged"):
        body["gone_member_no"] = fact.facts.get("gone_no")
    return body


def _known(
    session: Session, model: Any, column: InstrumentedAttribute[Any], wanted: set[int]
) -> dict[int, str]:
    """Id -> the name outside; rows this session has loaded cost nothing."""
    found: dict[int, str] = {}
    for one in wanted:
        loaded = session.identity_map.get(identity_key(model, one))
        if loaded is not None and column.key in loaded.__dict__:
            found[one] = loaded.__dict__[column.key]
    if rest := wanted - found.keys():
        rows = session.execute(_names_of(model, column), {"ids": list(rest)})
        found.update({row[0]: row[1] for row in rows})
    return found


@cache
def _names_of(model: Any, column: InstrumentedAttribute[Any]) -> Any:
    return select(model.id, column).where(model.id.in_(bindparam("ids", expanding=True)))


def place(session: Session) -> int:
    """Give the next positions to rows that have none; returns how many. One process at a time."""
    if not is_sqlite(session):
        session.execute(text(f"SELECT pg_advisory_xact_lock({PLACING_LOCK})"))
    waiting = session.scalars(
        select(FEED.c.id).where(FEED.c.position.is_(None)).order_by(FEED.c.id).limit(PLACED_AT_ONCE)
    ).all()
    if not waiting:
        return 0
    highest = session.scalar(select(func.max(FEED.c.position))) or 0
    session.connection().execute(
        update(FEED).where(FEED.c.id == bindparam("row")).values(position=bindparam("place")),
        [{"row": row, "place": highest + n} for n, row in enumerate(waiting, 1)],
    )
    return len(waiting)


def move_on(session: Session) -> None:
    """After a restore: positions go on beyond all that were read since the backup, else their
    readers would pass over as many new events. The newest of the backup is read once more."""
    highest = select(func.max(FEED.c.position)).scalar_subquery()
    session.execute(
        update(FEED)
        .where(FEED.c.position == highest)
        .values(position=FEED.c.position + RESTORED_AHEAD)
    )


def forget(session: Session, now: datetime, limit: int) -> int:
    """Delete placed events older than 90 days; the newest stays, as positions go on from it.

    Only the first ones are looked at: what comes behind them is younger.
    """
    highest = select(func.max(FEED.c.position)).scalar_subquery()
    first = (
        select(FEED.c.id, FEED.c.at)
        .where(FEED.c.position < highest)
        .order_by(FEED.c.position)
        .limit(limit)
        .subquery()
    )
    old = select(first.c.id).where(first.c.at < now - KEPT)
    gone: Any = session.connection().execute(
        delete(FEED).where(FEED.c.id.in_(old.scalar_subquery()))
    )
    return int(gone.rowcount)


# --- Reading ------------------------------------------------------------------------------------


def after(
    session: Session, position: int, limit: int, kinds: Sequence[str] = ()
) -> Sequence[FeedEvent]:
    """Placed events behind a position, in order."""
    found = select(FeedEvent).where(FeedEvent.position > position)
    if kinds:
        found = found.where(FeedEvent.kind.in_(kinds))
    return session.scalars(found.order_by(FeedEvent.position).limit(limit)).all()


def newest(session: Session) -> int:
    """The position of the newest event; 0 before the first."""
    return int(session.scalar(select(func.max(FEED.c.position))) or 0)


def as_json(event: FeedEvent) -> dict[str, Any]:
    """An event as it is read and as it is posted."""
    return {
        "id": event.public_id,
        "position": event.position,
        "kind": event.kind,
        "at": event.at.isoformat(),
        "data": event.body,
    }


# --- Outgoing webhooks --------------------------------------------------------------------------


@dataclass(frozen=True)
class NewTarget:
    """A target just made, and its secret, which is shown this once."""

    target: WebhookTarget
    secret: str


def add_target(
    session: Session,
    vault: Vault,
    *,
    name: str,
    url: str,
    kinds: Sequence[str] = (),
    allows_local: bool,
    now: datetime,
    actor: str,
) -> NewTarget:
    """A place where signed events are posted from now on. Raises Refused; writes the audit row."""
    shown = fit(name, 60, 60)
    if not shown:
        raise Refused("webhooks.no_name", status=422)
    if session.scalar(select(TARGETS.c.id).where(TARGETS.c.name == shown)) is not None:
        raise Refused("webhooks.known_name")
    if (session.scalar(select(func.count()).select_from(TARGETS)) or 0) >= MAX_TARGETS:
        raise Refused("webhooks.too_many", most=MAX_TARGETS)
    try:
        outgoing.parse(url, allows_local=allows_local)
    except outgoing.BadAddress as error:
        raise Refused("webhooks.bad_address", status=422) from error
    if unknown := [kind for kind in kinds if kind not in PUBLIC_KINDS]:
        raise Refused("webhooks.unknown_kind", status=422, kind=unknown[0][:64])
    secret = f"whsec_{ids.secret_token()}"
    target = WebhookTarget(
        name=shown,
        url=url,
        secret_sealed=vault.seal(SECRET_PLACE, secret.encode()),
        kinds=sorted(set(kinds)),
        position=newest(session),
        next_try_at=now,
        created_at=now,
    )
    session.add(target)
    session.flush()  # the audit row names it
    audit.record(session, actor, "webhooks.added", {"target": target.id}, now)
    return NewTarget(target, secret)


def targets(session: Session) -> Sequence[WebhookTarget]:
    """Every target by name."""
    return session.scalars(select(WebhookTarget).order_by(WebhookTarget.name)).all()


def target_of(session: Session, name: str) -> WebhookTarget:
    """The target of this name."""
    found = session.scalar(select(WebhookTarget).where(WebhookTarget.name == name))
    if found is None:
        raise NotFound("webhooks.unknown")
    return found


def switch(
    session: Session, target: WebhookTarget, *, is_on: bool, now: datetime, actor: str
) -> None:
    """Stop posting to a target, or go on where it stopped, at once."""
    target.is_on = is_on
    target.attempts, target.next_try_at = 0, now
    audit.record(session, actor, f"webhooks.{'on' if is_on else 'off'}", {"target": target.id}, now)


def resend(
    session: Session, target: WebhookTarget, position: int, *, now: datetime, actor: str
) -> None:
    """Post everything behind a position again; a post under way does not move it back."""
    if not 0 <= position <= newest(session):
        raise Refused("webhooks.bad_position", status=422, newest=newest(session))
    target.position = position
    target.attempts, target.next_try_at, target.lease_until = 0, now, None
    facts = {"target": target.id, "position": position}
    audit.record(session, actor, "webhooks.resent", facts, now)
