"""The four `{{connection.*}}` roots, and nothing else. Expanded on the way out only, in one pass, never in answers."""

from __future__ import annotations

import re
from collections.abc import Callable

_SLOT = re.compile(r"(?<!\{)\{\{([^{}]*)\}\}(?!\})")
_ROOT = re.compile(r"connection\.(?:access_token|refresh_token|provider|metadata\.[A-Za-z0-9_-]{1,64})\Z")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class TemplateError(ValueError):
    """A template that cannot be expanded. The message names the slot, never a value."""


def roots(template: str) -> tuple[str, ...]:
    """The slots of `template` in order, e.g. `("connection.access_token",)`. Raises TemplateError on any other root or
    on braces that do not pair."""
    found = tuple(slot.strip() for slot in _SLOT.findall(template))
    for slot in found:
        if not _ROOT.match(slot):
            raise TemplateError(f"{{{{{slot}}}}} is not one of the four connection roots")
    rest = _SLOT.sub("", template)
    if "{{" in rest or "}}" in rest:
        raise TemplateError("the braces of the template do not pair")
    return found


def expand(template: str, lookup: Callable[[str], str | None]) -> str:
    """`template` with each slot replaced by `lookup(root)`; what a value holds is never expanded again.

    Raises TemplateError for an unknown root, for a root without a value, and for a value that holds a control character
    (it would end the header it stands in).
    """
    roots(template)

    def value(match: re.Match[str]) -> str:
        root = match.group(1).strip()
        found = lookup(root)
        if found is None:
            raise TemplateError(f"the connection has no {root.removeprefix('connection.')}")
        if _CONTROL.search(found):
            raise TemplateError(f"the value of {root} holds a control character")
        return found

    return _SLOT.sub(value, template)
