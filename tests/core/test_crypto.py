"""Keys for personal data: bound to person and place, rotated, and gone when destroyed."""

from __future__ import annotations

import pytest
from cryptography.exceptions import InvalidTag
from hypothesis import given
from hypothesis import strategies as st

from core.crypto import Vault

OLD, NEW = "old-wrapping-key-of-the-tests-1234", "new-wrapping-key-of-the-tests-5678"
VAULT = Vault((OLD,), (OLD,))


@given(st.text(st.characters(exclude_categories=("Cs",)), max_size=200))
def test_opens_what_it_sealed(text):
    key = VAULT.new_member_key("m1")
    sealed = VAULT.encrypt(key, "m1", "members.phone", text)
    assert VAULT.decrypt(key, "m1", "members.phone", sealed) == text


def test_two_sealings_differ():
    key = VAULT.new_member_key("m1")
    one, two = (VAULT.encrypt(key, "m1", "members.phone", "x") for _ in range(2))
    assert one != two


@pytest.mark.parametrize("owner, place", [("m2", "members.phone"), ("m1", "members.birthday")])
def test_refuses_text_moved_to_another_person_or_place(owner, place):
    key = VAULT.new_member_key("m1")
    sealed = VAULT.encrypt(key, "m1", "members.phone", "x")
    with pytest.raises((ValueError, InvalidTag)):
        VAULT.decrypt(key, owner, place, sealed)


def test_refuses_a_changed_byte():
    key = VAULT.new_member_key("m1")
    sealed = bytearray(VAULT.encrypt(key, "m1", "members.phone", "x"))
    sealed[-1] ^= 1
    with pytest.raises(ValueError, match=r"members\.phone"):
        VAULT.decrypt(key, "m1", "members.phone", bytes(sealed))


def test_an_old_key_still_reads_while_rotating():
    key = VAULT.new_member_key("m1")
    sealed = VAULT.encrypt(key, "m1", "members.phone", "x")
    rotated = Vault((NEW, OLD), (NEW, OLD))
    assert rotated.decrypt(key, "m1", "members.phone", sealed) == "x"
    assert VAULT.blind_index("phone", "+668") in rotated.blind_indexes("phone", "+668")
    assert rotated.blind_index("phone", "+668") != VAULT.blind_index("phone", "+668")


def test_indexes_of_different_purposes_tell_nothing_about_each_other():
    assert VAULT.blind_index("phone", "1234") != VAULT.blind_index("phone_last4", "1234")
