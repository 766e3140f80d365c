"""Every column is classified, so that no personal datum or secret slips in unnoticed."""

from __future__ import annotations

import tomllib
from pathlib import Path

import models  # noqa: F401
from models.base import Base

CLASSES = {"none", "personal", "secret"}
INVENTORY = tomllib.loads((Path(__file__).parent / "inventory.toml").read_text("utf-8"))


def listed() -> list[tuple[str, str]]:
    return [
        (table, column)
        for table, classes in INVENTORY.items()
        for columns in classes.values()
        for column in columns
    ]


def existing() -> set[tuple[str, str]]:
    return {
        (table.name, column.name)
        for table in Base.metadata.sorted_tables
        for column in table.columns
    }


def columns_of(kind: str) -> set[tuple[str, str]]:
    return {
        (table, column) for table, classes in INVENTORY.items() for column in classes.get(kind, [])
    }


def test_every_column_is_classified_and_none_invented():
    assert set(listed()) ^ existing() == set()


def test_no_column_is_in_two_classes():
    assert len(listed()) == len(set(listed()))


def test_there_are_three_classes():
    assert {name for classes in INVENTORY.values() for name in classes} <= CLASSES


def test_what_is_sealed_is_personal_or_secret():
    sealed = {(table, column) for table, column in existing() if column.endswith("_sealed")}
    assert sealed <= columns_of("personal") | columns_of("secret")


def test_what_is_kept_as_a_hash_of_a_bearer_secret_is_secret():
    ends = ("token_hash", "code_hash", "key_hash", "pin_hash", "handle_hash", "password_hash")
    hashes = {(table, column) for table, column in existing() if column.endswith(ends)}
    assert hashes <= columns_of("secret")
