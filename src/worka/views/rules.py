"""Pure decisions of views: what a document may hold."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlsplit

from worka.views.errors import DocumentInvalid

MAX_TEXT: Final = 1_048_576
MAX_LINKS: Final = 50


def document(text: str, format: str, links: dict[str, Any]) -> dict[str, Any]:
    """The document as it is stored. Characters that no text can hold become U+FFFD. Raises DocumentInvalid."""
    clean = text.encode("utf-8", "replace").decode().replace("\x00", "\ufffd")
    if len(clean.encode()) > MAX_TEXT:
        raise DocumentInvalid(f"The text has more than {MAX_TEXT} bytes.")
    if len(links) > MAX_LINKS:
        raise DocumentInvalid(f"The document has more than {MAX_LINKS} links.")
    kept = {str(name)[:100]: str(target)[:2000] for name, target in links.items() if _is_link(target)}
    return {"format": format, "text": clean, "untrusted": True, "links": kept}


def _is_link(target: Any) -> bool:
    """Only addresses that a browser opens as pages: never script or data."""
    try:
        return (
            isinstance(target, str) and urlsplit(target).scheme in ("http", "https") and bool(urlsplit(target).netloc)
        )
    except ValueError:
        return False
