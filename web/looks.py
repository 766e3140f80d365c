"""Who looked at whose data: one row a day for each account, member and page (`faults.md` 2.9).

Reading pages commit nothing, so the row is written once the answer is made, in a transaction of its
own; a database that cannot take it costs the page nothing.
"""

from __future__ import annotations

import structlog
from flask import Response, after_this_request, request
from sqlalchemy.exc import SQLAlchemyError

from core.clock import local_day
from core.db import insert_into
from models.staff import Look
from web.ground import runtime

log = structlog.get_logger("looks")


def keep(actor: str, member_id: int, what: str) -> None:
    """Note that this account has looked at this member's data, if the answer comes about."""

    @after_this_request
    def write(response: Response) -> Response:
        if response.status_code != 200 or request.method == "HEAD":
            return response
        held = runtime()
        at = held.clock.real_now()
        key = {"actor": actor, "member_id": member_id, "what": what,
               "day": local_day(at, held.clock.tz)}  # fmt: skip
        try:
            with held.database.read() as session:
                if session.get(Look, key) is not None:
                    return response
            with held.database.write() as session:
                row = insert_into(session, Look).values(**key, first_at=at)
                session.execute(row.on_conflict_do_nothing())
        except SQLAlchemyError as error:
            log.warning("look_not_kept", error=type(error).__name__)
        return response
