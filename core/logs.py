"""Structured logs: one JSON line an event, only known fields, nothing secret or personal.

Fields are allowed by name; whatever else is passed is dropped, so a new field is a decision. A
last filter redacts what looks like a secret or a phone all the same.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

# structlog would load rich for coloured tracebacks that we never print: 4 MB and a tenth of a second
# of every process. It is hidden only while structlog looks for it, also where somebody else has
# loaded it: a test would draw each logged fault in colours for a second.
_hidden = sys.modules.pop("rich", None)
sys.modules["rich"] = None  # type: ignore[assignment]
import structlog  # noqa: E402

if _hidden is None:
    del sys.modules["rich"]
else:
    sys.modules["rich"] = _hidden

ALLOWED = frozenset(
    """event level logger timestamp kind place endpoint status job on reason role pid port url_kind
    count done rows seconds method path outcome state attempts call event_id call_id code actor act
    queue age limit used variable version menu tab batch size signal address""".split()
)
_SECRETS = re.compile(
    r"(?:Bearer\s+\S+|Q1\.[\w.\-]+|\b[\w-]{40,}\b|(?:\+?66[\s-]?|0)[689]\d?[\s-]?\d{2,3}[\s-]?\d{3}[\s-]?\d{1,4}"
    r"|\bU[0-9a-f]{32}\b)"
)
REDACTED = "[redacted]"


def set_up(level: str = "info") -> None:
    """Send every log line, ours and the libraries', to standard error as JSON."""
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _exception_kind,
        _allow,
        _redact,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = QuietHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processor=structlog.processors.JSONRenderer(ensure_ascii=False),
            foreign_pre_chain=shared,
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in ("apscheduler", "aiohttp.access", "urllib3", "dramatiq", "pika"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)


class QuietHandler(logging.StreamHandler[Any]):
    """A closed or full log never stops the service."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  (logging's name)
        del record


def _exception_kind(
    _logger: object, _method: str, fields: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Keep what was raised and where; its text and its locals may hold data."""
    info = fields.pop("exc_info", None)
    if info:
        error = info[1] if isinstance(info, tuple) else sys.exc_info()[1]
        if error is not None:
            fields.setdefault("kind", type(error).__name__)
            trace = error.__traceback__
            while trace is not None and trace.tb_next is not None:
                trace = trace.tb_next
            if trace is not None:
                name = trace.tb_frame.f_code.co_filename.rpartition("/")[2]
                fields["place"] = f"{name}:{trace.tb_lineno}"
    return fields


def _allow(
    _logger: object, _method: str, fields: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    return {name: value for name, value in fields.items() if name in ALLOWED or name[0] == "_"}


def _redact(
    _logger: object, _method: str, fields: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    for name, value in fields.items():
        if isinstance(value, str) and name not in ("timestamp", "logger", "level"):
            fields[name] = _SECRETS.sub(REDACTED, value)
    return fields
