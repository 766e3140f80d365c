"""What every table shares: names of constraints, column types, and the registry."""

from __future__ import annotations

from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Annotated, Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Date,
    DateTime,
    Enum,
    Integer,
    MetaData,
    String,
    Table,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, mapped_column
from sqlalchemy.types import TypeDecorator

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


def _as_text(value: datetime | None) -> str | None:
    """As SQLAlchemy's own type for SQLite writes it."""
    if value is None:
        return None
    assert value.tzinfo is not None, "moments are aware"
    return value.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC moment on both engines; SQLite keeps `YYYY-MM-DD HH:MM:SS.ffffff` in UTC."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        assert value.tzinfo is not None, "moments are aware"
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def bind_processor(self, dialect: Dialect) -> Any:
        """SQLite's text is written at once: nights bind moments by the thousand."""
        return _as_text if dialect.name == "sqlite" else super().bind_processor(dialect)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


BigId = BigInteger().with_variant(Integer(), "sqlite")
Json = JSON().with_variant(JSONB(), "postgresql")

bigid = Annotated[int, mapped_column(BigId, primary_key=True, autoincrement=True)]
bigint = Annotated[int, mapped_column(BigInteger)]
moment = Annotated[datetime, mapped_column(UtcDateTime)]
local_date = Annotated[date, mapped_column(Date)]
short = Annotated[str, mapped_column(String(64))]
line = Annotated[str, mapped_column(String(255))]
facts = Annotated[dict[str, Any], mapped_column(Json)]


class Base(DeclarativeBase):
    """Registry of every table."""

    metadata = MetaData(naming_convention=NAMING)


def table_of(model: type[Base]) -> Table:
    """The table behind a model, for Core statements."""
    table = model.__table__
    assert isinstance(table, Table)
    return table


def state_of(states: type[StrEnum], length: int = 32) -> Enum:
    """A column of a closed set of values, stored by value and checked by the database."""
    return Enum(
        states,
        native_enum=False,
        create_constraint=True,
        length=length,
        name=_snake(states.__name__),
        values_callable=lambda members: [member.value for member in members],
    )


def _snake(name: str) -> str:
    return "".join("_" + c.lower() if c.isupper() else c for c in name).lstrip("_")
