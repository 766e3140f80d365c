"""Migrates a database from code, as `flask db upgrade` and the tests do."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config

ROOT = Path(__file__).resolve().parent.parent


def configuration(url: str) -> Config:
    """Alembic's configuration for this database."""
    config = Config(str(ROOT / "alembic.ini"))
    config.set_main_option("script_location", str(ROOT / "migrations"))
    config.attributes["url"] = url
    return config


def upgrade(url: str, revision: str = "head") -> None:
    """Bring the database to the newest (or this) revision; does nothing when it is there."""
    command.upgrade(configuration(url), revision)
