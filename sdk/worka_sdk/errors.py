"""What can go wrong in a tool, and how the caller is told.

Exception
├── ToolError       the tool did not do it: its words reach the caller, the session goes on
│   ├── Declined    the person who was asked said no, or closed the question
│   └── NobodyToAsk the other side cannot ask anybody
└── Wrong           a value does not fit its type; of an argument, the caller's mistake
"""

from __future__ import annotations


class ToolError(Exception):
    """The tool did not do what it was asked. `remedy` says what to do about it, in a sentence."""

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(f"{message} {remedy}".strip())
        self.message = message
        self.remedy = remedy


class Declined(ToolError):
    """The person who was asked said no (`action` decline) or closed the question (`action` cancel)."""

    def __init__(self, action: str) -> None:
        super().__init__("The person who was asked declined." if action == "decline" else "The question was closed.")
        self.action = action


class NobodyToAsk(ToolError):
    """The client of this session takes no questions."""

    def __init__(self) -> None:
        super().__init__(
            "This tool asks a person, and nobody can be asked here.", "Give what it asks for as an argument."
        )


class Wrong(ValueError):
    """A value does not fit its type. `pointer` is its place (a JSON pointer), `problem` what is the matter."""

    def __init__(self, pointer: str, problem: str) -> None:
        super().__init__(f"{pointer or 'the value'}: {problem}")
        self.pointer = pointer
        self.problem = problem
