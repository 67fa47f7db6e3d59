"""Masks secrets in whatever is about to be stored, logged or shown. Two nets: token-like shapes, and live values."""

from __future__ import annotations

import base64
import json
import re
import threading
from typing import Any
from urllib.parse import quote

MASK = "[redacted]"
_SHAPES = re.compile(
    r"(?i)(?P<head>\b(?:authorization|proxy-authorization|x-api-key|api[-_]?key|password|passwd|secret|token)\b[\"']?\s*[:=]\s*[\"']?"
    r"(?:bearer\s+|basic\s+)?)(?P<value>[^\s\"',;&]{4,})"
    r"|\bbearer\s+[A-Za-z0-9._~+/=-]{8,}"
    r"|\b(?:wk[a-z]{1,3}|gh[pousr]|sk|xox[abp])[_-][A-Za-z0-9_-]{12,}"
    # Within a run of its characters bounded: one could begin at each dash, and each would look at all the rest.
    r"|(?:(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{8,}+|\beyJ[A-Za-z0-9_-]{8,1000}+)\.[A-Za-z0-9_-]{8,}+\.[A-Za-z0-9_-]*"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
    re.DOTALL,
)
_live: dict[str, None] = {}
_lock = threading.Lock()
_KEPT = 512


def remember(secret: str) -> None:
    """Masks this value, and its usual encodings, from now on in this process. Values under 6 characters are ignored."""
    if len(secret) < 6:
        return
    raw = secret.encode()
    forms = {
        secret,
        base64.b64encode(raw).decode().rstrip("="),
        base64.urlsafe_b64encode(raw).decode().rstrip("="),
        quote(secret, safe=""),
        json.dumps(secret)[1:-1],
    }
    with _lock:
        for form in forms:
            _live.pop(form, None)
            _live[form] = None
        while len(_live) > _KEPT:
            _live.pop(next(iter(_live)))


def text(value: str) -> str:
    """The text with secrets masked."""
    with _lock:
        live = list(_live)
    for form in live:
        if form in value:
            value = value.replace(form, MASK)
    return _SHAPES.sub(lambda match: (match.group("head") or "") + MASK, value)


def redact(value: Any) -> Any:
    """The same value with every text in it masked (dicts, lists and tuples are walked)."""
    if isinstance(value, str):
        return text(value)
    if isinstance(value, dict):
        return {key: redact(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [redact(item) for item in value]
    return value
