"""Masks secrets in whatever is about to be stored, logged or shown. Two nets: token-like shapes, and live values."""

from __future__ import annotations

import base64
import json
import re
import threading
import time
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
_LEAST = 6
_FEW = 512
"""Above this many forms they are found by how they begin: then it takes no longer, however many there are."""
_KEPT = 1 << 17
"""Spellings that one process knows, of 26,000 values at the least: some 30 MB where all are there."""
_YOUNG_SECONDS = 900.0
"""A call that has a value is over after this: one that was remembered longer ago, and not again, may be forgotten."""


class Known:
    """The values of this process that are masked, by their spellings."""

    def __init__(self, kept: int = _KEPT) -> None:
        self._kept, self._lock = kept, threading.Lock()
        self._forms: dict[str, float] = {}
        """When each was remembered last, oldest first."""
        self._beginning: dict[str, tuple[str, ...]] = {}
        """The same by how they begin, longest first."""
        self._blind_until = 0.0

    def add(self, form: str, clock: float) -> None:
        """Masks it from now on. Where there is no room for it, the one that was used longest ago is forgotten; if that is too
        young for it, everything is masked until it would be old enough."""
        with self._lock:
            if self._forms.pop(form, None) is None:
                head = form[:_LEAST]
                same = (*self._beginning.get(head, ()), form)
                self._beginning[head] = tuple(sorted(same, key=len, reverse=True))
            self._forms[form] = clock
            while len(self._forms) > self._kept:
                self._forget()

    def _forget(self) -> None:
        oldest = next(iter(self._forms))
        self._blind_until = max(self._blind_until, self._forms.pop(oldest) + _YOUNG_SECONDS)
        head = oldest[:_LEAST]
        if rest := tuple(form for form in self._beginning[head] if form != oldest):
            self._beginning[head] = rest
        else:
            del self._beginning[head]

    def masked(self, value: str, clock: float) -> str:
        """The text without any of them."""
        if clock < self._blind_until:
            return MASK if value else value
        with self._lock:
            few = list(self._forms) if len(self._forms) <= _FEW else None
        if few is None:
            return self._looked_up(value)
        for form in few:
            if form in value:
                value = value.replace(form, MASK)
        return value

    def _looked_up(self, value: str) -> str:
        parts: list[str] = []
        beginning, done, at = self._beginning.get, 0, 0
        while at <= len(value) - _LEAST:
            form = next((f for f in beginning(value[at : at + _LEAST], ()) if value.startswith(f, at)), None)
            if form is None:
                at += 1
                continue
            parts += [value[done:at], MASK]
            done = at = at + len(form)
        return "".join((*parts, value[done:])) if parts else value


_known = Known()


def remember(secret: str) -> None:
    """Masks this value, and its usual encodings, from now on in this process. Values under 6 characters are ignored."""
    if len(secret) < _LEAST:
        return
    raw = secret.encode()
    forms = {
        secret,
        base64.b64encode(raw).decode().rstrip("="),
        base64.urlsafe_b64encode(raw).decode().rstrip("="),
        quote(secret, safe=""),
        json.dumps(secret)[1:-1],
    }
    clock = time.monotonic()
    for form in forms:
        _known.add(form, clock)


def text(value: str) -> str:
    """The text with secrets masked."""
    value = _known.masked(value, time.monotonic())
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
