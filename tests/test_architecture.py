"""House rules that the import contract and the linter cannot hold.

Each rule is a small function over a parsed file, shown to notice an offence before it is believed.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.processes import ROOT

PACKAGES = (
    "bot core engagement handlers insights loyalty models rich_menus scheduler web worker".split()
)
OUTSIDE = {"benchmarks", "demo", "simulator", "tests"}
TOP = {"app", "cli", "seed"}

# Where a transaction may begin or end (docs/architecture.md, "Transactions"); folders end in "/".
EDGES = (
    "app.py",
    "bot/stores.py",
    "bot/webhook.py",
    "cli.py",
    "core/db.py",
    "core/runtime.py",
    "handlers/inbox.py",
    "rich_menus/assign.py",
    "rich_menus/publish.py",
    "rich_menus/trials.py",  # LINE is called between what is read and what is written
    "rich_menus/upkeep.py",
    "scheduler/",
    "seed.py",
    "web/admin/costs.py",  # LINE is asked for the quota before anything is written
    "web/looks.py",  # written once the page is made, whose own session only reads
    "web/admin/imports.py",  # a list is read and sealed before any lock is taken
    "web/admin/menus.py",
    "web/checkup.py",
    "web/api/ground.py",  # a key's use is noted once the answer is made, whose session only reads
    "web/api/members.py",  # a look-up by phone is counted and written down
    "web/demo.py",
    "web/ground.py",
    "web/health.py",
    "web/liff/surveys.py",  # a tap on a review link is noted, and never costs the way there
    "web/liff/links.py",  # a tap is written down on a page that only looks
    "worker/",
)


def product_files() -> list[Path]:
    singles = [ROOT / f"{name}.py" for name in ("config", *sorted(TOP))]
    inside = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    return [path for path in singles if path.exists()] + inside


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def parsed(path: Path) -> ast.AST:
    return ast.parse(path.read_text("utf-8"))


@cache
def walked(tree: ast.AST) -> dict[type[ast.AST], list[Any]]:
    """Every node of a file by its kind: it is gone through once, whatever is asked of it."""
    found: dict[type[ast.AST], list[Any]] = defaultdict(list)
    for node in ast.walk(tree):
        found[type(node)].append(node)
    return found


def imported(tree: ast.AST) -> Iterator[str]:
    """The first name of every module imported anywhere in the file."""
    for node in walked(tree)[ast.Import]:
        yield from (alias.name.split(".")[0] for alias in node.names)
    for node in walked(tree)[ast.ImportFrom]:
        if node.module and not node.level:
            yield node.module.split(".")[0]


def dotted(node: ast.AST) -> str:
    """`datetime.now` for the expression datetime.now, as far as it is made of names."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


def calls(tree: ast.AST) -> list[ast.Call]:
    return walked(tree)[ast.Call]


# The rules


def clock_reads(tree: ast.AST) -> list[int]:
    """Lines that ask the machine what time or day it is."""
    ends = ("datetime.now", "datetime.utcnow", "date.today", "datetime.today", "time.time")
    return [call.lineno for call in calls(tree) if dotted(call.func).endswith(ends)]


def transaction_ends(tree: ast.AST) -> list[int]:
    """Lines that open, commit or roll back a transaction of the whole."""
    return [
        call.lineno
        for call in calls(tree)
        if isinstance(call.func, ast.Attribute)
        and (
            (
                call.func.attr in {"commit", "rollback", "transaction"}
                and not call.args
                and "savepoint" not in dotted(call.func.value)
            )
            or (call.func.attr == "write" and "database" in dotted(call.func.value).lower())
        )
    ]


def glued_sql(tree: ast.AST) -> list[int]:
    """Lines where a statement is put together from pieces."""
    makers = {"exec_driver_sql", "sa.text", "sqlalchemy.text"}
    for node in walked(tree)[ast.ImportFrom]:
        if (node.module or "").startswith("sqlalchemy"):
            makers |= {alias.asname or "text" for alias in node.names if alias.name == "text"}
    return [
        call.lineno
        for call in calls(tree)
        if makers & {dotted(call.func), dotted(call.func).split(".")[-1]}
        and call.args
        and isinstance(call.args[0], ast.JoinedStr | ast.BinOp)
        and not is_of_constants(call.args[0])
    ]


def is_of_constants(statement: ast.AST) -> bool:
    """Whether everything put into this text is a constant of ours."""
    names = [dotted(node) for node in ast.walk(statement) if isinstance(node, ast.Name)]
    return all(name.isupper() for name in names)


def endless_calls(tree: ast.AST) -> list[int]:
    """Lines with an outgoing call that could wait for ever."""
    outgoing = {"urlopen", "create_connection", "HTTPConnection", "HTTPSConnection"}
    return [
        call.lineno
        for call in calls(tree)
        if dotted(call.func).split(".")[-1] in outgoing
        and not any(keyword.arg == "timeout" for keyword in call.keywords)
    ]


def table_queries(tree: ast.AST) -> list[int]:
    """Lines of a model file that look rows up."""
    return [
        node.lineno
        for node in walked(tree)[ast.ImportFrom]
        if any(alias.name in {"select", "update", "insert", "Session"} for alias in node.names)
    ]


def slow_transactions(tree: ast.AST) -> list[int]:
    """Lines that wait for something outside while a writing transaction is open."""
    slow = ("sleep", "urlopen", "subprocess.run", "requests.get", "requests.post")
    return [
        call.lineno
        for block in walked(tree)[ast.With]
        if any(
            isinstance(item.context_expr, ast.Call)
            and isinstance(item.context_expr.func, ast.Attribute)
            and item.context_expr.func.attr in {"write", "transaction"}
            for item in block.items
        )
        for call in calls(block)
        if dotted(call.func).endswith(slow) or "gateway." in dotted(call.func)
    ]


def loose_numbers(tree: ast.AST) -> list[int]:
    """Lines where `int` or `float` reads what a stranger sent; `core/text.py` has strict parsers."""
    return [
        call.lineno
        for call in calls(tree)
        if dotted(call.func) in {"int", "float"}
        and any(dotted(node).startswith("request.") for node in ast.walk(call))
    ]


def stored_formats(tree: ast.AST) -> list[int]:
    """Lines where a text that is not in the code is used as a format."""
    return [
        call.lineno
        for call in calls(tree)
        if isinstance(call.func, ast.Attribute)
        and call.func.attr in {"format", "format_map"}
        and not is_written_out(call.func.value)
    ]


def is_written_out(text: ast.AST) -> bool:
    """Whether this text stands in the code: as it is, in `Markup(…)`, or as a constant."""
    if isinstance(text, ast.Call) and dotted(text.func) == "Markup" and len(text.args) == 1:
        text = text.args[0]
    return isinstance(text, ast.Constant) or dotted(text).isupper()


RULES: dict[str, tuple[Callable[[ast.AST], list[int]], str]] = {
    "clock": (clock_reads, "from datetime import datetime, UTC\ndatetime.now(UTC)"),
    "transaction": (transaction_ends, "session.commit()"),
    "open": (transaction_ends, "with database.write() as session: pass"),
    "sql": (glued_sql, "from sqlalchemy import text\ntext(f'SELECT {name}')"),
    "timeout": (endless_calls, "urllib.request.urlopen(url)"),
    "slow": (slow_transactions, "with database.write() as session:\n gateway.profile('U1')"),
    "numbers": (loose_numbers, "int(request.form['amount'])"),
    "formats": (stored_formats, "row.text.format(name=name)"),
    "models": (table_queries, "from sqlalchemy import select"),
}


@pytest.mark.parametrize("name", RULES)
def test_control_each_rule_notices_its_offence(name):
    rule, offence = RULES[name]
    assert rule(ast.parse(offence))


def offences(rule: str, spared: Callable[[str], bool]) -> list[str]:
    check, _ = RULES[rule]
    return [
        f"{relative(path)}:{line}"
        for path in product_files()
        if not spared(relative(path))
        for line in check(parsed(path))
    ]


def test_only_the_clock_reads_the_time():
    """Intake stamps what it hears before anything is wired; the inbox compares with that stamp."""
    spared = {
        "bot/stores.py", "bot/webhook.py", "core/clock.py", "core/db.py", "handlers/inbox.py",
    }  # fmt: skip
    assert offences("clock", lambda path: path in spared) == []


def test_only_edges_open_and_close_transactions():
    assert offences("transaction", lambda path: path.startswith(EDGES)) == []


def test_no_statement_is_glued_together():
    assert offences("sql", lambda path: path == "core/db.py") == []


def test_every_outgoing_call_has_an_end():
    assert offences("timeout", lambda path: False) == []


def test_no_transaction_waits_for_the_world():
    assert offences("slow", lambda path: False) == []


def test_numbers_from_strangers_go_through_the_parsers():
    assert offences("numbers", lambda path: False) == []


def test_no_stored_text_is_used_as_a_format():
    assert offences("formats", lambda path: False) == []


def test_models_ask_nothing():
    assert offences("models", lambda path: not path.startswith("models/")) == []


def test_templates_never_switch_escaping_off():
    found = [
        relative(path)
        for path in (ROOT / "web" / "templates").rglob("*.html")
        if "|safe" in (text := path.read_text("utf-8").replace(" ", ""))
        or "autoescapefalse" in text
    ]
    assert found == []


# Imports of the single modules, which import-linter does not see


def imports_of(path: Path) -> set[str]:
    return set(imported(parsed(path)))


def test_settings_stand_at_the_bottom():
    assert imports_of(ROOT / "config.py") & {*PACKAGES, *TOP, *OUTSIDE} == set()


def test_core_would_fit_any_product():
    """Only what carries the settings around may know them."""
    files = [path for path in (ROOT / "core").rglob("*.py") if path.name != "runtime.py"]
    found = {name for path in files for name in imports_of(path)}
    assert found & {"config", *TOP, *OUTSIDE} == set()


def test_nothing_imports_the_processes_or_what_stands_outside():
    found = [
        relative(path)
        for path in product_files()
        if path.parent != ROOT and imports_of(path) & {*TOP, *OUTSIDE}
    ]
    assert found == []


def test_the_simulator_knows_nothing_of_the_product():
    found = {name for path in (ROOT / "simulator").rglob("*.py") for name in imports_of(path)}
    assert found & {*PACKAGES, *TOP, "config", "demo", "tests"} == set()


def test_no_folder_hides_the_standard_library():
    ours = {path.stem for path in ROOT.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert ours & set(sys.stdlib_module_names) == set()


def test_every_test_folder_is_a_package():
    folders = {path.parent for path in (ROOT / "tests").rglob("test_*.py")}
    assert [relative(folder) for folder in folders if not (folder / "__init__.py").exists()] == []


STARTS_WEB = """
import os, sys
from app import build_runtime, create_app
from tests.factories import make_settings
create_app(runtime=build_runtime(make_settings(sys.argv[1])))
print("linebot.v3.messaging" in sys.modules, flush=True)
os._exit(0)
"""


def test_web_process_starts_without_the_line_sdk(tmp_path):
    """Its generated models take 60 MB and most of a second (B10)."""
    loaded = subprocess.run(
        [
            sys.executable,
            "-c",
            STARTS_WEB,
            f"sqlite:///{tmp_path / 'taem.db'}",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert loaded.stdout.strip() == "False", loaded.stderr
