"""What a publisher says of an artifact: an in-toto statement with SLSA provenance, in a DSSE envelope. Pure but for the
arithmetic of signatures, which is the treasury's.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from worka.kernel import canonical
from worka.treasury.signing import verifies

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT = "https://in-toto.io/Statement/v1"
PROVENANCE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "https://worka.dev/build/release/v1"
MOST_BYTES = 16 * 1024
"""Of an envelope: its payload as base64, and its signatures."""
MOST_SIGNATURES = 16
Row = dict[str, Any]


class EnvelopeProblem(ValueError):
    """An envelope or statement that cannot be used; the text says what is wrong with it."""


@dataclass(frozen=True)
class Statement:
    """What an envelope says: about which artifact, made from which source."""

    digest: str
    name: str
    repository: str
    revision: str


def pae(payload_type: str, payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding: exactly what is signed."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def statement(*, name: str, digest: str, contents: str, repository: str, revision: str, builder: str) -> bytes:
    """The statement of a release, in canonical JSON. `digest` is sha256:… of the artifact."""
    materials: list[Row] = [{"uri": "worka:contents", "digest": {"sha256": contents}}]
    if repository:
        found: Row = {"uri": repository}
        if revision:
            found["digest"] = {"gitCommit": revision}
        materials.append(found)
    return canonical.dumps(
        {
            "_type": STATEMENT,
            "subject": [{"name": name, "digest": {"sha256": digest.removeprefix("sha256:")}}],
            "predicateType": PROVENANCE,
            "predicate": {
                "buildDefinition": {
                    "buildType": BUILD_TYPE,
                    "externalParameters": {"release": name},
                    "resolvedDependencies": materials,
                },
                "runDetails": {"builder": {"id": builder}},
            },
        }
    )


def envelope(payload: bytes, signatures: Sequence[tuple[str, str]]) -> Row:
    """The envelope of a payload with its (key id, signature) pairs."""
    return {
        "payloadType": PAYLOAD_TYPE,
        "payload": base64.b64encode(payload).decode(),
        "signatures": [{"keyid": key, "sig": signature} for key, signature in signatures],
    }


def read(given: Mapping[str, Any]) -> tuple[bytes, list[tuple[str, str]]]:
    """(payload, [(key id, signature)]) of an envelope. Raises EnvelopeProblem."""
    if given.get("payloadType") != PAYLOAD_TYPE:
        raise EnvelopeProblem("it is no in-toto envelope")
    raw, signatures = given.get("payload"), given.get("signatures")
    if not isinstance(raw, str) or len(raw) > MOST_BYTES:
        raise EnvelopeProblem("it has no payload, or one too large")
    try:
        payload = base64.b64decode(raw, validate=True)
    except (binascii.Error, ValueError) as error:
        raise EnvelopeProblem("its payload is not base64") from error
    if not isinstance(signatures, list) or not 0 < len(signatures) <= MOST_SIGNATURES:
        raise EnvelopeProblem(f"it has no signature, or more than {MOST_SIGNATURES}")
    pairs: list[tuple[str, str]] = []
    for item in signatures:
        key, signature = (item.get("keyid"), item.get("sig")) if isinstance(item, Mapping) else (None, None)
        if not isinstance(key, str) or not isinstance(signature, str) or len(key) > 128 or len(signature) > 256:
            raise EnvelopeProblem("a signature has no keyid or no sig")
        pairs.append((key, signature))
    if len({key for key, _ in pairs}) != len(pairs):
        raise EnvelopeProblem("a key signed it twice")
    if len(raw) + sum(len(key) + len(signature) for key, signature in pairs) > MOST_BYTES:
        raise EnvelopeProblem(f"it has more than {MOST_BYTES} bytes")
    return payload, pairs


def said(payload: bytes) -> Statement:
    """What a payload says. Raises EnvelopeProblem."""
    try:
        found = json.loads(payload)
        subject = found["subject"]
        digest, name = subject[0]["digest"]["sha256"], subject[0]["name"]
        whole = found["_type"] == STATEMENT and found["predicateType"] == PROVENANCE and len(subject) == 1
        depends = found["predicate"]["buildDefinition"].get("resolvedDependencies", [])
        sources = [item for item in depends if item["uri"] != "worka:contents"]
        first = sources[0] if sources else {}
        revision = (first.get("digest") or {}).get("gitCommit", "")
        texts = (digest, name, first.get("uri", ""), revision)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError) as error:
        raise EnvelopeProblem("its payload is no statement of provenance about one artifact") from error
    if not whole or not all(isinstance(text, str) and len(text) <= 2000 for text in texts):
        raise EnvelopeProblem("its payload is no statement of provenance about one artifact")
    return Statement(f"sha256:{digest}", name, texts[2], texts[3])


def signers(given: Mapping[str, Any], keys: Mapping[str, str]) -> set[str]:
    """The ids of those keys (id -> public key) whose signature over the payload holds. Raises EnvelopeProblem."""
    payload, pairs = read(given)
    data = pae(PAYLOAD_TYPE, payload)
    return {key for key, signature in pairs if key in keys and verifies(keys[key], signature, data)}
