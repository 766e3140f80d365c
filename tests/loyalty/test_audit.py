"""The chain of privileged acts: it holds, and shows where it was broken."""

from __future__ import annotations

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DatabaseError

from loyalty import audit
from migrations import triggers
from tests.moments import NOW


@pytest.fixture
def chain(session):
    for number in range(5):
        audit.record(session, "staff:1", "members.erased", {"member": number, "ก": "ข"}, NOW)
    return session


def test_empty_chain_holds(session):
    assert audit.verify(session) is None
    assert audit.head(session) == audit.GENESIS


def test_chain_holds(chain):
    assert audit.verify(chain) is None
    assert audit.head(chain) != audit.GENESIS


@pytest.mark.parametrize("change", ["UPDATE audit_rows SET act = 'x'", "DELETE FROM audit_rows"])
def test_database_refuses_to_rewrite_it(chain, change):
    with pytest.raises(DatabaseError, match="append-only"), chain.begin_nested():
        chain.execute(text(change))


@pytest.mark.parametrize(
    "change,what",
    [
        ("UPDATE audit_rows SET act = 'x' WHERE id = {third}", "the row was changed"),
        ("UPDATE audit_rows SET actor = 'staff:2' WHERE id = {third}", "the row was changed"),
        ("DELETE FROM audit_rows WHERE id = {third}", "a row before this one is missing"),
        ("DELETE FROM audit_rows WHERE id > {third}", "rows at the end are missing"),
        ("UPDATE audit_head SET digest = 'x'", "rows at the end are missing"),
    ],
)
def test_finds_what_an_owner_of_the_database_did(chain, change, what):
    third = chain.scalar(text("SELECT id FROM audit_rows ORDER BY id LIMIT 1 OFFSET 2"))
    triggers.remove(chain.connection())
    chain.execute(text(change.format(third=third)))
    broken = audit.verify(chain)
    assert broken is not None
    assert broken.what.startswith(what)
    triggers.install(chain.connection())


def test_finds_rows_that_changed_places(chain):
    first, second = chain.scalars(text("SELECT id FROM audit_rows ORDER BY id LIMIT 2")).all()
    triggers.remove(chain.connection())
    for before, after in ((first, -1), (second, first), (-1, second)):
        chain.execute(text(f"UPDATE audit_rows SET id = {after} WHERE id = {before}"))
    assert audit.verify(chain) is not None
    triggers.install(chain.connection())


def test_the_newest_rows_are_proven_by_themselves_and_older_ones_are_left(chain):
    ids = chain.scalars(text("SELECT id FROM audit_rows ORDER BY id")).all()
    triggers.remove(chain.connection())
    chain.execute(text(f"UPDATE audit_rows SET act = 'x' WHERE id = {ids[2]}"))
    found = {newest: audit.verify(chain, newest=newest) for newest in (1, 2, 3, 99)}
    assert {newest: broken and broken.row_id for newest, broken in found.items()} == {
        1: None, 2: None, 3: ids[2], 99: ids[2],
    }  # fmt: skip
    chain.execute(text(f"DELETE FROM audit_rows WHERE id = {ids[4]}"))
    assert audit.verify(chain, newest=1) is not None
    triggers.install(chain.connection())
