"""Long work that says how far it is: the answer to a form is a stream of steps while it is done.

Each step is a line of JSON: what is done, how many of how many. The last line says where to go, or
what is wrong; or that the rest of the answer is a file. The work runs beside the request, so a page
that is closed stops nothing; whatever is done whole or not at all stays so. A browser without
script gets the same work's usual answer.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from threading import Thread
from typing import Any

import structlog
from flask import Response, copy_current_request_context, g, request

from core.errors import Refused
from core.i18n import t
from web.ground import locale

log = structlog.get_logger("progress")
KIND = "application/x-ndjson"
#: `told(words, done, all)`: `all` is None where nobody knows yet.
Told = Callable[[str, int, int | None], None]
Work = Callable[[Told], Response]
#: What a view has found out about who asks, for the work beside it.
_KEPT = ("staff", "staff_session", "locale")


def shown(work: Work) -> Response:
    """Do the work; a browser that reads steps is told of each."""
    if KIND not in request.accept_mimetypes.values():
        return work(lambda _words, _done, _all: None)
    lines: SimpleQueue[bytes | None] = SimpleQueue()
    kept = {name: g.get(name) for name in _KEPT}
    Thread(target=copy_current_request_context(_run), args=(work, kept, lines), daemon=True).start()
    answer = Response(_drained(lines), mimetype=KIND)
    answer.headers["Cache-Control"] = "no-store"
    answer.headers["X-Accel-Buffering"] = "no"  # a proxy that waits for all of it hides the steps
    return answer


def _drained(lines: SimpleQueue[bytes | None]) -> Iterator[bytes]:
    while (line := lines.get()) is not None:
        yield line


def _run(work: Work, kept: dict[str, Any], lines: SimpleQueue[bytes | None]) -> None:
    def say(**facts: Any) -> None:
        lines.put(json.dumps(facts, ensure_ascii=False).encode() + b"\n")

    def told(words: str, done: int, most: int | None) -> None:
        say(words=t(locale(), words), done=done, all=most)

    for name, value in kept.items():
        setattr(g, name, value)
    try:
        answer = work(told)
        if "Location" in answer.headers:
            say(to=answer.headers["Location"])
        else:
            name = answer.headers["Content-Disposition"].partition('"')[2].rstrip('"')
            say(file=name, kind=answer.mimetype)
            lines.put(answer.get_data())
    except Refused as error:
        sentence = t(locale(), error.code, **error.facts)
        say(wrong=sentence, field=g.get("wrong_field", ""))
    except Exception as error:  # the last chance to say anything
        log.error("work_failed", kind=type(error).__name__, endpoint=request.endpoint)
        say(wrong=t(locale(), "errors.temporary"), field="")
    finally:
        lines.put(None)
