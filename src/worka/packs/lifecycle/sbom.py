"""What is in a release, as CycloneDX 1.6 JSON: from the lock and the packages that were installed. Pure: the same release
gives the same document, byte for byte."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from packaging.utils import canonicalize_name

MEDIA_TYPE = "application/vnd.cyclonedx+json; version=1.6"
_NAMESPACE = uuid.UUID("6b1f5a0e-3c1d-5b52-9b0c-7d6d0a3c8f11")
Row = dict[str, Any]


def ecosystem_of(release: Mapping[str, Any]) -> str:
    """`pypi` or `npm`: where the packages of a release come from. Those of a pack that is its own source are from PyPI."""
    named = (release.get("source") or {}).get("ecosystem") if "source" in release else release.get("ecosystem")
    return "npm" if named == "npm" else "pypi"


def purl(ecosystem: str, name: str, version: str) -> str:
    """The package URL of an installed package."""
    plain = canonicalize_name(name) if ecosystem == "pypi" else name
    scope, _, rest = plain.rpartition("/")
    path = f"{quote(scope, safe='')}/{quote(rest)}" if scope else quote(rest)
    return f"pkg:{ecosystem}/{path}@{quote(version)}"


def hashes_of(lock_text: str) -> dict[str, list[str]]:
    """The SHA-256 hashes that a hashed requirements file allows for each package. Of which of its files the installed one
    is, the lock does not say, so they stand as what was allowed."""
    joined = re.sub(r"\\\r?\n", " ", lock_text)
    found: dict[str, list[str]] = {}
    for line in joined.splitlines():
        if match := re.match(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?\s*==", line):
            found[canonicalize_name(match[1])] = re.findall(r"--hash=sha256:([0-9a-f]{64})", line)
    return found


def document(release: Mapping[str, Any]) -> Row:
    """The bill of materials of a release's row. Every installed package is a component; the pack depends on all of them,
    since the record of an environment does not say which of them needs which."""
    ecosystem, manifest = ecosystem_of(release), release["manifest"]
    pack, allowed = f"{release['publisher']}.{release['name']}", hashes_of(release["lock_text"])
    root = f"pack:{pack}@{release['version']}"
    licence = manifest.get("license")
    components = []
    for item in sorted(release["packages"] or [], key=lambda item: (item["name"].lower(), item["version"])):
        reference = purl(ecosystem, item["name"], item["version"])
        properties = [
            {"name": "worka:lock:sha256", "value": digest}
            for digest in allowed.get(canonicalize_name(item["name"]), [])
        ]
        components.append(
            {
                "type": "library",
                "bom-ref": reference,
                "name": item["name"],
                "version": item["version"],
                "purl": reference,
                **({"properties": properties} if properties else {}),
            }
        )
    references = list(dict.fromkeys(component["bom-ref"] for component in components))
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(_NAMESPACE, release['digest'] or release['id'])}",
        "version": 1,
        "metadata": {
            "timestamp": release["created_at"].strftime("%Y-%m-%dT%H:%M:%SZ"),
            "tools": {"components": [{"type": "application", "name": "worka"}]},
            "component": {
                "type": "application",
                "bom-ref": root,
                "group": release["publisher"],
                "name": release["name"],
                "version": release["version"],
                "description": manifest.get("description", ""),
                **({"licenses": [{"license": {"name": licence}}]} if licence else {}),
                **({"hashes": [{"alg": "SHA-256", "content": release["digest"]}]} if release["digest"] else {}),
            },
        },
        "components": components,
        "dependencies": [{"ref": root, "dependsOn": references}, *({"ref": reference} for reference in references)],
    }
