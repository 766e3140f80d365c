"""Identifiers: unguessable, readable, and their check digit catches slips."""

from __future__ import annotations

import uuid

from hypothesis import given
from hypothesis import strategies as st

from core import ids


@given(st.integers(0, 10**8 - 1), st.integers(0, 8), st.integers(1, 9))
def test_one_wrong_digit_is_noticed(number, place, by):
    digits = f"{number:08d}"
    whole = digits + ids.check_digit(digits)
    wrong = whole[:place] + str((int(whole[place]) + by) % 10) + whole[place + 1 :]
    assert ids.is_member_number(whole)
    assert not ids.is_member_number(wrong)


def test_made_numbers_are_well_formed():
    assert all(ids.is_member_number(ids.member_number()) for _ in range(200))


def test_other_scripts_digits_are_no_member_number():
    assert not ids.is_member_number("๑๒๓๔๕๖๗๘๙")
    assert not ids.is_member_number("12345678²")


def test_typed_codes_hold_sixty_bits_and_no_look_alikes():
    assert len(ids.LOOK_ALIKE_FREE) ** 13 > 2**60
    assert not set("01OILUV") & set(ids.LOOK_ALIKE_FREE)
    assert len(ids.typed_code(13)) == 13


def test_retry_keys_are_fresh_uuids_with_dashes():
    key = ids.retry_key()
    assert str(uuid.UUID(key)) == key
    assert key != ids.retry_key()
