"""Rich menus as rows: menu, version, publication at LINE, and who is linked to what."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    Index,
    LargeBinary,
    String,
    UniqueConstraint,
    false,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, BigId, Json, bigid, line, moment, short, state_of


class Menu(Base):
    """A set of one or more tabs shown to an audience. The first fitting rule wins."""

    __tablename__ = "menus"

    id: Mapped[bigid]
    #: `guest`, `member`, `vip`.
    key: Mapped[short] = mapped_column(unique=True)
    name_th: Mapped[str] = mapped_column(String(100))
    name_en: Mapped[str] = mapped_column(String(100))
    #: Who sees it; `rich_menus/audiences.py` says what may stand here.
    audience: Mapped[dict[str, Any]] = mapped_column(Json, default=dict)
    #: Lower is asked first.
    priority: Mapped[int] = mapped_column(default=100)
    is_default: Mapped[bool] = mapped_column(default=False)
    #: The version that LINE is to show; None until somebody has published one.
    published_version: Mapped[int | None]
    #: What its pictures show of a member, as the published version says: `tier`, `stamps:<key>`.
    living: Mapped[line | None]
    #: Nobody sees it any more; LINE's menus of it go once nobody stands on them.
    archived_at: Mapped[moment | None]


class MenuVersion(Base):
    """One saved definition of a menu: tabs, areas, labels, actions, colours, icons."""

    __tablename__ = "menu_versions"
    __table_args__ = (UniqueConstraint("menu_id", "version"),)

    id: Mapped[bigid]
    menu_id: Mapped[int] = mapped_column(BigId, ForeignKey("menus.id"))
    version: Mapped[int]
    definition: Mapped[dict[str, Any]] = mapped_column(Json)
    #: `seed` or `staff:<id>`.
    made_by: Mapped[short]
    made_at: Mapped[moment]
    published_at: Mapped[moment | None]


class PublicationState(StrEnum):
    #: The menu object exists at LINE, its picture perhaps not yet.
    MAKING = "making"
    READY = "ready"
    LIVE = "live"
    #: Replaced; to be removed at LINE.
    RETIRED = "retired"
    REMOVED = "removed"


class MenuPublication(Base):
    """One tab of one version at LINE. `content_hash` makes publishing idempotent."""

    __tablename__ = "menu_publications"
    __table_args__ = (
        Index(
            "uq_menu_publications_live",
            "alias",
            unique=True,
            postgresql_where=text("state = 'live'"),
            sqlite_where=text("state = 'live'"),
        ),
    )

    id: Mapped[bigid]
    menu_id: Mapped[int] = mapped_column(BigId, ForeignKey("menus.id"), index=True)
    version_id: Mapped[int] = mapped_column(BigId, ForeignKey("menu_versions.id"))
    tab: Mapped[short]
    alias: Mapped[short]
    locale: Mapped[str] = mapped_column(String(2), default="th")
    #: Which picture of a living menu: `6` stamps, a tier's key; empty for others.
    variant: Mapped[short] = mapped_column(default="", server_default=text("''"))
    #: SHA-256 of object and picture.
    content_hash: Mapped[short]
    line_menu_id: Mapped[short | None]
    state: Mapped[PublicationState] = mapped_column(state_of(PublicationState))
    made_at: Mapped[moment]
    live_at: Mapped[moment | None]


class MenuPicture(Base):
    """A finished picture kept by content, for the console's preview and repeated publishing."""

    __tablename__ = "menu_pictures"

    content_hash: Mapped[short] = mapped_column(primary_key=True)
    #: A JPEG where a photograph was uploaded; its first bytes say which.
    png: Mapped[bytes] = mapped_column(LargeBinary)
    made_at: Mapped[moment]


class MenuUpload(Base):
    """A picture that staff uploaded: checked, made anew from its pixels, without its metadata."""

    __tablename__ = "menu_uploads"

    content_hash: Mapped[short] = mapped_column(primary_key=True)
    picture: Mapped[bytes] = mapped_column(LargeBinary)
    width: Mapped[int]
    height: Mapped[int]
    #: `staff:<id>`.
    made_by: Mapped[short]
    made_at: Mapped[moment]


class PlanState(StrEnum):
    WAITING = "waiting"
    #: Published, and to be taken back at `ends_at`.
    SHOWING = "showing"
    DONE = "done"
    CANCELLED = "cancelled"
    #: Its end was over before anybody could publish it, or it has become too many menus for LINE.
    MISSED = "missed"


class MenuPlan(Base):
    """A version to be published at a moment, and perhaps taken back at another; one at a time."""

    __tablename__ = "menu_plans"
    __table_args__ = (
        Index(
            "uq_menu_plans_open",
            "menu_id",
            unique=True,
            postgresql_where=text("state IN ('waiting', 'showing')"),
            sqlite_where=text("state IN ('waiting', 'showing')"),
        ),
        CheckConstraint("ends_at IS NULL OR ends_at > publish_at", name="ends_after_it_begins"),
    )

    id: Mapped[bigid]
    menu_id: Mapped[int] = mapped_column(BigId, ForeignKey("menus.id"))
    version: Mapped[int]
    publish_at: Mapped[moment]
    ends_at: Mapped[moment | None]
    state: Mapped[PlanState] = mapped_column(state_of(PlanState), default=PlanState.WAITING)
    #: What LINE showed before, to go back to at the end.
    before_version: Mapped[int | None]
    #: When it was in fact published: later than planned when nothing ran at that moment.
    published_at: Mapped[moment | None]
    #: `staff:<id>`.
    made_by: Mapped[short]
    made_at: Mapped[moment]


class MenuUpkeep(Base):
    """How far LINE agrees with the rows: one row, id 1; also the turn of whoever publishes."""

    __tablename__ = "menu_upkeep"

    id: Mapped[bigid]
    #: When LINE is to be brought in line (again); None while it agrees.
    due_at: Mapped[moment | None]
    #: Somebody publishes until then at most.
    held_until: Mapped[moment | None]
    attempts: Mapped[int] = mapped_column(default=0)
    #: Why the last try ended: `menus.line_failed`, `menus.line_refused`; None after a good one.
    problem: Mapped[short | None]
    agreed_at: Mapped[moment | None]
    #: Everybody above this member id is to be looked at again; None when nobody is.
    sweep_after_id: Mapped[int | None] = mapped_column(BigId)


class MenuLink(Base):
    """What menu a person should have at LINE, and what we last confirmed."""

    __tablename__ = "menu_links"
    __table_args__ = (
        Index(
            "ix_menu_links_due",
            "next_try_at",
            postgresql_where=text("is_due"),
            sqlite_where=text("is_due = 1"),
        ),
    )

    member_id: Mapped[int] = mapped_column(BigId, ForeignKey("members.id"), primary_key=True)
    wanted_key: Mapped[short]
    #: The LINE menu id linked last; None when unlinked or unknown.
    linked_line_menu_id: Mapped[short | None]
    is_due: Mapped[bool] = mapped_column(default=True)
    attempts: Mapped[int] = mapped_column(default=0)
    next_try_at: Mapped[moment]
    confirmed_at: Mapped[moment | None]
    #: Due to be asked for at LINE rather than to be linked.
    is_check: Mapped[bool] = mapped_column(default=False, server_default=false())
    #: The LINE id of somebody who has left, until LINE has taken their menu away; the row goes then.
    leaving_user_id: Mapped[short | None]
