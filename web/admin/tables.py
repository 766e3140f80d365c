"""Every list of the console: searched, sorted, paged, its columns chosen, taken out as a file.

A `Listing` says once what a list is; its page shows 25 rows of it and its file holds every row
that the page's own address finds, under the same words. Files with people in them need their own
permission and the password, and leave a row in the audit log with the count (AA5, FX13).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode

from flask import Response, g, make_response, redirect, request, url_for
from sqlalchemy import UnaryExpression, func, literal_column, or_, select

from core.clock import local_day
from core.errors import Invalid, Refused
from core.i18n import t
from core.spreadsheets import csv_text, xlsx_bytes
from loyalty import alarms
from web.admin import progress
from web.admin.door import safe_next
from web.admin.ground import asked, blueprint, escaped, freshly, here, may, noted
from web.auth import staff_only
from web.ground import db, locale, opened, outside, runtime
from web.security import read_cookie, set_cookie

PAGE_ROWS = 25
#: Rows are counted, and pages reached, up to here; beyond it a search or a filter is quicker
#: for people and database alike.
COUNTED = 10_000
#: Of a search only so many: each row must be looked at.
FOUND = 1_000
SEARCH_LETTERS = 100
#: Rows of one file; a longer list is taken out in parts, each by its own filter.
FILE_ROWS = 100_000
#: How many rows are held in memory while a file is written.
FETCHED = 1_000
KINDS = {
    "csv": "text/csv; charset=utf-8",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}
#: What in an address only orders a list.
PLACE = ("sort", "down", "page", "note")
#: Where a browser keeps which columns its people chose, list by list.
COOKIE = "lists"
COOKIE_LETTERS = 3_000
YEAR_SECONDS = 365 * 24 * 3600


@dataclass(frozen=True)
class Column:
    """One column: its key in the address, its heading, what orders it, what a file says.

    `kind` is how the value is written: plain text, or `num`, `money` (satang), `moment`, `day`,
    `mono`. A column without `value` is for the page alone, e.g. the buttons of a row.
    """

    key: str
    words: str
    order: Any = None
    value: Callable[[Any], Any] | None = None
    kind: str = ""
    #: An index gives this order, however long the list; others sort what was counted whole.
    is_quick: bool = False
    #: What a search finds lies together in this order: of very many it is not given.
    is_searched: bool = False

    def is_quick_for(self, search: str) -> bool:
        """Whether it orders however many rows at once, or however many that were found."""
        return self.is_quick and not (search and self.is_searched)


@dataclass(frozen=True)
class Table:
    """One page of a list with its search, order and place."""

    name: str
    rows: Sequence[Any]
    columns: Sequence[Column]
    choices: Sequence[Column]
    total: int
    #: Whether there are more than the `total` that was counted.
    is_more: bool
    page: int
    pages: int
    search: str
    sort: str
    is_down: bool
    #: Method of its file's form and the endpoint; empty when this person may not have one.
    file: str
    file_method: str
    #: The endpoint of its page, when a form's answer at another address shows the list too.
    home: str

    def here(self, **changes: Any) -> str:
        """This list's address with some of its query changed."""
        return url_for(self.home, **changes) if self.is_away else here(**changes)

    @property
    def is_away(self) -> bool:
        """Whether it is shown below a form's answer, at another address than its own page."""
        return bool(self.home) and self.home != request.endpoint

    @property
    def path(self) -> str:
        """Its own page without any query."""
        return url_for(self.home) if self.is_away else request.path

    def file_url(self, kind: str) -> str:
        """The address of everything this page's address finds, as a file."""
        if self.is_away:
            return url_for(self.file, kind=kind)
        return url_for(self.file, **(asked() | {"kind": kind}))

    def can_order(self, column: Column) -> bool:
        """Whether its heading orders the list: always a short one."""
        return column.order is not None and (
            not self.is_more or column.is_quick_for(self.search) or column.key == self.sort
        )

    @property
    def is_filtered(self) -> bool:
        """Whether the address asks for less than everything."""
        return any(request.args.get(name) for name in request.args if name not in PLACE)


@dataclass(frozen=True)
class Listing:
    """What a list is: its address below the console, its columns and its rows."""

    path: str
    columns: Sequence[Column]
    #: Everything the address asks for, unordered.
    query: Callable[[], Any]
    default: str
    tie: Any
    #: Whose file it is: a page's own `.read`, or more where people are in it.
    permission: str
    is_down: bool = True
    shape: Callable[[Any], Any] | None = None
    #: What stands before any order, e.g. those who need care.
    first: Any = None
    #: The endpoint of its page, where forms at other addresses answer with the page again.
    home: str = ""

    @property
    def name(self) -> str:
        return self.path.strip("/").replace("/", "-")

    @property
    def endpoint(self) -> str:
        return f"{self.name.replace('-', '_')}_file"

    def page(self) -> Table:
        """The rows of this page, as the address asks; an unknown order falls back."""
        query = self.query()
        search = request.args.get("q", "")[:SEARCH_LETTERS]
        most = FOUND if search else COUNTED
        total = _count(query, most + 1)
        sort, down, ordered = self._ordered(query, is_long=total > most)
        pages = max(1, -(-min(total, most) // PAGE_ROWS))
        page = min(pages, max(1, request.args.get("page", 1, type=int) or 1))
        rows = db().execute(ordered.limit(PAGE_ROWS).offset((page - 1) * PAGE_ROWS)).all()
        return Table(
            name=self.name,
            rows=[self.shape(row) for row in rows] if self.shape else rows,
            columns=_chosen(self.name, self.columns),
            choices=self.columns,
            total=min(total, most),
            is_more=total > most,
            page=page,
            pages=pages,
            search=search,
            sort=sort,
            is_down=down,
            file=f"admin.{self.endpoint}" if may(self.permission) else "",
            file_method="get" if self.is_open else "post",
            home=self.home,
        )

    @property
    def is_open(self) -> bool:
        """A file without people in it: for whoever may read the page."""
        return self.permission.endswith(".read")

    def _ordered(self, query: Any, *, is_long: bool = False) -> tuple[str, bool, Any]:
        search = request.args.get("q", "")
        by_key = {
            column.key: column
            for column in self.columns
            if column.order is not None
            and (not is_long or column.is_quick_for(search) or column.key == self.default)
        }
        sort = request.args.get("sort", self.default)
        if sort not in by_key:
            sort = self.default
        down = request.args.get("down", "1" if self.is_down else "0") == "1"
        order = by_key[sort].order
        first = [] if self.first is None else [self.first]
        # Both directions walk the same index: the tie turns with the order.
        tie = self.tie if down == self.is_down else _turned(self.tie)
        return sort, down, query.order_by(*first, order.desc() if down else order.asc(), tie)

    def count_of_file(self) -> int:
        """How many rows the file will hold, if one file can."""
        return min(_count(self.query(), FILE_ROWS + 1), FILE_ROWS)

    def rows_of_file(self) -> Iterator[list[Any]]:
        """A heading and every row that the address finds, in its order. Refused
        `exports.too_many`: more than one file holds."""
        written = [column for column in self.columns if column.value is not None]
        yield [t(locale(), column.words) for column in written]
        _sort, _down, ordered = self._ordered(self.query())
        wanted = ordered.limit(FILE_ROWS + 1).execution_options(yield_per=FETCHED)
        with db().execute(wanted) as found:  # a refusal in the middle closes the cursor
            for place, row in enumerate(found):
                if place == FILE_ROWS:
                    raise Refused("exports.too_many", status=422, most=FILE_ROWS)
                shown = self.shape(row) if self.shape else row
                yield [_written(column, shown) for column in written]


def _count(query: Any, most: int) -> int:
    """How many rows there are, up to so many."""
    some = query.with_only_columns(literal_column("1"), maintain_column_froms=True)
    some = some.order_by(None).limit(most).subquery()
    return db().scalar(select(func.count()).select_from(some)) or 0


def _turned(tie: Any) -> Any:
    """The same order the other way round."""
    is_down = isinstance(tie, UnaryExpression)
    return tie.element.asc() if is_down else tie.desc()


def listed(listing: Listing) -> Listing:
    """Give a list its file: `GET <path>.csv|xlsx`, or with people in it `POST` and the password."""

    def found(told: progress.Told) -> list[list[Any]]:
        most = listing.count_of_file()
        rows: list[list[Any]] = []
        for row in listing.rows_of_file():
            if len(rows) % FETCHED == 0:
                told("progress.file", len(rows), most)
            rows.append(row)
        return rows

    def written_down(kind: str, count: int, day: str) -> None:
        facts = {"what": listing.name, "kind": kind, "rows": count}
        noted("exports.made", **facts, search=request.args.get("q", "")[:SEARCH_LETTERS])
        # The owner is told (AA5), once a day for each person and list.
        told_of = {"staff_id": g.staff.id, "list": listing.name, "rows": count}
        key = f"exports.made:{day}:{listing.name}:{g.staff.id}"
        alarms.raise_alarm(db(), key, "exports.made", told_of, runtime().clock.now())

    def taken(kind: str) -> Response:
        def work(told: progress.Told) -> Response:
            clock = runtime().clock
            day = local_day(clock.now(), clock.tz).isoformat()
            with opened(is_reading=True):
                rows = found(told)
            count = len(rows) - 1
            told("progress.writing_file", count, count)
            # Under no lock: a workbook of a hundred thousand rows takes its time.
            answer = spreadsheet(rows, f"taem-{listing.name}-{day}.{kind}")
            if not listing.is_open:  # nobody gets it before it is written down
                with opened():
                    written_down(kind, count, day)
            return answer

        return progress.shown(work)

    taken.__doc__ = f"The list {listing.name} as a file."
    view = outside(staff_only(listing.permission)(taken if listing.is_open else freshly(taken)))
    rule = f"{listing.path}.<any(csv, xlsx):kind>"
    methods = ["GET"] if listing.is_open else ["POST"]
    blueprint.add_url_rule(rule, listing.endpoint, view, methods=methods)
    return listing


def spreadsheet(rows: Sequence[Sequence[Any]], name: str) -> Response:
    """Rows to keep as CSV or XLSX, by the name's ending; no spreadsheet runs their cells."""
    kind = name.rpartition(".")[2]
    response = make_response(xlsx_bytes(rows) if kind == "xlsx" else csv_text(rows))
    response.headers["Content-Type"] = KINDS[kind]
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    response.headers["Cache-Control"] = "no-store"
    return response


def baht(satang: int) -> Decimal:
    """An amount as a figure that a spreadsheet adds up."""
    return Decimal(satang) / 100


def search_text() -> str:
    """What was searched for. Refuses NUL and over-long texts (FX08)."""
    text = request.args.get("q", "").strip()
    if len(text) > SEARCH_LETTERS or "\x00" in text:
        raise Invalid("errors.invalid_field", field="q")
    return text


def asked_day(name: str) -> date | None:
    """A day in the address; None when there is none, or nothing that is a day."""
    try:
        return date.fromisoformat(request.args.get(name, ""))
    except ValueError:
        return None


def found_in(query: Any, *columns: Any) -> Any:
    """Only rows that hold the searched words in one of these columns; all without any."""
    if text := search_text():
        like = f"%{escaped(text)}%"
        query = query.where(or_(*(column.ilike(like, escape="\\") for column in columns)))
    return query


def said(noun: str, find: Callable[[Any], Any]) -> Callable[[Any], str]:
    """The words of an enum's value: `said("stages", …)` of `Stage.NEW` is the text `stages.new`."""
    return lambda row: t(locale(), f"{noun}.{find(row).value}")


def _written(column: Column, row: Any) -> Any:
    """A value as a spreadsheet should hold it: figures as figures, moments on the shop's clock."""
    assert column.value is not None
    value = column.value(row)
    if value is None:
        return ""
    if column.kind == "money":
        return baht(value)
    if isinstance(value, datetime):
        return value.astimezone(runtime().clock.tz).replace(tzinfo=None, microsecond=0)
    return value if isinstance(value, (int, str, date)) else str(value)


# --- Which columns are shown ------------------------------------------------------------------


@blueprint.post("/columns")
@staff_only("dashboard.read")
def columns_choose() -> Response:
    """Remember in this browser which columns of a list are shown; none ticked shows all."""
    name = request.form.get("list", "")[:SEARCH_LETTERS]
    if not name.replace("-", "").replace("_", "").isalnum() or not name.isascii():
        raise Invalid("errors.invalid_field", field="list")
    kept = _kept()
    kept.pop(name, None)
    if wanted := [one for one in request.form.getlist("column")[:40] if one.isidentifier()]:
        kept[name] = wanted
    text = "~".join(".".join([list_name, *keys]) for list_name, keys in kept.items())
    while len(text) > COOKIE_LETTERS:  # the oldest choices go first
        text = text.partition("~")[2]
    query = urlencode(parse_qsl(request.form.get("query", "")[:2_000]))
    path = safe_next(request.form.get("next"))
    response = make_response(redirect(f"{path}?{query}" if query else path, code=303))
    set_cookie(response, runtime().settings, COOKIE, quote(text, safe="~.-"), YEAR_SECONDS)
    return response


def _kept() -> dict[str, list[str]]:
    text = unquote(read_cookie(runtime().settings, COOKIE) or "")[:COOKIE_LETTERS]
    parts = [one.split(".") for one in text.split("~") if "." in one]
    return {name: keys for name, *keys in parts}


def _chosen(name: str, columns: Sequence[Column]) -> Sequence[Column]:
    """The columns this browser wants; those without a heading (buttons) always."""
    wanted = set(_kept().get(name, ()))
    shown = [column for column in columns if column.key in wanted or not column.words]
    return shown if any(column.words for column in shown) else columns
