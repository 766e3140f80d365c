"""The people at the tills: who works where, their PINs, and what is theirs alone (AK1, AK5, AA7)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flask import abort, g, render_template, request
from sqlalchemy import select

from core.errors import Refused
from core.i18n import t
from core.text import western_digits
from loyalty import members, people, undoing
from models.members import Member
from models.staff import Branch, Cashier, Staff
from web.admin import forms
from web.admin.ground import back, blueprint, may
from web.admin.tables import Column, Listing, found_in, listed
from web.admin.tills import actor, branch_name, branches, chosen_branch, mine, refuse_unless_mine
from web.admin.tills import refused as _answer
from web.auth import staff_only
from web.ground import db, locale, runtime


@dataclass(frozen=True)
class Line:
    """A cashier with their branch and their own membership's number."""

    cashier: Cashier
    branch: Branch
    member_no: str | None

    @property
    def is_locked(self) -> bool:
        """Whether wrong PINs keep them out at this moment."""
        until = self.cashier.locked_until
        return until is not None and until > runtime().clock.real_now()

    @property
    def is_manager(self) -> bool:
        """Whether their PIN approves."""
        return undoing.is_manager(db(), self.cashier.id)

    @property
    def state(self) -> str:
        """What the list says of them, as a key of texts."""
        if not self.cashier.is_active:
            return "tills.left"
        return "tills.locked" if self.is_locked else "tills.works"


CASHIERS = listed(
    Listing(
        "/tills/cashiers",
        (
            Column("name", "console.name", Cashier.name, lambda line: line.cashier.name),
            Column("branch", "console.branch", Branch.name_th,
                   lambda line: branch_name(line.branch)),
            Column("rights", "tills.rights", None,
                   lambda line: t(locale(), "tills.manager" if line.is_manager
                                  else "tills.role_cashier")),
            Column("state", "console.state", Cashier.is_active,
                   lambda line: t(locale(), line.state)),
            Column("member", "tills.own_number", Member.member_no,
                   lambda line: line.member_no, "mono"),
            Column("since", "console.made_at", Cashier.created_at,
                   lambda line: line.cashier.created_at, "moment"),
            Column("acts", ""),
        ),
        lambda: found_in(
            select(Cashier, Branch, Member.member_no)
            .join(Branch, Branch.id == Cashier.branch_id)
            .outerjoin(Member, Member.id == Cashier.member_id)
            .where(mine(Cashier.branch_id)),
            Cashier.name, Branch.name_th, Branch.name_en, Branch.code,
        ),
        "name",
        Cashier.id,
        "lists.export",
        is_down=False,
        shape=lambda row: Line(*row),
        first=Cashier.is_active.desc(),
        home="admin.cashiers_page",
    )
)  # fmt: skip


@blueprint.get("/tills/cashiers")
@staff_only("tills.read")
def cashiers_page() -> str:
    """Everybody at the tills, those who work here first."""
    return _page()


def _page(*, refusal: str = "", secret: dict[str, str] | None = None) -> str:
    return render_template(
        "admin/cashiers.html",
        table=CASHIERS.page(),
        branches=branches(),
        refusal=refusal,
        secret=secret,
        team=db().scalars(select(Staff).order_by(Staff.name, Staff.id)).all(),
        is_theirs=_is_theirs,
        seen=lambda cashier: forms.mark_of(_shown(cashier)),
    )


@blueprint.post("/tills/cashiers")
@staff_only("tills.edit")
def cashier_add() -> Any:
    """Add a cashier; the PIN is shown here and never again."""
    try:
        name = forms.words("name", "console.name")
        pin = people.add_cashier(
            db(),
            name,
            chosen_branch().code,
            now=runtime().clock.real_now(),
            actor=actor(),
            is_manager=request.form.get("is_manager") == "1",
        )
    except Refused as error:
        return _answer(_page, error)
    return _pin_page(name, pin)


@blueprint.post("/tills/cashiers/<int:cashier_id>")
@staff_only("tills.edit")
def cashier_save(cashier_id: int) -> Any:
    """Name, branch, manager's PIN, own membership, account of the console, dismissal."""
    cashier = _cashier(cashier_id)
    try:
        forms.refuse_if_changed(_shown(cashier))
        people.change_cashier(
            db(),
            cashier,
            name=forms.words("name", "console.name"),
            branch_id=chosen_branch(cashier.branch_id).id,
            is_manager=request.form.get("is_manager") == "1",
            is_active=request.form.get("is_active") == "1",
            member_id=cashier.member_id if _is_theirs(cashier) else _member_id(),
            staff_id=_staff_id() if may("staff.edit") else cashier.staff_id,
            now=runtime().clock.real_now(),
            actor=actor(),
        )
    except Refused as error:
        return _answer(_page, error)
    return back("admin.cashiers_page", note="console.saved")


@blueprint.post("/tills/cashiers/<int:cashier_id>/pin")
@staff_only("tills.edit")
def cashier_pin(cashier_id: int) -> Any:
    """A new PIN, shown once; or only the end of a lock."""
    cashier = _cashier(cashier_id)
    real = runtime().clock.real_now()
    if request.form.get("act") == "unlock":
        people.unlock(db(), cashier, now=real, actor=actor())
        return back("admin.cashiers_page", note="console.saved")
    return _pin_page(cashier.name, people.reset_pin(db(), cashier, now=real, actor=actor()))


def _pin_page(name: str, pin: str) -> str:
    title = t(locale(), "tills.pin_title", name=name)
    return _page(secret={"title": title, "body": t(locale(), "tills.pin_body"), "pin": pin})


def _cashier(cashier_id: int) -> Cashier:
    cashier = db().get(Cashier, cashier_id, with_for_update=True)
    if cashier is None:
        abort(404)
    refuse_unless_mine(cashier.branch_id)
    return cashier


def _shown(cashier: Cashier) -> dict[str, Any]:
    """What the form of a cashier holds."""
    columns = ("name", "branch_id", "staff_id", "member_id", "is_manager", "is_active")
    return {name: getattr(cashier, name) for name in columns}


def _member_id() -> int | None:
    """The cashier's own membership, by its number: their own till refuses it."""
    number = "".join(western_digits(request.form.get("member_no", "")[:40]).split())
    return members.of_number(db(), number).id if number else None


def _staff_id() -> int | None:
    """Which account of the console the cashier is: nobody gives what is theirs in either place."""
    team = {str(one): one for one in db().scalars(select(Staff.id))}
    return team.get(forms.choice("staff", "tills.console_account", ["", *team]))


def _is_theirs(cashier: Cashier) -> bool:
    """Whether it is the PIN of the one signed in: only the owner says which membership is theirs."""
    return cashier.staff_id == g.staff.id and not may("staff.edit")
