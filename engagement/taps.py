"""Taps on what we sent: buttons carry where they come from behind `#`, links lead by way of us.

A tap is counted once for each message and never costs the answer. A link's address holds only a
token of a target that staff wrote; the member's part is signed, so that nobody can tap for others.
"""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlsplit

from sqlalchemy import select
from sqlalchemy.orm import Session

from bot import theme
from core.crypto import Vault
from core.db import insert_into
from core.errors import Refused
from models.members import Member, MemberState
from models.outbox import Message
from models.results import Tap, TrackedLink

TARGET_LETTERS = 2_000
TOKEN_LETTERS = 32
SIGNATURE_LETTERS = 32
#: Stands in a link for "whoever": one address for all recipients of a multicast.
ANYBODY = "-"
_SOURCE = re.compile(r"(journey|campaign):([1-9][0-9]{0,17}):([A-Za-z0-9_-]{1,32})")
_PART = re.compile(r"([1-9][0-9]{0,17})\.([0-9a-f]{32})")


class BadTarget(Refused):
    """Not an address that a button may lead to."""

    code = "taps.bad_target"
    status = 422


@dataclass(frozen=True)
class Opened:
    """Where a tracked link leads, and whose signed one it is (None: anybody's)."""

    link_id: int
    target: str
    source: str
    member_id: int | None

    @property
    def key(self) -> str:
        """The tap's own key: one for each link and member."""
        return f"{self.link_id}:{self.member_id}"


# --- Buttons --------------------------------------------------------------------------------


def action(
    words: str, data: str, source: str, *, label_limit: int = theme.FLEX_LABEL
) -> theme.Action:
    """A button like `theme.postback_action` whose tap tells where it came from.

    `data` is the whole postback, e.g. `coupons.claim?offer=12`. Where both do not fit into what
    LINE takes, the button works and its source is not counted.
    """
    made = theme.postback_action(words, data, label_limit=label_limit)
    marked = f"{data}#{source}"
    if _SOURCE.fullmatch(source) and theme.utf16_units(marked) <= theme.POSTBACK_DATA_UNITS:
        made["data"] = marked
    return made


def split(data: str) -> tuple[str, str | None]:
    """Postback data without its tail, and the tail if it is a source of ours."""
    rest, _, tail = data.partition("#")
    return rest, tail if _SOURCE.fullmatch(tail) else None


def note(session: Session, member: Member, source: str, now: datetime) -> bool:
    """Count a tap on the newest message of this source to this member. True the first time.

    A source that this member never had a message of is no tap.
    """
    message_id = _message_of(session, member.id, source)
    if message_id is None:
        return False
    return _write(session, str(message_id), member.id, source, message_id, now)


def _message_of(session: Session, member_id: int, source: str) -> int | None:
    return session.scalar(
        select(Message.id)
        .where(Message.member_id == member_id, Message.source == source)
        .order_by(Message.created_at.desc(), Message.id.desc())
        .limit(1)
    )


def _write(
    session: Session, key: str, member_id: int, source: str, message_id: int | None, now: datetime
) -> bool:
    made = session.execute(
        insert_into(session, Tap)
        .values(key=key, member_id=member_id, source=source, message_id=message_id, at=now)
        .on_conflict_do_nothing(index_elements=["key"])
        .returning(Tap.id)
    ).scalar()
    return made is not None


# --- Links ----------------------------------------------------------------------------------


def link(
    session: Session, url: str, source: str, now: datetime, *, member_id: int | None = None
) -> str:
    """The address that leads to `url` by way of us.

    With a member it is theirs alone and their tap is counted; without, it is the same for all, so
    that equal messages can share a multicast, and only LINE counts its clicks.
    """
    check_target(url)
    vault: Vault = session.info["vault"]
    base: str = session.info["public_url"]
    token = vault.blind_index("taps.token", f"{source} {url}")[:TOKEN_LETTERS]
    _keep(session, token, url, source, now)
    part = ANYBODY if member_id is None else f"{member_id}.{_signature(vault, token, member_id)}"
    return f"{base}/l/{token}/{part}"


def _keep(session: Session, token: str, url: str, source: str, now: datetime) -> None:
    """Write the link down once; a transaction that makes thousands of addresses asks once."""
    known: set[str] = session.info.setdefault("tracked_links", set())
    if token in known:
        return
    if session.scalar(select(TrackedLink.id).where(TrackedLink.token == token)) is None:
        session.execute(
            insert_into(session, TrackedLink)
            .values(token=token, target=url, source=source, made_at=now)
            .on_conflict_do_nothing(index_elements=["token"])
        )
    if not session.in_nested_transaction():  # what a savepoint takes back is not known
        known.add(token)


def check_target(url: str) -> None:
    """Refuse what is no web address: another scheme, no host, a name and password in it."""
    try:
        parts = urlsplit(url)
        is_good = (
            parts.scheme in ("http", "https")
            and bool(parts.hostname)
            and "@" not in parts.netloc
            and url.isascii()
            and url.isprintable()
            and not set(url) & set(" \\\"<>'")
            and len(url) <= TARGET_LETTERS
        )
    except ValueError:
        is_good = False
    if not is_good:
        raise BadTarget


def open_link(session: Session, vault: Vault, token: str, part: str) -> Opened | None:
    """The link of this address; None when there is none. A wrong signature is nobody's tap."""
    found = session.execute(
        select(TrackedLink.id, TrackedLink.target, TrackedLink.source).where(
            TrackedLink.token == token
        )
    ).first()
    if found is None:
        return None
    return Opened(found.id, found.target, found.source, _whose(vault, token, part))


def follow(session: Session, opened: Opened, now: datetime) -> bool:
    """Count that this member followed their link. True the first time."""
    if opened.member_id is None:
        return False
    member = session.get(Member, opened.member_id)
    if member is not None and member.merged_into_id is not None:
        member = session.get(Member, member.merged_into_id)
    if member is None or member.state == MemberState.ERASED:
        return False
    message_id = _message_of(session, member.id, opened.source)
    if message_id is None:
        return False
    return _write(session, opened.key, member.id, opened.source, message_id, now)


def is_counted(session: Session, opened: Opened) -> bool:
    """Whether this link's tap is known already, or nobody's."""
    if opened.member_id is None:
        return True
    return session.scalar(select(Tap.id).where(Tap.key == opened.key)) is not None


def _whose(vault: Vault, token: str, part: str) -> int | None:
    found = _PART.fullmatch(part)
    if found is None:
        return None
    given = found[2].encode()
    member_id = int(found[1])
    signatures = vault.blind_indexes("taps.member", f"{token}:{member_id}")
    is_ours = [hmac.compare_digest(one[:SIGNATURE_LETTERS].encode(), given) for one in signatures]
    return member_id if any(is_ours) else None


def _signature(vault: Vault, token: str, member_id: int) -> str:
    return vault.blind_index("taps.member", f"{token}:{member_id}")[:SIGNATURE_LETTERS]
