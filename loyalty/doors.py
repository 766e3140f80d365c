"""How a member gets into the member pages: links sent in the chat, ID tokens, and sessions.

All times here are real time: the demo clock never moves a secret. Only hashes are stored.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Integer, bindparam, delete, select, update
from sqlalchemy.orm import Session

from core import ids
from core.db import insert_into
from core.errors import Refused
from models.members import ChatLink, Member, MemberSession, MemberState, UsedIdToken

LINK_MINUTES = 10
SESSION_HOURS = 12
IDLE_MINUTES = 30  # on pages that redeem
SEEN_EVERY_SECONDS = 60
KEPT_AFTER = timedelta(days=1)
START_PATH = "/m/home"
#: Kept past a token's own life by leeway and margin, so that no replay slips in between.
TOKEN_KEPT = timedelta(minutes=5)
#: A signature has other forms that are as good: (r, n - s) of ES256, other last bits in base64.
#: These first letters are the same in each of them.
SIGNATURE_LETTERS = 42
_PATH = re.compile(r"/m(?:/[A-Za-z0-9_-]+){1,4}(?:\?[A-Za-z0-9_=&-]*)?")


class DeadLink(Refused):
    """Used, too old, or never made: one answer."""

    code = "links.dead"
    status = 410


@dataclass(frozen=True)
class Opened:
    """A fresh session: the cookie's secret, shown once, and whose it is."""

    token: str
    member: Member
    path: str


def safe_path(path: str | None) -> str:
    """A path inside the member pages; anything else becomes the start page."""
    return path if path and len(path) <= 255 and _PATH.fullmatch(path) else START_PATH


def make_link(session: Session, member: Member, path: str, real_now: datetime) -> str:
    """A one-time token that opens this member page for 10 minutes."""
    token = ids.secret_token()
    session.add(
        ChatLink(
            token_hash=ids.token_hash(token),
            member_id=member.id,
            path=safe_path(path),
            created_at=real_now,
            expires_at=real_now + timedelta(minutes=LINK_MINUTES),
        )
    )
    return token


def is_link_alive(session: Session, token: str, real_now: datetime) -> bool:
    """Whether this link would open; looking burns nothing."""
    link = session.get(ChatLink, ids.token_hash(token))
    return link is not None and link.used_at is None and real_now < link.expires_at


def burn_link(session: Session, token: str, real_now: datetime) -> Opened:
    """Use a chat link up and open a session. Raises DeadLink."""
    link = session.execute(
        update(ChatLink)
        .where(
            ChatLink.token_hash == ids.token_hash(token),
            ChatLink.used_at.is_(None),
            ChatLink.expires_at > real_now,
        )
        .values(used_at=real_now)
        .returning(ChatLink.member_id, ChatLink.path)
    ).one_or_none()
    member = session.get(Member, link.member_id) if link else None
    if link is None or member is None or member.state == MemberState.ERASED:
        raise DeadLink
    return Opened(open_session(session, member, "link", real_now), member, safe_path(link.path))


def use_id_token(session: Session, id_token: str, expires_at: datetime, real_now: datetime) -> bool:
    """Note that an ID token opened its one session; False when it had done so before."""
    said, _, signature = id_token.rpartition(".")
    marked = ids.token_hash(f"{said}.{signature[:SIGNATURE_LETTERS]}")
    used = session.scalar(
        insert_into(session, UsedIdToken)
        .values(token_hash=marked, expires_at=expires_at + TOKEN_KEPT)
        .on_conflict_do_nothing(index_elements=["token_hash"])
        .returning(UsedIdToken.token_hash)
    )
    session.execute(delete(UsedIdToken).where(UsedIdToken.expires_at < real_now))
    return used is not None


def open_session(session: Session, member: Member, opened_by: str, real_now: datetime) -> str:
    """A new session under a new secret; `opened_by` is `liff` or `link`."""
    token = ids.secret_token()
    session.add(
        MemberSession(
            token_hash=ids.token_hash(token),
            member_id=member.id,
            created_at=real_now,
            last_seen_at=real_now,
            expires_at=real_now + timedelta(hours=SESSION_HOURS),
            opened_by=opened_by,
        )
    )
    return token


def session_of(session: Session, token: str | None, real_now: datetime) -> MemberSession | None:
    """The live session of this cookie."""
    if not token:
        return None
    found = session.get(MemberSession, ids.token_hash(token))
    if found is None or found.revoked_at is not None or real_now >= found.expires_at:
        return None
    return found


def member_of(session: Session, held: MemberSession) -> Member | None:
    """Whose session it is; None once erased."""
    member = session.scalar(select(Member).where(Member.id == held.member_id))
    return None if member is None or member.state == MemberState.ERASED else member


def is_idle(held: MemberSession, real_now: datetime) -> bool:
    """Whether pages that redeem ask for a fresh sign-in."""
    return real_now - held.last_seen_at >= timedelta(minutes=IDLE_MINUTES)


def note_seen(held: MemberSession, real_now: datetime) -> None:
    """Move the idle limit, at most once a minute: reads stay reads."""
    if real_now - held.last_seen_at >= timedelta(seconds=SEEN_EVERY_SECONDS):
        held.last_seen_at = real_now


def close_session(session: Session, token: str | None, real_now: datetime) -> None:
    """End the session of this cookie."""
    held = session_of(session, token, real_now)
    if held is not None:
        held.revoked_at = real_now


def close_all(session: Session, member_id: int) -> None:
    """End every session and link of a member at once."""
    session.execute(delete(MemberSession).where(MemberSession.member_id == member_id))
    session.execute(delete(ChatLink).where(ChatLink.member_id == member_id))


def sweep(session: Session, real_now: datetime, limit: int) -> int:
    """Delete links and sessions that opened nothing for a day. Returns how many."""
    asked = {"over": real_now - KEPT_AFTER, "most": limit}
    return sum(len(session.execute(one, asked).all()) for one in _SWEEPS)


def _sweep_of(table: Any) -> Any:
    dead = select(table.token_hash).where(table.expires_at < bindparam("over"))
    dead = dead.limit(bindparam("most", type_=Integer()))
    return (
        delete(table)
        .where(table.token_hash.in_(dead))
        .returning(table.token_hash)
        .execution_options(synchronize_session=False)
    )


_SWEEPS = (_sweep_of(ChatLink), _sweep_of(MemberSession))
