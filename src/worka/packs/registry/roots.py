"""The operator's trust roots: a chain of documents in the shape of TUF's root role (spec 1.0), each signed by enough keys of
the one before it and enough of its own. What it adds is `publishers`: whose signature counts for which publisher. Pure.

A version is followed by the next number alone, so an older document, or the same one again, is never taken; and one that
has expired vouches for nobody.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from worka.kernel import canonical
from worka.packs.registry import dsse
from worka.treasury.signing import key_id, verifies

SPEC = "1.0.31"
MOST_KEYS = 64
MOST_PUBLISHERS = 500
Row = dict[str, Any]


class RootProblem(ValueError):
    """A document that does not follow; `reason` is a code, the text says what is wrong."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


@dataclass(frozen=True)
class Role:
    """Which keys count, and how many of them are needed."""

    keys: frozenset[str]
    threshold: int


@dataclass(frozen=True)
class Root:
    """A document that was read: keys by id, the root role, the publishers' roles, and until when it holds."""

    version: int
    expires: datetime
    keys: Mapping[str, str]
    root: Role
    publishers: Mapping[str, Role]


def read(document: Mapping[str, Any]) -> Root:
    """The document's `signed` part, checked for shape alone. Raises RootProblem."""
    try:
        signed = document["signed"]
        if signed["_type"] != "root" or not isinstance(signed["version"], int) or isinstance(signed["version"], bool):
            raise ValueError("_type or version")
        if signed["version"] < 1 or not isinstance(document["signatures"], list):
            raise ValueError("version or signatures")
        expires = datetime.fromisoformat(str(signed["expires"]).replace("Z", "+00:00"))
        if expires.tzinfo is None:
            raise ValueError("expires has no zone")
        keys = {}
        for name, key in signed["keys"].items():
            if key["keytype"] != "ed25519" or key["scheme"] != "ed25519" or key_id(key["keyval"]["public"]) != name:
                # Else two names of one key would count as two.
                raise ValueError("a key that is no ed25519, or whose id is not the SHA-256 of it")
            keys[name] = str(key["keyval"]["public"])
        root = _role(signed["roles"]["root"], keys)
        publishers = {str(name): _role(role, keys) for name, role in signed.get("publishers", {}).items()}
        if len(keys) > MOST_KEYS or len(publishers) > MOST_PUBLISHERS:
            raise ValueError("too many keys or publishers")
    except RootProblem:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RootProblem("root_malformed", f"it is no root document: {str(error)[:120]}") from error
    return Root(signed["version"], expires, keys, root, publishers)


def _role(raw: Mapping[str, Any], keys: Mapping[str, str]) -> Role:
    found, threshold = raw["keyids"], raw["threshold"]
    if not isinstance(found, list) or not isinstance(threshold, int) or isinstance(threshold, bool):
        raise ValueError("a role without keyids or threshold")
    if set(found) - set(keys):
        raise RootProblem("root_malformed", "a role names a key that the document does not have")
    if not 1 <= threshold <= len(set(found)):
        raise RootProblem("root_malformed", "a role's threshold is not between 1 and the number of its keys")
    return Role(frozenset(found), threshold)


def signed_bytes(document: Mapping[str, Any]) -> bytes:
    """What is signed: the canonical bytes of `signed`. Raises RootProblem."""
    try:
        return canonical.dumps(document["signed"])
    except (KeyError, ValueError) as error:
        raise RootProblem("root_malformed", "`signed` has no canonical form") from error


def signers(document: Mapping[str, Any], keys: Mapping[str, str]) -> set[str]:
    """The ids of those keys whose signature over the document holds."""
    data = signed_bytes(document)
    given = document.get("signatures", [])
    pairs = [(item.get("keyid"), item.get("sig")) for item in given[:MOST_KEYS] if isinstance(item, Mapping)]
    return {
        str(key)
        for key, signature in pairs
        if isinstance(key, str) and isinstance(signature, str) and key in keys and verifies(keys[key], signature, data)
    }


def follows(before: Mapping[str, Any] | None, document: Mapping[str, Any], now: datetime) -> Root:
    """The new root, if it may follow the one that holds (None: the operator's first). Raises RootProblem."""
    new = read(document)
    wanted = read(before).version + 1 if before is not None else 1
    if new.version != wanted:
        old = new.version < wanted
        raise RootProblem(
            "root_replayed" if old else "root_skips",
            f"version {new.version} {'was in force already' if old else 'skips one'}; the next is {wanted}",
        )
    if new.expires <= now:
        raise RootProblem("root_expired", f"it expired at {new.expires.isoformat()}")
    if before is not None:
        held = read(before)
        _enough(document, held.root, held.keys, "the root in force")
    _enough(document, new.root, new.keys, "its own")
    return new


def _enough(document: Mapping[str, Any], role: Role, keys: Mapping[str, str], whose: str) -> None:
    count = len(signers(document, {key: keys[key] for key in role.keys}))
    if count < role.threshold:
        raise RootProblem("root_below_threshold", f"{count} of {role.threshold} signatures by keys of {whose} hold")


def summary(document: Mapping[str, Any]) -> Row:
    """What a document says, for whoever signs it: version, expiry, which keys may sign roots and vouch for whom, and how many
    must. Raises RootProblem."""
    root = read(document)
    return {
        "version": root.version, "expires": root.expires.isoformat(), "root": _words(root.root),
        "publishers": {name: _words(role) for name, role in sorted(root.publishers.items())},
    }  # fmt: skip


def _words(role: Role) -> Row:
    return {"threshold": role.threshold, "keys": sorted(role.keys)}


def differences(before: Mapping[str, Any], document: Mapping[str, Any]) -> list[str]:
    """What a document changes in the one before it, a sentence each. Raises RootProblem."""
    old, new = summary(before), summary(document)
    told = [f"version {old['version']} -> {new['version']}", f"expires {old['expires']} -> {new['expires']}"]
    if new["version"] != old["version"] + 1:
        told.append(f"it does not follow: the next version is {old['version'] + 1}")
    told += _changed("root", old["root"], new["root"])
    for name in sorted(old["publishers"].keys() | new["publishers"].keys()):
        told += _changed(f"publisher {name}", old["publishers"].get(name), new["publishers"].get(name))
    return told


def _changed(whose: str, old: Row | None, new: Row | None) -> list[str]:
    if old is None or new is None:
        return [f"{whose} is {'new' if old is None else 'gone'}"]
    told = [f"{whose} gains key {key}" for key in new["keys"] if key not in old["keys"]]
    told += [f"{whose} loses key {key}" for key in old["keys"] if key not in new["keys"]]
    if old["threshold"] != new["threshold"]:
        told.append(f"{whose} needs {new['threshold']} keys instead of {old['threshold']}")
    return told


def keys_of(document: Mapping[str, Any] | None, publisher: str) -> dict[str, str]:
    """id -> public key of those keys that a root names for a publisher; none without a root. Whether it holds still, and how
    many are needed, `verdict` says."""
    if document is None:
        return {}
    root = read(document)
    role = root.publishers.get(publisher)
    return {key: root.keys[key] for key in role.keys} if role is not None else {}


@dataclass(frozen=True)
class Verdict:
    """Whether a release's signatures are trusted: the state, the reason code, a sentence, and which keys vouch."""

    state: Literal["trusted", "untrusted", "unsigned"]
    reason: str
    sentence: str
    keys: tuple[str, ...] = ()


def verdict(
    document: Mapping[str, Any] | None, publisher: str, digest: str | None, envelopes: Sequence[Mapping[str, Any]],
    now: datetime,
) -> Verdict:  # fmt: skip
    """What the root in force says of these envelopes about the artifact `digest` of a publisher."""
    if not envelopes:
        return Verdict("unsigned", "signature_missing", "Nobody signed it.")
    if document is None:
        return Verdict("untrusted", "root_missing", "It is signed; the operator has set no trust root yet.")
    root = read(document)
    if root.expires <= now:
        return Verdict("untrusted", "root_expired", f"The trust root expired at {root.expires:%Y-%m-%d %H:%M} UTC.")
    role = root.publishers.get(publisher)
    if role is None:
        return Verdict("untrusted", "publisher_not_trusted", f"The trust root names no key for {publisher}.")
    keys = {key: root.keys[key] for key in role.keys}
    good: set[str] = set()
    elsewhere = False
    for given in envelopes:
        try:
            here = dsse.said(dsse.read(given)[0]).digest == digest
            # A key that vouches already is not asked again, however many envelopes it signed.
            found = dsse.signers(given, {key: public for key, public in keys.items() if key not in good})
        except dsse.EnvelopeProblem:
            continue
        if here:
            good |= found
        else:
            elsewhere = elsewhere or bool(found)
    if len(good) >= role.threshold:
        return Verdict(
            "trusted", "signature_trusted", f"{len(good)} of {role.threshold} keys needed vouch.", tuple(sorted(good))
        )
    if elsewhere and not good:
        return Verdict("untrusted", "signature_of_another", "The signature that holds is about another artifact.")
    if good:
        return Verdict("untrusted", "signature_below_threshold", f"{len(good)} of {role.threshold} keys needed vouch.")
    return Verdict(
        "untrusted", "signature_invalid", f"No signature by a key that the trust root has for {publisher} holds."
    )
