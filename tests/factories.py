"""The cast of every test, and rows they need around them.

Somchai is an active member, Malee a new one, Anan has blocked the account, Nok stands at the
till, Prem owns the shop. Rows are made directly: a test of a rule calls the rule itself.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from config import Settings
from core.crypto import Vault
from core.ids import check_digit
from models.coupons import Coupon, CouponKind, CouponState, Obtained
from models.members import (
    Consent,
    Level,
    Member,
    MemberKey,
    MemberState,
    MemberTotals,
    Purpose,
    Stage,
)
from models.points import EarnPolicy
from models.staff import Branch, Cashier, Device, Role, Staff
from models.stamps import StampPrize, StampProgram
from tests.moments import NOW

SECRET_KEY = "k7Q2mX9vB4tR8wZ1nL6cF3hJ5pD0sGyA-tests-only"  # gitleaks:allow
DATA_KEY = "d8W3nY0zC5uS9xV2oM7bG4jK6qE1tHaB-tests-only"  # gitleaks:allow
INDEX_KEY = "i9E4pZ1aD6vT0yU3rN8xH5kL7wF2sJcQ-tests-only"  # gitleaks:allow
CHANNEL_SECRET = "0123456789abcdef0123456789abcdef"
CHANNEL_TOKEN = "channel-access-token-of-the-tests"


def make_settings(database_url: str, **more: Any) -> Settings:
    """Settings that hear neither the environment's `.env` nor any default secret."""
    values = {
        "database_url": database_url,
        "secret_key": SECRET_KEY,
        "data_key": DATA_KEY,
        "index_key": INDEX_KEY,
        "line_channel_secret": CHANNEL_SECRET,
        "line_channel_access_token": CHANNEL_TOKEN,
        "line_api_url": "http://127.0.0.1:9",  # the discard port: nobody answers
        "line_api_data_url": "http://127.0.0.1:9",
    }
    return Settings(_env_file=None, **(values | more))  # type: ignore[call-arg]


def environment(settings: Settings) -> dict[str, str]:
    """The same settings as variables, for a process of its own."""
    values = settings.model_dump(exclude_defaults=True)
    return {
        name.upper(): ",".join(value) if isinstance(value, tuple) else str(value)
        for name, value in values.items()
    }


def line_id(name: str) -> str:
    """A LINE user id that shows whose it is: U and 32 hex digits."""
    return "U" + name.encode().hex()[:32].ljust(32, "0")


def make_member(
    session: Session,
    name: str,
    *,
    state: MemberState = MemberState.MEMBER,
    is_following: bool = True,
    locale: str = "th",
    now: datetime = NOW,
    vault: Vault | None = None,
    marketing: bool = True,
    **more: Any,
) -> Member:
    """A person with totals and consents; with `vault`, with a key of their own too."""
    count = session.scalar(select(func.count()).select_from(Member)) or 0
    digits = f"{count + 10_000_001:08d}"
    is_member = state == MemberState.MEMBER
    member = Member(
        public_id=f"{count + 1:032x}",
        state=state,
        line_user_id=more.pop("line_user_id", line_id(name)),
        member_no=digits + check_digit(digits) if is_member else None,
        created_at=more.pop("created_at", now),
        joined_at=more.pop("joined_at", now) if is_member else None,
        name=name if is_member else None,
        line_name=name,
        locale=locale,
        is_following=is_following,
        follow_decided_at=now,
        followed_at=now,
        **more,
    )
    member.totals = MemberTotals(
        stage=Stage.CONSIDERATION if is_member else Stage.AWARENESS,
        stage_at=now,
        level=Level.TARGET,
        level_at=now,
    )
    session.add(member)
    session.flush()  # rows below need its id
    if is_member:
        purposes = [Purpose.MEMBERSHIP] + ([Purpose.MARKETING] if marketing else [])
        session.add_all(
            Consent(
                member_id=member.id, purpose=purpose, text_version="1", given_at=now, channel="chat"
            )
            for purpose in purposes
        )
    if vault is not None:
        wrapped = vault.new_member_key(member.public_id)
        session.add(MemberKey(member_id=member.id, wrapped=wrapped, created_at=now))
    session.flush()  # so that plain SQL of a test sees them
    return member


def somchai(session: Session, *, now: datetime = NOW, **more: Any) -> Member:
    """An active member: joined half a year ago."""
    long_ago = now - timedelta(days=180)
    return make_member(session, "สมชาย", now=now, joined_at=long_ago, created_at=long_ago, **more)


def malee(session: Session, **more: Any) -> Member:
    """A member of a minute ago, who prefers English."""
    return make_member(session, "Malee", **({"locale": "en"} | more))


def anan(session: Session, **more: Any) -> Member:
    """A member who has blocked the account."""
    return make_member(session, "อนันต์", is_following=False, **more)


def friend(session: Session, name: str = "น้ำหวาน", **more: Any) -> Member:
    """Somebody who follows the account and has not joined."""
    return make_member(session, name, state=MemberState.FRIEND, **more)


def make_branch(session: Session, code: str = "siam", **more: Any) -> Branch:
    """The branch of this code; made once."""
    branch = session.scalar(select(Branch).where(Branch.code == code))
    if branch is None:
        names = {"name_th": "สยาม", "name_en": "Siam"} | more
        branch = Branch(code=code, **names)
        session.add(branch)
        session.flush()
    return branch


def nok(session: Session, *, branch: Branch | None = None, pin_hash: str = "!") -> Cashier:
    """The cashier; `pin_hash` opens for nobody unless the test gives a real one."""
    branch = branch or make_branch(session)
    cashier = Cashier(name="นก", branch_id=branch.id, pin_hash=pin_hash, created_at=NOW)
    session.add(cashier)
    session.flush()
    return cashier


def make_device(
    session: Session, *, branch: Branch | None = None, token_hash: str = "till-1"
) -> Device:
    """An enrolled till."""
    branch = branch or make_branch(session)
    device = Device(name="เคาน์เตอร์ 1", branch_id=branch.id, token_hash=token_hash, enrolled_at=NOW)
    session.add(device)
    session.flush()
    return device


def prem(session: Session, **more: Any) -> Staff:
    """The owner of the shop."""
    values = {"email": "prem@taem.example", "name": "เปรม", "role": Role.OWNER, "created_at": NOW}
    staff = Staff(**(values | more))
    session.add(staff)
    session.flush()
    return staff


def make_coupon(session: Session, key: str = "welcome", **more: Any) -> Coupon:
    """A live offer: 20 baht off for a claim, unless told otherwise."""
    values = {
        "kind": CouponKind.BAHT_OFF,
        "state": CouponState.LIVE,
        "obtained": Obtained.CLAIM,
        "name_th": "ลด 20 บาท",
        "name_en": "20 baht off",
        "value_satang": 2000,
        "valid_days": 30,
        "created_at": NOW,
    }
    coupon = Coupon(key=key, **(values | more))
    session.add(coupon)
    session.flush()
    return coupon


def make_policy(session: Session, **more: Any) -> EarnPolicy:
    """One point for each 25 baht with carry, from long ago."""
    values = {"valid_from": (NOW - timedelta(days=3650)).date()}
    policy = EarnPolicy(**(values | more))
    session.add(policy)
    session.flush()
    return policy


def make_stamp_program(
    session: Session, *, size: int = 10, prize: Coupon | None = None, **more: Any
) -> StampProgram:
    """A current programme, one stamp a visit; `prize` is issued when a card is full."""
    values = {"key": "coffee", "name_th": "กาแฟ", "name_en": "Coffee"}
    program = StampProgram(size=size, **(values | more))
    session.add(program)
    session.flush()
    if prize is not None:
        session.add(StampPrize(program_id=program.id, at_stamp=size, coupon_id=prize.id))
        session.flush()
    return program
