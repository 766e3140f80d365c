"""Both languages say the same things, everything said exists, and nothing is kept unsaid."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from core.i18n import LOCALES
from tests.processes import ROOT
from tests.test_architecture import calls, dotted, parsed, product_files, relative, walked

KEY = re.compile(r"[a-z][a-z_0-9]*(\.[a-z_0-9]+)+")
PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
QUOTED = re.compile(r"""(["'`])((?:(?!\1)[^\\\n])*)\1""")
THAI = re.compile("[\u0e01-\u0e5b]")
REFUSALS = {"Refused", "NotFound", "Invalid"}


@cache
def book(locale: str) -> dict[str, str]:
    return dict(pairs(locale))


def pairs(locale: str) -> list[tuple[str, str]]:
    text = (ROOT / "locales" / f"{locale}.json").read_text("utf-8")
    return json.loads(text, object_pairs_hook=list)


def pages() -> list[Path]:
    return [path for path in (ROOT / "web").rglob("*") if path.suffix in {".html", ".js", ".xml"}]


@cache
def trees() -> dict[str, ast.AST]:
    return {relative(path): parsed(path) for path in product_files()}


# What the code says


@cache
def literals() -> set[str]:
    """Every plain string of code and pages."""
    found = {
        node.value
        for tree in trees().values()
        for node in walked(tree)[ast.Constant]
        if isinstance(node.value, str)
    }
    for page in pages():
        text = page.read_text("utf-8")
        # A key inside a quoted attribute is said too, but the attribute's own quotes hide it.
        found |= {match[2] for match in QUOTED.finditer(text)} | page_says(text)
        found |= set(re.findall(r"""\bt\(\s*[\w.()]+\s*,\s*["']([^"']+)["']\s*~""", text))
    return found


def patterns() -> list[re.Pattern[str]]:
    """What composed keys look like: `f"levels.{level}"`, `"levels." ~ level`."""
    shapes = {
        "".join(
            re.escape(part.value) if isinstance(part, ast.Constant) else "[a-z_0-9.]+"
            for part in node.values
        )
        for tree in trees().values()
        for node in walked(tree)[ast.JoinedStr]
        if isinstance(node.values[0], ast.Constant)
        and re.match(r"[a-z][a-z_0-9]*\.", str(node.values[0].value))
    }
    shapes |= {
        re.escape(text) + ".+"
        for text in literals()
        if re.fullmatch(r"[a-z][a-z_0-9]*\.([a-z_0-9.]*[_.])?", text)
    }
    return [re.compile(shape) for shape in shapes]


def ended() -> set[str]:
    """Whole keys with what f-strings hang on them: `f"{key}_title"`."""
    plain = [text for text in literals() if KEY.fullmatch(text)]
    return {text + ending for ending in endings() for text in plain}


@cache
def refusals() -> set[str]:
    """The names of `Refused` and its kin."""
    return REFUSALS | {
        node.name
        for tree in trees().values()
        for node in walked(tree)[ast.ClassDef]
        if {dotted(base) for base in node.bases} & REFUSALS
    }


def endings() -> set[str]:
    """What f-strings hang on a whole key, e.g. `_title`."""
    return {
        str(node.values[1].value)
        for tree in trees().values()
        for node in walked(tree)[ast.JoinedStr]
        if len(node.values) == 2
        and isinstance(node.values[1], ast.Constant)
        and re.fullmatch(r"[._][a-z_0-9.]+", str(node.values[1].value))
    }


def said(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and key of every text asked for by name: `t(locale, key)`, `Refused(key)`."""
    for node in calls(tree):
        name = dotted(node.func).split(".")[-1]
        place = 1 if name == "t" else 0
        asked = node.args[place : place + 1] if name == "t" or name in refusals() else []
        for argument in asked:
            if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                yield argument.lineno, argument.value
    for node in walked(tree)[ast.ClassDef]:
        if node.name in refusals():
            for line in node.body:
                if isinstance(line, ast.Assign) and dotted(line.targets[0]) == "code":
                    yield line.lineno, ast.literal_eval(line.value)


def page_says(text: str) -> set[str]:
    """Keys a template asks for by name: `t(lang(), "noun.key")`."""
    return set(re.findall(r"""\bt\(\s*[\w.()]+\s*,\s*["']([^"']+)["']\s*[,)]""", text))


def exists(key: str) -> bool:
    return key in book("th") or f"{key}.other" in book("th")


def without_number(key: str) -> str:
    return re.sub(r"\.(one|other)$", "", key)


# The rules


def test_both_files_hold_the_same_keys():
    assert set(book("th")) ^ set(book("en")) == set()


@pytest.mark.parametrize("locale", LOCALES)
def test_no_key_is_written_twice(locale):
    assert len(pairs(locale)) == len(book(locale))


@pytest.mark.parametrize("locale", LOCALES)
def test_keys_are_noun_dot_name(locale):
    assert [key for key in book(locale) if not KEY.fullmatch(key)] == []


@pytest.mark.parametrize("locale", LOCALES)
def test_texts_are_neither_empty_nor_padded(locale):
    assert [key for key, text in book(locale).items() if not text or text != text.strip()] == []


@pytest.mark.parametrize("locale", LOCALES)
def test_placeholders_are_plain_names(locale):
    odd = {
        key: name
        for key, text in book(locale).items()
        for name in PLACEHOLDER.findall(text)
        if not re.fullmatch(r"[a-z][a-z_0-9]*", name)
    }
    assert odd == {}


def test_both_languages_fill_in_the_same_facts():
    """English may write "one coupon" where Thai says the number."""
    different = [
        key
        for key, text in book("th").items()
        if set(PLACEHOLDER.findall(text)) != set(PLACEHOLDER.findall(book("en")[key]))
        and not (
            key.endswith(".one")
            and set(PLACEHOLDER.findall(book("en")[key])) < set(PLACEHOLDER.findall(text))
        )
    ]
    assert different == []


def test_every_number_form_has_the_other():
    keys = set(book("th"))
    numbered = {without_number(key) for key in keys if key.endswith((".one", ".other"))}
    wanted = {f"{key}.{form}" for key in numbered for form in ("one", "other")}
    assert wanted - keys == set()


def test_thai_texts_are_thai():
    """A text without a Thai letter is only right where both languages write the same."""
    foreign = [
        key
        for key, text in book("th").items()
        if not THAI.search(text)
        and re.search("[A-Za-z]", PLACEHOLDER.sub("", text))
        and text != book("en")[key]
    ]
    assert foreign == []


def test_english_texts_hold_no_thai_sentence():
    """Chat words are quoted in Thai; whole texts in Thai were forgotten."""
    forgotten = [
        key
        for key, text in book("en").items()
        if len(THAI.findall(text)) > len(re.findall("[A-Za-z]", text))
        and not key.startswith(("locale.", "language."))
    ]
    assert forgotten == []


def test_every_text_the_code_names_exists():
    missing = [
        f"{path}:{line} {key}"
        for path, tree in trees().items()
        for line, key in said(tree)
        if not exists(key)
    ]
    assert missing == []


def test_every_text_a_page_names_exists():
    missing = [
        f"{relative(page)} {key}"
        for page in pages()
        for key in page_says(page.read_text("utf-8"))
        if not exists(key)
    ]
    assert missing == []


def test_no_text_is_kept_unsaid():
    plain, composed = literals() | ended(), patterns()
    unsaid = [
        key
        for key in book("th")
        if not {key, without_number(key)} & plain
        and not any(pattern.fullmatch(without_number(key)) for pattern in composed)
    ]
    assert unsaid == []


# Positive controls: the readers above see what they are meant to see


def test_control_a_named_text_is_seen():
    tree = ast.parse(
        't(locale, "no.such")\nRefused("neither.this")\nclass A(Refused):\n code="x.y"'
    )
    seen = {key for _, key in said(tree)}
    assert {"no.such", "neither.this"} <= seen
    assert not any(exists(key) for key in seen)


def test_control_a_page_is_read():
    assert page_says("{{ t(lang(), 'a.b', count=2) }} {{ t(member.locale, \"c.d\") }}") == {
        "a.b",
        "c.d",
    }
