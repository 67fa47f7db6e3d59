"""The words that policy may look at: facts of a resource and of a request, with their Cedar types.

All are optional. A resource's own facts stand in its attributes, and with the request's in the context, so that policy
can say `context.host` whoever brought the fact. A fact under another name is a
programming error and raises: policy could never see it, and a misspelt fact would pass for an absent one.
"""

from __future__ import annotations

from typing import Any

VOCABULARY: dict[str, str] = {
    "access": "String",
    "address": "String",
    "args_bytes": "Long",
    "attachment": "String",
    "automatic": "Bool",
    "boundary": "String",
    "carries": "Bool",
    "destination": "String",
    "digest": "String",
    "email": "String",
    "endpoint": "String",
    "endpoints": "Set<String>",
    "host": "String",
    "host_services": "Bool",
    "hosts": "Set<String>",
    "idempotent": "Bool",
    "kind": "String",
    "mode": "String",
    "mounts": "Set<String>",
    "name": "String",
    "network": "Bool",
    "opaque": "Bool",
    "owner": "String",
    "pack": "String",
    "port": "Long",
    "provider": "String",
    "providers": "Set<String>",
    "publisher": "String",
    "real_port": "Long",
    "redefines": "Bool",
    "redirected": "Bool",
    "release": "String",
    "risk": "String",
    "role": "String",
    "scopes": "Set<String>",
    "secret": "String",
    "side_effect": "String",
    "source": "String",
    "state": "String",
    "task": "String",
    "tool": "String",
    "tools": "Set<String>",
    "version": "String",
    "visibility": "String",
    "widens": "Bool",
    "workflow": "String",
    "writes": "Bool",
}
_LIMIT = 4000  # longest text kept of a fact: a decision row is evidence, not a store of payloads


class UnknownFact(TypeError):
    """A use case passed a fact that no policy could ever see, or one of another type."""


def facts(given: dict[str, Any]) -> dict[str, Any]:
    """The facts in Cedar's types; None is left out (the fact is absent). Raises UnknownFact."""
    found: dict[str, Any] = {}
    for name, value in given.items():
        kind = VOCABULARY.get(name)
        if kind is None:
            raise UnknownFact(f"{name!r} is no word of worka.authorization.vocabulary; add it there or use another")
        if value is None:
            continue
        truth = isinstance(value, bool)
        if (kind == "Bool" and truth) or (kind == "Long" and isinstance(value, int) and not truth):
            found[name] = value
        elif kind == "String" and isinstance(value, str | int):
            found[name] = str(value)[:_LIMIT]
        elif kind == "Set<String>" and isinstance(value, list | tuple | set | frozenset):
            found[name] = sorted({str(item)[:_LIMIT] for item in value})
        else:
            raise UnknownFact(f"{name!r} is {kind} in worka.authorization.vocabulary, not {type(value).__name__}")
    return found


def fault_of(kept: dict[str, Any]) -> str:
    """Why these facts are none that policy can look at; empty when they are. For facts that were read back from a record."""
    for name, value in kept.items():
        kind = VOCABULARY.get(name)
        if kind == "String":
            fits = isinstance(value, str)
        elif kind == "Long":
            fits = isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63
        elif kind == "Bool":
            fits = isinstance(value, bool)
        else:
            fits = kind is not None and isinstance(value, list) and all(isinstance(item, str) for item in value)
        if not fits:
            return f"{name!r} is no fact of the vocabulary" if kind is None else f"{name!r} is not of the type {kind}"
    return ""
