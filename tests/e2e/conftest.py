"""The demo café of the end-to-end tests, and a browser's view of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.story import Story
from tests.processes import Processes
from tests.test_demo import Cafe, start_again


@pytest.fixture(scope="package")
def cafe(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cafe]:
    """`make run` on a machine of its own, where the café has opened before."""
    processes = Processes(tmp_path_factory.mktemp("story"))
    try:
        yield start_again(run_folder, tmp_path_factory.mktemp("story-cafe") / "taem", processes)
    finally:
        processes.stop_all(politely=True)


@pytest.fixture(scope="module")
def story_of(cafe: Cafe, browser: Any) -> Iterator[Callable[[str], Story]]:
    """`story_of("c2")` is that customer's phone with a till and a console beside it."""
    contexts: list[Any] = []

    def new_page(**options: Any) -> Any:
        contexts.append(browser.new_context(locale="th-TH", **options))
        return contexts[-1].new_page()

    yield lambda customer: Story(cafe, new_page, customer)
    for context in contexts:
        context.close()
