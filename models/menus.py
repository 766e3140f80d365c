"""Rich menus as rows: menu, version, publication at LINE, and who is linked to what."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from sqlalchemy import ForeignKey, Index, LargeBinary, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, BigId, Json, bigid, moment, short, state_of


class Menu(Base):
    """A set of one or more tabs shown to an audience. The first fitting rule wins."""

    __tablename__ = "menus"

    id: Mapped[bigid]
    #: `guest`, `member`, `vip`.
    key: Mapped[short] = mapped_column(unique=True)
    name_th: Mapped[str] = mapped_column(String(100))
    name_en: Mapped[str] = mapped_column(String(100))
    #: {"state": "friend"} | {"state": "member"} | {"override": "vip"}.
    audience: Mapped[dict[str, Any]] = mapped_column(Json, default=dict)
    #: Lower is asked first.
    priority: Mapped[int] = mapped_column(default=100)
    is_default: Mapped[bool] = mapped_column(default=False)


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
    #: SHA-256 of object and picture.
    content_hash: Mapped[short]
    line_menu_id: Mapped[short | None]
    state: Mapped[PublicationState] = mapped_column(state_of(PublicationState))
    made_at: Mapped[moment]
    live_at: Mapped[moment | None]


class MenuPicture(Base):
    """A drawn picture kept by content, for the console's preview and repeated publishing."""

    __tablename__ = "menu_pictures"

    content_hash: Mapped[short] = mapped_column(primary_key=True)
    png: Mapped[bytes] = mapped_column(LargeBinary)
    made_at: Mapped[moment]


class MenuLink(Base):
    """What menu a person should have at LINE, and what we last confirmed."""

    __tablename__ = "menu_links"
    __table_args__ = (
        Index(
            "ix_menu_links_due",
            "next_try_at",
            postgresql_where=text("is_due"),
            sqlite_where=text("is_due"),
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
