"""What a scanned QR opens: the till on an open till, a sentence for everybody else (C6).

Looking neither holds nor uses anything.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from flask import redirect, render_template

from web.auth import public
from web.cashier import door
from web.ground import db
from web.liff.ground import blueprint, shop_name


@blueprint.get("/s/<code>")
@public
def scanned(code: str) -> Any:
    """A till with an open PIN goes on with the code; anyone else is asked to show it to the staff."""
    till = door.lands_here()
    if till is not None:
        return redirect(f"{till}#{quote(code)}")
    return render_template("member/show_staff.html", shop_name=shop_name(db()))
