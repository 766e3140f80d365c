"""Refusals: a rule said no, and the code says why in every language."""

from __future__ import annotations

from typing import Any


class Refused(Exception):
    """A business rule refuses the request.

    `code` is `<noun>.<name>` and is also the locale key of the sentence a person reads;
    `facts` fill its placeholders. Edges turn it into words or into a problem document.
    """

    code = "errors.refused"
    status = 409

    def __init__(self, code: str | None = None, *, status: int | None = None, **facts: Any) -> None:
        self.code = code or type(self).code
        self.status = status or type(self).status
        self.facts = facts
        super().__init__(self.code)


class NotFound(Refused):
    """What was asked for does not exist, or is not the caller's to see (the two look alike)."""

    code = "errors.not_found"
    status = 404


class Invalid(Refused):
    """A field cannot be read; `field` names it."""

    code = "errors.invalid"
    status = 422


class OutsideFault(Exception):
    """Something outside failed. `is_permanent` says whether trying again can help."""

    def __init__(self, message: str, *, is_permanent: bool = False) -> None:
        self.is_permanent = is_permanent
        super().__init__(message)
