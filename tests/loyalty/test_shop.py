"""The shop's settings: a default each, changed for everybody at once."""

from __future__ import annotations

import pytest

from loyalty import shop
from tests.moments import NOW


def test_unchanged_settings_have_their_default(session):
    assert shop.get(session, "messages.promotional_per_week") == 2


def test_changed_setting_is_read_by_the_next_transaction(database):
    with database.write() as session:
        shop.set(session, "messages.promotional_per_week", 3, NOW)
        assert shop.get(session, "messages.promotional_per_week") == 3
    with database.write() as session:
        assert shop.get(session, "messages.promotional_per_week") == 3
        shop.set(session, "messages.promotional_per_week", 1, NOW)
    with database.read() as session:
        assert shop.get(session, "messages.promotional_per_week") == 1


def test_unknown_setting_is_our_own_mistake(session):
    with pytest.raises(AssertionError):
        shop.get(session, "messages.typo")
