"""Pure decisions of the registry: what policy lets be published where, and how the layers of policy add up."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from worka.packs.registry import causes
from worka.packs.registry.model import VISIBILITIES

REASONS = causes.REASONS
"""Every reason code of the registry; registered on import."""

LOCAL = "local"
"""The destination that is always there: the layout of this deployment."""
Row = dict[str, Any]


@dataclass(frozen=True)
class Policy:
    """What holds for publications in one place: the layers put together. A list that is None: no layer names any."""

    visibility: str
    most: str
    image_destinations: tuple[tuple[str, ...], ...]
    source_destinations: tuple[tuple[str, ...], ...]
    approvers: tuple[str, ...]
    require_signature: bool
    public_on_trial: bool

    def shown(self) -> Row:
        """As the API shows it. Each list of destinations stands for a layer; all of them must have the place."""
        return {
            "visibility": self.visibility,
            "most": self.most,
            "image_destinations": [list(layer) for layer in self.image_destinations],
            "source_destinations": [list(layer) for layer in self.source_destinations],
            "approvers": list(self.approvers),
            "require_signature": self.require_signature,
            "public_on_trial": self.public_on_trial,
        }


@dataclass(frozen=True)
class Refusal:
    """Why something may not be published: a reason code and a sentence."""

    code: str
    sentence: str


def effective(layers: Iterable[Mapping[str, Any]]) -> Policy:
    """The layers put together, the widest place first: each can tighten, none can loosen. Without any: private, here alone."""
    most, visibility = "", "private"
    images: list[tuple[str, ...]] = []
    sources: list[tuple[str, ...]] = []
    approvers: list[str] = []
    signature, trial = False, None
    for layer in layers:
        if (wide := layer.get("most")) is not None:
            most = wide if not most else narrower(most, wide)
        if layer.get("visibility") is not None:
            visibility = layer["visibility"]
        if layer.get("image_destinations") is not None:
            images.append(tuple(layer["image_destinations"]))
        if layer.get("source_destinations") is not None:
            sources.append(tuple(layer["source_destinations"]))
        approvers += [rule for rule in layer.get("approvers") or () if rule not in approvers]
        signature = signature or bool(layer.get("require_signature"))
        if layer.get("public_on_trial") is not None:
            trial = bool(layer["public_on_trial"]) and trial is not False
    # Nobody becomes public because nobody thought of it.
    most = most or "shared"
    return Policy(
        narrower(visibility, most), most, tuple(images) or ((LOCAL,),), tuple(sources), tuple(approvers), signature,
        bool(trial),
    )  # fmt: skip


def narrower(one: str, other: str) -> str:
    """The narrower of two visibilities."""
    return min(one, other, key=VISIBILITIES.index)


def may_publish(
    policy: Policy, *, destination: str, visibility: str, repository: str, on_trial: bool
) -> Refusal | None:
    """Why a release from this source may not be published there and so widely; None: it may."""
    for layer in policy.image_destinations:
        if not matches(layer, destination):
            return Refusal(
                "destination_not_allowed",
                f"{destination} is none of the destinations that policy allows: {', '.join(layer) or 'none'}.",
            )
    for layer in policy.source_destinations:
        if not repository or not matches(layer, repository):
            return Refusal(
                "source_not_allowed",
                f"Its source {repository or '(none is named)'} is none of those that policy allows: {', '.join(layer) or 'none'}.",
            )
    if VISIBILITIES.index(visibility) > VISIBILITIES.index(policy.most):
        return Refusal(
            "visibility_not_allowed", f"{visibility} is wider than {policy.most}, the most that policy allows."
        )
    if visibility == "public" and on_trial and not policy.public_on_trial:
        return Refusal(
            "trial_not_public", "This tenant is on trial, and policy lets no tenant on trial publish publicly."
        )
    return None


def matches(patterns: Sequence[str], place: str) -> bool:
    """Whether a place is one of these: exactly, or below a pattern that ends in `/*`."""
    if "/../" in f"{place}/" or "//" in place.removeprefix("https://"):
        return False
    return any(place.startswith(pattern[:-1]) if pattern.endswith("/*") else place == pattern for pattern in patterns)


_WORD = re.compile(r"[^\W_]{2,40}")
_EMPTY = frozenset(
    [
        "the",
        "and",
        "for",
        "with",
        "from",
        "that",
        "this",
        "are",
        "pack",
        "tool",
        "tools",
        "server",
        "mcp",
        "reads",
        "read",
    ]
)


def words(*texts: str | None) -> list[str]:
    """The words to search by: of two letters or more, each once, in their order, at most 24."""
    found = dict.fromkeys(word.lower() for text in texts if text for word in _WORD.findall(text))
    return [word for word in found if word not in _EMPTY][:24]


def score(row: Mapping[str, Any], wanted: Sequence[str]) -> int:
    """How well a thing of the market fits: words in its name count three, in its tools two, in its description one."""
    manifest = row["manifest"]
    name = set(words(f"{row['publisher']} {row['name']}", manifest.get("display_name")))
    tools = set(words(*(f"{tool['name']} {tool.get('description') or ''}"[:400] for tool in row["tools"][:100])))
    purpose = set(words(manifest.get("description")))
    return sum(3 * (word in name) + 2 * (word in tools) + (word in purpose) for word in wanted)


def attested_elsewhere(manifest: Mapping[str, Any], repository: str, revision: str) -> str:
    """How an attested source differs from the one that the manifest names; empty when it does not."""
    named = source_of(manifest)
    if repository and named[0] and repository != named[0]:
        return f"signed for {repository}, the manifest names {named[0]}"
    if revision and named[1] and revision != named[1]:
        return f"signed for revision {revision}, the manifest names {named[1]}"
    return ""


def source_of(manifest: Mapping[str, Any]) -> tuple[str, str]:
    """(repository, revision) of a manifest; empty where it names none."""
    source = manifest.get("source") or {}
    if isinstance(source, str):
        return source, ""
    return str(source.get("repository") or ""), str(source.get("revision") or "")
