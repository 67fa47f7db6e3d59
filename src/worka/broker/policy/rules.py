"""What policy says of a destination, and whether one policy lets more through than another. Pure.

An item is a destination as manifests write it (host, `*.host`, or {host, port, methods, paths}); here the host may also be
`*`, and `packs` narrows it to packs by name. What is refused stays refused where anything about a request is not known.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from worka.broker import rules
from worka.broker.rules import Decision, Rule, RuleProblem, canonical_path, leniently

REFUSED, NOT_LISTED = "policy_refuses", "policy_does_not_list"
PARTS = ("refuse", "except", "only")
PREFIX = "egress_policy/"
MOST_ITEMS = 500
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Item:
    """One destination of a policy. `packs` None: whichever pack asks."""

    rule: Rule
    packs: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Layer:
    """A version of one place's policy. `only` None: it names no list that everything has to be on."""

    name: str
    refuse: tuple[Item, ...] = ()
    excepted: tuple[Item, ...] = ()
    only: tuple[Item, ...] | None = None


def parse_item(value: object, where: str) -> Item:
    """Raises RuleProblem naming the place."""
    spec: Row = {"host": value} if isinstance(value, str) else dict(value) if isinstance(value, Mapping) else {}
    packs = spec.pop("packs", None)
    if packs is not None and not (isinstance(packs, list) and packs and all(isinstance(p, str) and p for p in packs)):
        raise RuleProblem(f"{where}.packs: a list of packs by name (publisher.pack)")
    if flag := next((name for name in ("websocket", "opaque") if name in spec), None):
        raise RuleProblem(f"{where}.{flag}: a policy says where to, for whatever is spoken there")
    everywhere = spec.get("host") == "*"
    try:
        (rule,) = rules.parse_rules([{**spec, "host": "any.invalid"} if everywhere else spec])
    except RuleProblem as problem:
        raise RuleProblem(str(problem).replace("outbound_domains[0]", where)) from problem
    rule = replace(rule, id=where, host="*", suffix="") if everywhere else replace(rule, id=where)
    return Item(rule, None if packs is None else frozenset(packs))


def parse(settings: Mapping[str, Any], name: str) -> Layer:
    """The layer of these settings; `name` (`egress_policy/tenant.3`) is what a refusal calls it. Raises RuleProblem."""
    if unknown := set(settings) - set(PARTS):
        raise RuleProblem(f"{sorted(unknown)[0]}: a policy has {', '.join(PARTS)}")
    found: dict[str, tuple[Item, ...]] = {}
    for part in PARTS:
        items = settings.get(part)
        if items is None:
            continue
        if not isinstance(items, list) or len(items) > MOST_ITEMS:
            raise RuleProblem(f"{part}: a list of at most {MOST_ITEMS} destinations")
        found[part] = tuple(parse_item(item, f"{part}[{index}]") for index, item in enumerate(items))
    return Layer(name, found.get("refuse", ()), found.get("except", ()), found.get("only"))


def layers(rows: Iterable[Mapping[str, Any]]) -> tuple[Layer, ...]:
    """The layers of stored versions, the tenant's before the workspace's. Raises RuleProblem: what cannot be read lets nothing
    through."""
    return tuple(
        parse(row["settings"], f"{PREFIX}{'workspace' if row['workspace_id'] else 'tenant'}.{row['version']}")
        for row in sorted(rows, key=lambda row: bool(row["workspace_id"]))
    )


def _covers(item: Item, pack: str, host: str, port: int) -> bool:
    return (item.packs is None or pack in item.packs) and item.rule.covers(host) and port in item.rule.ports


def _may_be(item: Item, method: str | None, path: str | None) -> bool:
    """Whether a request may be one of these: what is not known of it (nobody reads inside of a tunnel) may be anything."""
    rule = item.rule
    if rule.methods is not None and method is not None and method not in rule.methods:
        return False
    if rule.paths is None or path is None:
        return True
    if canonical_path(path) is None:
        return True
    # What is refused stays refused in every spelling of it.
    return leniently(rule.paths, path)


def _is(item: Item, method: str | None, path: str | None) -> bool:
    """Whether a request certainly is one of these."""
    rule = item.rule
    if rule.methods is not None and (method is None or method not in rule.methods):
        return False
    if rule.paths is None:
        return True
    clean = canonical_path(path) if path is not None else None
    return clean is not None and any(_path(pattern, clean) for pattern in rule.paths)


def _path(pattern: str, path: str) -> bool:
    return path.startswith(pattern[:-1]) if pattern.endswith("*") else path == pattern


def refusal(
    held: Sequence[Layer], pack: str, host: str, port: int, method: str | None, path: str | None
) -> Decision | None:
    """The refusal of the first layer that has one; None where every layer lets it through."""
    for layer in held:
        excepted = any(_covers(item, pack, host, port) and _is(item, method, path) for item in layer.excepted)
        for item in () if excepted else layer.refuse:
            if _covers(item, pack, host, port) and _may_be(item, method, path):
                return Decision(
                    False, REFUSED, f"{layer.name}/{item.rule.id}",
                    f"an owner takes it out of `refuse`, or excepts exactly this: {layer.name}",
                    _proposal("except", pack, host, port, method, path),
                )  # fmt: skip
        listed = layer.only is None or any(
            _covers(item, pack, host, port) and _is(item, method, path) for item in layer.only
        )
        if not listed:
            return Decision(
                False, NOT_LISTED, f"{layer.name}/only", f"an owner puts exactly this on the list `only`: {layer.name}",
                _proposal("only", pack, host, port, method, path),
            )  # fmt: skip
    return None


def _proposal(part: str, pack: str, host: str, port: int, method: str | None, path: str | None) -> Row:
    """Exactly what was asked, as an item of a policy; empty where no item can name exactly that."""
    item = narrow_item(host, port, method, path)
    return {"egress_policy": {part: [item | {"packs": [pack]}]}} if path is None or "paths" in item else {}


def narrow_item(host: str, port: int, method: str | None, path: str | None, *, websocket: bool = False) -> Row:
    """Exactly one request as an item of a manifest: never more than was asked for."""
    item: Row = {"host": host, "port": port}
    if method is not None:
        item["methods"] = [method]
    if path is not None and (clean := canonical_path(path)) is not None and "*" not in clean and "?" not in clean:
        item["paths"] = [clean]
    return item | {"websocket": True} if websocket else item


def decide(
    declared: Sequence[Rule],
    held: Sequence[Layer],
    pack: str,
    host: str,
    port: int,
    method: str,
    path: str,
    side_effect: str,
    *,
    websocket: bool = False,
) -> Decision:
    """What the release declares, then what policy says of it: the one decision over a request of a pack. Once a WebSocket stands,
    it says what it likes: to policy it is a request whose method is not known."""
    found = rules.decide(declared, host, port, method, path, side_effect, websocket=websocket)
    if not found.allowed:
        return found
    return refusal(held, pack, host, port, None if websocket else method, path) or found


# comparing ------------------------------------------------------------------------------------------------------------
def loosens(before: Layer, after: Layer) -> bool:
    """Whether the second might let through what the first refuses. In doubt it does."""
    for item in before.refuse:
        if not any(inside(item, other) for other in after.refuse):
            return True
    for item in after.excepted:
        if after.refuse and not any(inside(item, other) for other in before.excepted):
            return True
    if before.only is None:
        return False
    if after.only is None:
        return True
    return not all(any(inside(item, other) for other in before.only) for item in after.only)


def inside(item: Item, other: Item) -> bool:
    """Whether all that one of them names, the other names."""
    if other.packs is not None and (item.packs is None or not item.packs <= other.packs):
        return False
    rule, wide = item.rule, other.rule
    host = wide.host == "*" or rule.host == wide.host or (
        wide.suffix is not None and rule.host != "*" and (rule.suffix or f".{rule.host}").endswith(wide.suffix)
    )  # fmt: skip
    if not host or not rule.ports <= wide.ports:
        return False
    if wide.methods is not None and (rule.methods is None or not rule.methods <= wide.methods):
        return False
    if wide.paths is None:
        return True
    return rule.paths is not None and all(any(_under(path, held) for held in wide.paths) for path in rule.paths)


def _under(path: str, wide: str) -> bool:
    return path.startswith(wide[:-1]) if wide.endswith("*") else path == wide


def said(item: object) -> str:
    """An item in words: `GET on api.example.com:443 at /v1/*, for worka.notes`."""
    spec: Row = {"host": item} if isinstance(item, str) else dict(item) if isinstance(item, Mapping) else {}
    host = "every host" if spec.get("host") == "*" else str(spec.get("host"))
    port = f":{spec['port']}" if spec.get("port") else ""
    methods = f"{', '.join(spec['methods'])} on " if spec.get("methods") else ""
    paths = f" at {', '.join(spec['paths'])}" if spec.get("paths") else ""
    packs = f", for {', '.join(spec['packs'])}" if spec.get("packs") else ""
    how = ", unread" if spec.get("opaque") else ", WebSockets too" if spec.get("websocket") else ""
    return f"{methods}{host}{port}{paths}{how}{packs}"
