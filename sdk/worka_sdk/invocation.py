"""Which call is being worked for: its ids, and the way to a person who can be asked."""

from __future__ import annotations

import contextvars
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from worka_sdk.errors import Declined, NobodyToAsk
from worka_sdk.schema import convert, members, schema_of, structured

T = TypeVar("T")
_FLAT = ("string", "integer", "number", "boolean")


class Peer(Protocol):
    """The other side of a session, as far as a tool may ask something of it."""

    def ask(self, message: str, schema: dict[str, Any]) -> dict[str, Any]:
        """The answer to `elicitation/create`: {action, content}. Raises NobodyToAsk."""
        ...


class _Nobody:
    def ask(self, message: str, schema: dict[str, Any]) -> dict[str, Any]:
        raise NobodyToAsk


@dataclass(frozen=True)
class Invocation:
    """One call. `invocation_id` names it everywhere in Worka; `idempotency_key` is the same when the call is repeated:
    the broker sends it on, so a tool need not. `meta` is the request's whole `_meta`."""

    tool: str
    meta: Mapping[str, Any] = field(default_factory=dict)
    peer: Peer = field(default_factory=_Nobody)

    @property
    def invocation_id(self) -> str:
        """The id that explanations, ledger and traces know; empty outside of the platform."""
        return str(self.meta.get("invocation_id") or "")

    @property
    def idempotency_key(self) -> str:
        """The key under which an effect happens once; empty where the caller gave none."""
        return str(self.meta.get("idempotency_key") or "")

    def elicit(self, message: str, kind: type[T]) -> T:
        """Asks a person for a dataclass of plain fields. Raises Declined, NobodyToAsk, Wrong (an answer that does not
        fit), and TypeError for a type that MCP cannot ask for."""
        if not structured(kind):
            raise TypeError("a question asks for a dataclass")
        for name, (hint, _default) in members(kind).items():
            if schema_of(hint).get("type") not in _FLAT:
                raise TypeError(f"{kind.__name__}.{name}: a question asks for texts, numbers, choices and yes or no")
        answer = self.peer.ask(message, schema_of(kind))
        if answer.get("action") != "accept":
            raise Declined(str(answer.get("action") or "cancel"))
        found: T = convert(kind, answer.get("content") or {})
        return found


_current: contextvars.ContextVar[Invocation] = contextvars.ContextVar("worka_invocation")


def current() -> Invocation:
    """The call that is being worked for. Outside of one: an invocation without ids, where nobody can be asked."""
    return _current.get(Invocation(""))
