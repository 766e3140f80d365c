"""`make bench`: every benchmark, one line each: name, ours, limit, ratio, goal.

`--only b1,b3` runs some of them, `--quick` a shorter round for trying out (its figures judge
nothing).
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import re
import sys
import tempfile
from pathlib import Path

import benchmarks
from benchmarks.ground import Bench, Result

NAME = re.compile(r"b(\d+)_\w+")
HEAD = f"{'name':<44} {'ours':>12} {'limit':>12} {'ratio':>8}  goal"


def names() -> list[str]:
    """Every benchmark, in the order of its number."""
    found = [module.name for module in pkgutil.iter_modules(benchmarks.__path__)]
    matches = [match for match in map(NAME.fullmatch, found) if match]
    return [match[0] for match in sorted(matches, key=lambda match: int(match[1]))]


def main(arguments: list[str]) -> int:
    """Run and print; the exit code says whether every goal was met."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", default="", help="numbers or names, e.g. b1,b10")
    parser.add_argument("--quick", action="store_true", help="short rounds; judges nothing")
    options = parser.parse_args(arguments)
    only = [part for part in options.only.split(",") if part]
    chosen = [n for n in names() if not only or n in only or n.split("_")[0] in only]
    print(HEAD, flush=True)
    missed = 0
    for name in chosen:
        with tempfile.TemporaryDirectory(prefix="taem-bench-") as folder:
            bench = Bench(Path(folder), is_quick=options.quick)
            try:
                for result in importlib.import_module(f"benchmarks.{name}").run(bench):
                    print(line(result), flush=True)
                    missed += not result.is_met
            finally:
                bench.close()
    print(f"{missed} missed" if missed else "every goal met")
    return 0 if not missed or options.quick else 1


def line(result: Result) -> str:
    """One row of the table."""
    limit = f"{result.limit:,.4g}" if result.limit is not None else "-"
    ratio = f"{result.ratio:.2f}" if result.ratio is not None else "-"
    mark = "" if result.is_met else "   MISSED"
    ours = f"{result.ours:,.4g}"
    return f"{result.name:<44} {ours:>12} {limit:>12} {ratio:>8}  {result.goal}{mark}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
