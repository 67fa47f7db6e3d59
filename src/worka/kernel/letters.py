"""Characters that nobody sees: what turns text round, hides in it, or is obeyed instead of shown. One rule for all doors.

A name is read by others next to "approves" and "was decided by": with a right-to-left override in it, it can turn the words
around it and read as another's. So a name that somebody types may hold none of these (`name`), and text that came from
elsewhere is shown with them written out (`visible`).
"""

from __future__ import annotations

import re
from typing import Final

# Marks and overrides of direction, widths of nothing, joiners, separators of lines, fillers, tags.
_FORMAT: Final = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0"
    "\ufff9-\ufffb\U000e0000-\U000e007f"
)
_HIDDEN = re.compile(f"[\x00-\x1f\x7f-\x9f{_FORMAT}]")
# Of the controls, a tab and the end of a line are the shape of a text.
_OBEYED = re.compile(f"[\x00-\x08\x0b-\x1f\x7f-\x9f{_FORMAT}]")


def written_out(character: str) -> str:
    """`\\u202e` for the character itself."""
    return f"\\u{ord(character):04x}"


def visible(text: str, keep: str = "") -> str:
    """The text with every character that is obeyed rather than seen written out, but for those of `keep`."""
    return _OBEYED.sub(lambda found: found[0] if found[0] in keep else written_out(found[0]), text)


_CONTROLS: Final = "\x00-\x1f\x7f-\x9f"
PATTERN: Final = "".join(["^[^", *(c if c == "-" else written_out(c) for c in _CONTROLS + _FORMAT[:-3]), "]*$"])
"""The same for readers of the OpenAPI document, but for what is beyond the first plane: not every reader counts that alike."""


def name(text: str) -> str:
    """The name as it is. Raises ValueError if a character in it cannot be seen."""
    found = _HIDDEN.search(text)
    if found is not None:
        raise ValueError(
            f"character {found.start() + 1} (U+{ord(found[0]):04X}) cannot be seen, and may turn round the words beside a name"
        )
    return text
