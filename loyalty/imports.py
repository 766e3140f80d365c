"""Members brought from elsewhere with their opening points: checked line by line, applied at once.

`read` looks at a list and says of every line whether it is new, known or wrong; it also seals what
is new, which takes time and needs no lock. `apply` writes all of it in set statements, whole or
not at all. A line is known by a keyed hash of the other system's id or of the phone, so the same
list a second time changes nothing.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from core import ids
from core.bulk import copy_many, is_one_text, take_ids
from core.clock import local_day, start_of_day
from core.crypto import Vault
from core.errors import Refused
from core.text import fit, match_key, parse_whole, western_digits
from loyalty import audit, earning, feed, members, personal, points, sheets, shop
from loyalty.birthdays import is_minor, parse_birthday, parse_day
from models.activities import Activity
from models.base import table_of
from models.imports import Import, ImportedMember, ImportState
from models.members import (
    Consent,
    Level,
    Member,
    MemberKey,
    MemberState,
    MemberTotals,
    Purpose,
    Stage,
    StageChange,
)
from models.points import EntryKind, LedgerEntry, Lot
from models.staff import Role, Staff

SOURCE = "import"
#: Consents were given under the other system's words.
TEXT_VERSION = "import"
KEY_PURPOSE = "imports.member"
CONTENT_PLACE = "imports.content"
#: One byte more than is accepted, so that a longer file is noticed.
MAX_READ = sheets.MAX_BYTES + 1
CHUNK = 2000
MAX_TROUBLES = 500
FILE_NAME_LETTERS = 200
MAX_OPENING = 10_000_000
FIRST_DAY = date(1990, 1, 1)
LAST_DAY = date(2100, 1, 1)
#: Column -> what people call it, as `match_key` folds it.
HEADINGS = {
    "name": ("name", "full name", "ชื่อ", "ชื่อ-นามสกุล", "ชื่อสมาชิก"),
    "phone": ("phone", "mobile", "tel", "เบอร์", "เบอร์โทร", "เบอร์โทรศัพท์", "โทรศัพท์", "มือถือ"),
    "birthday": ("birthday", "birth date", "date of birth", "วันเกิด"),
    "points": ("points", "balance", "แต้ม", "แต้มคงเหลือ", "คะแนน"),
    "points_expire_on": ("points_expire_on", "points expire on", "แต้มหมดอายุ", "วันหมดอายุแต้ม"),
    "external_id": ("external_id", "external id", "id", "member id", "รหัส", "รหัสสมาชิก", "รหัสเดิม"),
    "joined_on": ("joined_on", "joined on", "joined", "วันที่สมัคร", "สมัครเมื่อ"),
    "consent": ("consent", "ยินยอม", "ความยินยอม"),
    "marketing": ("marketing", "marketing consent", "รับข่าว", "รับข่าวสาร"),
}
_YES = frozenset("yes y 1 true x ✓ ใช่ ยินยอม ตกลง".split())
_NO = frozenset(["", "no", "n", "0", "false", "-", "ไม่", "ไม่ใช่", "ไม่ยินยอม"])
_BY_HEADING = {match_key(word): name for name, words in HEADINGS.items() for word in words}


@dataclass(frozen=True)
class Trouble:
    """A line that cannot be taken: which field, and why (a locale key)."""

    line: int
    field: str
    code: str


@dataclass(frozen=True)
class Person:
    """A line that can be taken."""

    line: int
    #: Keyed hashes under every active key, the newest first: a line is known under old ones too.
    known_by: tuple[str, ...]
    name: str
    phone: str | None
    phone_known_by: tuple[str, ...]
    birthday: date | None
    points: int
    points_expire_on: date | None
    joined_on: date | None
    wants_marketing: bool

    @property
    def key(self) -> str:
        """What is stored of the line."""
        return self.known_by[0]

    @property
    def phone_index(self) -> str | None:
        """What is stored of the phone."""
        return next(iter(self.phone_known_by), None)


@dataclass
class Reading:
    """What a list would do."""

    digest: str
    new: list[Person] = field(default_factory=list)
    known: int = 0
    troubles: list[Trouble] = field(default_factory=list)

    @property
    def counts(self) -> dict[str, int]:
        """Figures of the report."""
        return {
            "new": len(self.new),
            "known": self.known,
            "wrong": len(self.troubles),
            "points": sum(person.points for person in self.new),
        }


class _Wrong(Exception):
    def __init__(self, field_name: str, code: str) -> None:
        self.field, self.code = field_name, code
        super().__init__(code)


# --- Reading ------------------------------------------------------------------------------------


def read(
    session: Session,
    vault: Vault,
    content: bytes,
    today: date,
    *,
    told: Callable[[int], None] = lambda _lines: None,
) -> Reading:
    """Look at a list: new, known and wrong lines; `told` of each so many. Writes nothing.

    Raises Refused when it cannot be read at all: `imports.unreadable`, `imports.too_large`,
    `imports.too_many`, `imports.unknown_column`, `imports.no_key_column`, `imports.empty`.
    """
    reading = Reading(hashlib.sha256(content).hexdigest())
    rows = sheets.rows_of(content)
    columns = _columns(next(rows, (1, ()))[1])
    seen: dict[str, int] = {}
    batch: list[Person] = []
    for line, cells in rows:
        if line % CHUNK == 2:  # the first one holds the headings
            told(line - 2)
        try:
            person = _person(vault, line, dict(zip(columns, cells, strict=False)), today)
            for one in {person.key, person.phone_index} - {None}:
                if seen.setdefault(str(one), line) != line:
                    raise _Wrong("phone" if one == person.phone_index else "external_id", "twice")
        except _Wrong as wrong:
            reading.troubles.append(Trouble(line, wrong.field, wrong.code))
            continue
        batch.append(person)
        if len(batch) >= CHUNK:
            _sort_out(session, batch, reading)
            batch = []
    _sort_out(session, batch, reading)
    reading.troubles.sort(key=lambda trouble: trouble.line)
    if not reading.new and not reading.known and not reading.troubles:
        raise Refused("imports.empty", status=422)
    return reading


def _columns(cells: Sequence[str]) -> list[str]:
    found = []
    for cell in cells:
        name = _BY_HEADING.get(match_key(cell), "") if cell else ""
        if cell and not name:
            raise Refused("imports.unknown_column", status=422, column=cell[:40])
        if name and name in found:
            raise Refused("imports.column_twice", status=422, column=cell[:40])
        found.append(name)
    if not {"phone", "external_id"} & {*found}:
        raise Refused("imports.no_key_column", status=422)
    return found


def _person(vault: Vault, line: int, cells: dict[str, str], today: date) -> Person:
    phone = _phone(cells.get("phone", ""))
    external = match_key(western_digits(cells.get("external_id", "")))
    if not phone and not external:
        raise _Wrong("phone", "no_key")
    if _yes_no(cells, "consent") is not True:
        raise _Wrong("consent", "no_consent")
    birthday = None
    if text := cells.get("birthday", ""):
        birthday = parse_birthday(text, today)
        if birthday is None:
            raise _Wrong("birthday", "bad_day")
    opening = 0
    if text := cells.get("points", "").replace(",", ""):
        whole = parse_whole(text)
        if whole is None or whole > MAX_OPENING:
            raise _Wrong("points", "bad_number")
        opening = whole
    expire_on = _day(cells, "points_expire_on")
    if expire_on is not None and expire_on < today:
        raise _Wrong("points_expire_on", "past")
    joined_on = _day(cells, "joined_on")
    if joined_on is not None and joined_on > today:
        raise _Wrong("joined_on", "future")
    name = f"id:{external}" if external else f"phone:{phone}"
    return Person(
        line=line,
        known_by=(*vault.blind_indexes(KEY_PURPOSE, name),),
        name=members.fit_name(cells.get("name", "")),
        phone=phone,
        phone_known_by=(*personal.phone_indexes(vault, phone),) if phone else (),
        birthday=birthday,
        points=opening,
        points_expire_on=expire_on,
        joined_on=joined_on,
        wants_marketing=_yes_no(cells, "marketing") is True,
    )


def _phone(text: str) -> str | None:
    if not text:
        return None
    if len(text) == 9 and text.isascii() and text.isdigit():  # a spreadsheet ate the zero
        text = f"0{text}"
    e164 = members.parse_phone(text)
    if e164 is None:
        raise _Wrong("phone", "bad_phone")
    return e164


def _day(cells: dict[str, str], name: str) -> date | None:
    text = cells.get(name, "")
    if not text:
        return None
    day = parse_day(text)
    if day is None or not FIRST_DAY <= day <= LAST_DAY:
        raise _Wrong(name, "bad_day")
    return day


def _yes_no(cells: dict[str, str], name: str) -> bool:
    text = match_key(western_digits(cells.get(name, "")))
    if text in _YES:
        return True
    if text not in _NO:
        raise _Wrong(name, "yes_or_no")
    return False


def _sort_out(session: Session, batch: list[Person], reading: Reading) -> None:
    """Which of these are here already: by their key, or by a phone that somebody has proven."""
    if not batch:
        return
    known = _known_keys(session, batch)
    indexes = [index for person in batch for index in person.phone_known_by]
    taken = set(
        session.scalars(
            select(Member.phone_index).where(
                is_one_text(session, Member.phone_index, indexes),
                Member.phone_proven_at.is_not(None),
            )
        )
    )
    for person in batch:
        if not known.isdisjoint(person.known_by):
            reading.known += 1
        elif not taken.isdisjoint(person.phone_known_by):
            reading.troubles.append(Trouble(person.line, "phone", "phone_taken"))
        else:
            reading.new.append(person)


def _known_keys(session: Session, people: Sequence[Person]) -> set[str]:
    keys = [key for person in people for key in person.known_by]
    return set(
        session.scalars(
            select(ImportedMember.external_key).where(
                is_one_text(session, ImportedMember.external_key, keys)
            )
        )
    )


# --- Keeping until somebody decides ---------------------------------------------------------------


def keep(
    session: Session,
    vault: Vault,
    content: bytes,
    reading: Reading,
    staff_id: int,
    now: datetime,
    *,
    file_name: str | None = None,
) -> Import:
    """Keep a checked list, sealed, until it is applied or dropped."""
    made = Import(
        public_id=ids.public_id(),
        digest=reading.digest,
        file_name=fit(file_name or "", FILE_NAME_LETTERS, FILE_NAME_LETTERS) or None,
        content_sealed=vault.seal(CONTENT_PLACE, content),
        counts=reading.counts,
        troubles=_as_rows(reading),
        staff_id=staff_id,
        created_at=now,
    )
    session.add(made)
    session.flush()  # the audit row names it
    audit.record(session, f"staff:{staff_id}", "imports.checked", _audited(made), now)
    return made


def _as_rows(reading: Reading) -> list[list[Any]]:
    return [[one.line, one.code, one.field] for one in reading.troubles[:MAX_TROUBLES]]


def _audited(one: Import) -> dict[str, Any]:
    return {"import": one.id, **{name: one.counts.get(name, 0) for name in ("new", "wrong")}}


def content_of(vault: Vault, kept: Import) -> bytes:
    """The list that was kept. Raises Refused once it is decided."""
    if kept.content_sealed is None:
        raise Refused("imports.decided")
    return vault.unseal(CONTENT_PLACE, kept.content_sealed)


def needs_another(kept: Import, opening: int, staff: Staff) -> bool:
    """Whether somebody else must apply this list: opening points are points by hand (P8), so that
    only the owner gives them alone."""
    return opening > 0 and kept.staff_id == staff.id and staff.role != Role.OWNER


def drop(session: Session, kept: Import, now: datetime, actor: str) -> None:
    """Throw a list away. Raises Refused once it is decided."""
    _decide(session, kept.id, ImportState.DROPPED, now)
    audit.record(session, actor, "imports.dropped", _audited(kept), now)


def forget(session: Session, cutoff: datetime, limit: int) -> int:
    """Drop lists from before this moment that nobody decided about; returns how many."""
    old = (
        select(Import.id)
        .where(Import.state == ImportState.CHECKED, Import.created_at < cutoff)
        .limit(limit)
    )
    gone = session.execute(
        update(Import)
        .where(Import.id.in_(old))
        .values(state=ImportState.DROPPED, content_sealed=None)
        .returning(Import.id)
    )
    return len(gone.all())


def _decide(session: Session, import_id: int, state: ImportState, now: datetime) -> None:
    done = session.execute(
        update(Import)
        .where(Import.id == import_id, Import.state == ImportState.CHECKED)
        .values(state=state, content_sealed=None, applied_at=now)
        .returning(Import.id)
    ).first()
    if done is None:
        raise Refused("imports.decided")


# --- Applying -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Applied:
    """What an import has done."""

    new: int
    known: int
    points: int


@dataclass(frozen=True)
class _Sealed:
    """A person ready to be written: rows without the ids that only the database gives."""

    person: Person
    member: dict[str, Any]
    wrapped: bytes


def seal(
    vault: Vault,
    reading: Reading,
    *,
    locale: str,
    now: datetime,
    tz: ZoneInfo,
    told: Callable[[int], None] = lambda _done: None,
) -> list[_Sealed]:
    """Seal what is new, before any lock is taken; `told` of each so many."""
    sealed: list[_Sealed] = []
    for person in reading.new:
        if len(sealed) % CHUNK == 0:
            told(len(sealed))
        public_id = ids.public_id()
        wrapped = vault.new_member_key(public_id)
        joined_at = start_of_day(person.joined_on, tz) if person.joined_on else now
        row: dict[str, Any] = {
            "public_id": public_id,
            "state": MemberState.MEMBER,
            "created_at": now,
            "joined_at": joined_at,
            "name": person.name or None,
            "locale": locale,
            "is_following": False,
            "is_test": False,
            "phone_sealed": None,
            "phone_index": person.phone_index,
            "phone_last4_index": None,
            "phone_proven_at": None,
            "phone_proven_by": None,
            "birthday_sealed": None,
            "birthday_index": None,
        }
        if person.phone:
            row |= {
                "phone_sealed": vault.encrypt(
                    wrapped, public_id, personal.PHONE_FIELD, person.phone
                ),
                "phone_last4_index": vault.blind_index(
                    personal.PHONE_LAST4_PURPOSE, person.phone[-4:]
                ),
                "phone_proven_at": now,
                "phone_proven_by": SOURCE,
            }
        if born := person.birthday:
            text = born.isoformat()
            row |= {
                "birthday_sealed": vault.encrypt(wrapped, public_id, personal.BIRTHDAY_FIELD, text),
                "birthday_index": personal.birthday_index(vault, born.month, born.day),
            }
        sealed.append(_Sealed(person, row, wrapped))
    return sealed


def apply(
    session: Session,
    reading: Reading,
    sealed: Sequence[_Sealed],
    *,
    now: datetime,
    tz: ZoneInfo,
    actor: str,
    staff_id: int | None = None,
    kept: Import | None = None,
    good_only: bool = False,
    told: Callable[[int], None] = lambda _done: None,
) -> Applied:
    """Write every new line, whole or not at all; the same list once more changes nothing. `told`
    of each so many.

    Raises Refused: `imports.has_wrong` (fact `count`) unless `good_only`, `imports.decided`.
    """
    if reading.troubles and not good_only:
        raise Refused("imports.has_wrong", count=len(reading.troubles))
    if kept is not None:
        _decide(session, kept.id, ImportState.APPLIED, now)
        import_id = kept.id
    else:
        import_id = _write_import(session, reading, staff_id, now)
    writer = _Writer(session, import_id, staff_id, now, tz)
    done = known = opening = 0
    for start in range(0, len(sealed), CHUNK):
        chunk = list(sealed[start : start + CHUNK])
        # Somebody may have brought the same people in while this list was being read.
        here = _known_keys(session, [one.person for one in chunk])
        left = [one for one in chunk if here.isdisjoint(one.person.known_by)]
        known += len(chunk) - len(left)
        opening += sum(one.person.points for one in left)
        done += len(left)
        writer.write(left)
        told(start + CHUNK)
    audit.record(
        session,
        actor,
        "imports.applied",
        {"import": import_id, "members": done, "points": opening},
        now,
    )
    return Applied(done, reading.known + known, opening)


def _write_import(session: Session, reading: Reading, staff_id: int | None, now: datetime) -> int:
    made = Import(
        public_id=ids.public_id(),
        state=ImportState.APPLIED,
        digest=reading.digest,
        counts=reading.counts,
        troubles=_as_rows(reading),
        staff_id=staff_id,
        created_at=now,
        applied_at=now,
    )
    session.add(made)
    session.flush()  # rows below name it
    return made.id


class _Writer:
    """Writes people chunk by chunk: one statement, or one COPY, for each table."""

    def __init__(
        self, session: Session, import_id: int, staff_id: int | None, now: datetime, tz: ZoneInfo
    ) -> None:
        self.session = session
        self.import_id = import_id
        self.staff_id = staff_id
        self.now = now
        self.tz = tz
        self.today = local_day(now, tz)
        policy = points.policy_for(session, self.today)
        self.usual_end = earning.expires_at(policy, self.today, tz)
        self.grown_up = int(shop.get(session, "members.guardian_age"))

    def write(self, chunk: Sequence[_Sealed]) -> None:
        """Write these people with everything that is theirs."""
        if not chunk:
            return
        member_ids = take_ids(self.session, table_of(Member), len(chunk))
        numbers, codes = self._free_numbers(len(chunk)), self._free_codes(len(chunk))
        rows = list(zip(chunk, member_ids, numbers, strict=True))
        self._put(
            Member,
            [
                {"id": n, "member_no": no, "referral_code": code, **one.member}
                for (one, n, no), code in zip(rows, codes, strict=True)
            ],
        )
        self._put(
            MemberKey,
            [
                {"member_id": n, "wrapped": one.wrapped, "created_at": self.now}
                for one, n, _ in rows
            ],
        )
        self._put(MemberTotals, [self._totals(one, n) for one, n, _ in rows])
        self._put(Consent, [row for one, n, _ in rows for row in self._consents(one, n)])
        self._put(
            ImportedMember,
            [
                {"external_key": one.person.key, "member_id": n, "import_id": self.import_id}
                for one, n, _ in rows
            ],
        )
        self._put_points([(one, n) for one, n, _ in rows if one.person.points])
        self._tell(rows)

    def _put(self, model: Any, rows: list[dict[str, Any]]) -> None:
        copy_many(self.session, table_of(model), rows)

    def _totals(self, one: _Sealed, member_id: int) -> dict[str, Any]:
        return {
            "member_id": member_id,
            "balance": one.person.points,
            "debt": 0,
            "carry_satang": 0,
            "earned_total": one.person.points,
            "purchase_count": 0,
            "spent_satang": 0,
            "purchase_days": [],
            "purchase_day_count": 0,
            "stage": Stage.CONSIDERATION,
            "stage_at": self.now,
            "level": Level.TARGET,
            "level_at": self.now,
            "level_why": {},
        }

    def _consents(self, one: _Sealed, member_id: int) -> Iterator[dict[str, Any]]:
        person = one.person
        given = {Purpose.MEMBERSHIP: True, Purpose.BIRTHDAY: person.birthday is not None}
        is_young = person.birthday is not None and is_minor(
            person.birthday, self.today, self.grown_up
        )
        given[Purpose.MARKETING] = person.wants_marketing and not is_young
        for purpose, is_given in given.items():
            if is_given:
                yield {
                    "member_id": member_id,
                    "purpose": purpose,
                    "text_version": TEXT_VERSION,
                    "given_at": one.member["joined_at"],
                    "channel": SOURCE,
                }

    def _put_points(self, rows: Sequence[tuple[_Sealed, int]]) -> None:
        """Opening points: an entry and a lot of their own each, with their own end (P4)."""
        entry_ids = take_ids(self.session, table_of(LedgerEntry), len(rows)) if rows else []
        self._put(
            LedgerEntry,
            [
                {
                    "id": entry_id,
                    "member_id": member_id,
                    "kind": EntryKind.ADJUST,
                    "points": one.person.points,
                    "source": SOURCE,
                    "source_id": one.person.key,
                    "created_at": self.now,
                    "effective_at": self.now,
                    "reason": SOURCE,
                    "staff_id": self.staff_id,
                    "facts": {},
                }
                for (one, member_id), entry_id in zip(rows, entry_ids, strict=True)
            ],
        )
        self._put(
            Lot,
            [
                {
                    "member_id": member_id,
                    "entry_id": entry_id,
                    "points": one.person.points,
                    "remaining": one.person.points,
                    "earned_at": self.now,
                    "expires_at": self._end(one.person),
                }
                for (one, member_id), entry_id in zip(rows, entry_ids, strict=True)
            ],
        )

    def _end(self, person: Person) -> datetime | None:
        if person.points_expire_on is None:
            return self.usual_end
        return start_of_day(person.points_expire_on + timedelta(days=1), self.tz)

    def _tell(self, rows: Sequence[tuple[_Sealed, int, str]]) -> None:
        """The timeline and the feed; nobody here has LINE, so there is nobody to greet."""
        facts = {"source": SOURCE, "channel": SOURCE}
        self._put(
            Activity,
            [
                {
                    "member_id": n,
                    "kind": "members.joined",
                    "at": self.now,
                    "facts": facts,
                    "key": f"members.joined:{n}",
                }
                for _, n, _ in rows
            ],
        )
        self._put(
            StageChange,
            [
                {
                    "member_id": n,
                    "field": "stage",
                    "before": None,
                    "after": Stage.CONSIDERATION.value,
                    "why": {},
                    "at": self.now,
                }
                for _, n, _ in rows
            ],
        )
        feed.write(
            self.session,
            [
                (
                    "members.joined",
                    self.now,
                    {"member_no": number, "points": one.person.points, **facts},
                )
                for one, _, number in rows
            ],
        )

    def _free_numbers(self, count: int) -> list[str]:
        return self._free(count, ids.member_number, Member.member_no)

    def _free_codes(self, count: int) -> list[str]:
        return self._free(
            count, lambda: ids.typed_code(members.REFERRAL_LENGTH), Member.referral_code
        )

    def _free(self, count: int, make: Any, column: Any) -> list[str]:
        """Random names that nobody has; a few are drawn again where chance repeats itself."""
        found: dict[str, None] = {}
        while len(found) < count:
            fresh = [make() for _ in range(count - len(found))]
            known = select(column).where(is_one_text(self.session, column, fresh))
            taken = set(self.session.scalars(known))
            found.update(dict.fromkeys(name for name in fresh if name not in taken))
        return list(found)


def report(reading: Reading) -> Counter[str]:
    """How many lines are wrong for which reason."""
    return Counter(f"{trouble.field}:{trouble.code}" for trouble in reading.troubles)
