"""The playground: one page with its style and script inside, so that it loads nothing from anywhere."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources

HEADERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-cache"}


def playground() -> tuple[str, dict[str, str]]:
    """The page and its headers, whose policy lets nothing run but the page's own style and script."""
    folder = resources.files("serve").joinpath("playground")
    page, style, script = (folder.joinpath(n).read_text("utf-8") for n in ("index.html", "style.css", "script.js"))
    whole = page.replace("<style></style>", f"<style>{style}</style>")
    whole = whole.replace("<script></script>", f"<script>{script}</script>")
    policy = (
        f"default-src 'none'; style-src '{digest(style)}'; script-src '{digest(script)}'; "
        "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return whole, {**HEADERS, "Content-Security-Policy": policy}


def digest(text: str) -> str:
    """How a content security policy names an inline element."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
