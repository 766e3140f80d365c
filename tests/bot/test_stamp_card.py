"""The drawn stamp card: a picture LINE accepts, for every size, with Thai shaped as it should be."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from bot import drawing, stamp_card
from bot.stamp_card import Face


def opened(face: Face) -> Image.Image:
    return Image.open(io.BytesIO(stamp_card.draw(face)))


@pytest.mark.parametrize("design", stamp_card.DESIGNS)
@pytest.mark.parametrize("size", [1, 5, 10, 12, 20, 50])
def test_t3_draws_every_size_in_every_design_within_lines_limits(size, design):
    face = Face("กาแฟครบแก้ว", f"1/{size}", 1, size, (size,), design)
    picture = opened(face)
    assert picture.format == "PNG"
    assert max(picture.size) <= 1024
    assert len(stamp_card.draw(face)) < 1_000_000


def test_another_stamp_is_another_picture():
    assert stamp_card.draw(Face("ก", "1/10", 1, 10)) != stamp_card.draw(Face("ก", "2/10", 2, 10))


def test_t3_designs_differ_and_an_unknown_one_is_the_first():
    pictures = {stamp_card.draw(Face("ก", "1/10", 1, 10, (), one)) for one in stamp_card.DESIGNS}
    assert len(pictures) == len(stamp_card.DESIGNS)
    assert stamp_card.draw(Face("ก", "1/10", 1, 10, (), "gone")) in pictures


@pytest.mark.parametrize("design", stamp_card.DESIGNS)
def test_t3_stamped_open_and_prize_places_can_be_told_apart(design):
    """Somebody who cannot see colours well still sees what is stamped: the marks differ in light."""
    marks = (
        stamp_card._stamped(design, 80, False),
        stamp_card._open(design, 80, 3, False),
        stamp_card._open(design, 80, 3, True),
    )
    greys = [mark.convert("L").tobytes() for mark in marks]
    for one, other in ((0, 1), (1, 2), (0, 2)):
        apart = sum(abs(a - b) for a, b in zip(greys[one], greys[other], strict=True))
        assert apart / len(greys[one]) > 5


@pytest.mark.parametrize("name", ["", "😀😀", "ยาว" * 200, '"><svg>'])
def test_draws_whatever_a_programme_is_called(name):
    assert opened(Face(name, "1/10", 1, 10)).size == (stamp_card.WIDTH, stamp_card.HEIGHT)


def test_equal_cards_are_drawn_once():
    stamp_card.draw.cache_clear()
    face = Face("ก", "1/10", 1, 10)
    stamp_card.draw(face)
    stamp_card.draw(Face("ก", "1/10", 1, 10))
    assert stamp_card.draw.cache_info().hits == 1


@pytest.mark.parametrize("word", ["น้ำ", "ก่ำ", "ที่", "ปั๊ม", "ญู", "ฐู"])
def test_thai_marks_take_no_width_of_their_own(word):
    """With shaping, a word is as wide as its letters that stand on the line."""
    face = drawing.font("Regular", 64)
    standing = "".join(letter for letter in word if letter not in "ั้่๊ีู")
    standing = standing.replace("ำ", "า")
    assert abs(face.getlength(word) - face.getlength(standing)) <= face.getlength("น") * 0.2
