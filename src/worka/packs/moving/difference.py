"""What differs between two releases of a pack, in words and in data, each change classed. Pure.

A release comes as {id, version, digest, manifest, tools, packages, instructions}: the manifest as it is stored, the tools as
they were frozen. `widening` means that the later one can do, reach, get or use more, or is asked about less; what cannot be
shown to be no more counts as more. `redefines`: a text or schema that callers and models go by is another one, which is what
a person once looked at (decisions.md 21).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, Literal

from worka.broker.rules import Rule, RuleProblem, parse_rules
from worka.packs import manifest as manifests
from worka.packs import rules
from worka.packs.errors import ManifestInvalid
from worka.packs.moving import subset

Row = dict[str, Any]
Class = Literal["widening", "narrowing", "neutral"]
CLASSES: tuple[Class, ...] = ("widening", "narrowing", "neutral")
LIMITS = {"memory": 512, "cpu": 300, "processes": 64, "files": 256, "disk": 64, "timeout": 60, "output": 8}
"""What a limit is that a manifest leaves out (packs/service/hosting.py)."""
_UNITS = {"memory": "MiB", "cpu": "s", "processes": "", "files": "", "disk": "MiB", "timeout": "s", "output": "MiB"}
_ABOUT = ("display_name", "description", "author", "license", "icon", "homepage", "source", "schema_version", "views",
          "migrations", "templates")  # fmt: skip
"""What a manifest says about itself, or offers: no right comes of it."""
_HANDLED = frozenset(
    {"publisher", "name", "version", "runtime", "tools", "outbound_domains", "outbound_limits", "connections",
     "host_services", "dependencies", "webhooks", *_ABOUT}
)  # fmt: skip
_PACKAGES_SHOWN = 40
_DIFFS_SHOWN = 100


def between(before: Row, after: Row) -> Row:
    """{pack, from, to, widens, redefines, counts, risk, sentence, changes}. `changes`: [{area, subject, change, class, words,
    before, after, diff, pinned}], the widening ones first; `diff` is a unified diff where a text or schema changed, of the
    first hundred that have one."""
    old, new = before["manifest"], after["manifest"]
    found = [
        *_tools(before["tools"], after["tools"]),
        *_outbound(old.get("outbound_domains") or [], new.get("outbound_domains") or []),
        *_outbound_limits(old.get("outbound_limits") or {}, new.get("outbound_limits") or {}),
        *_connections(old.get("connections") or [], new.get("connections") or []),
        *_named("host_service", "host service", old.get("host_services") or [], new.get("host_services") or []),
        *_mounts(old["runtime"].get("mounts") or [], new["runtime"].get("mounts") or []),
        *_limits(old["runtime"].get("limits") or {}, new["runtime"].get("limits") or {}),
        *_dependencies(old.get("dependencies") or [], new.get("dependencies") or []),
        *_webhooks(old.get("webhooks") or [], new.get("webhooks") or []),
        *_instructions(before.get("instructions"), after.get("instructions")),
        *_runtime(old["runtime"], new["runtime"]),
        *_packages(before.get("packages") or [], after.get("packages") or []),
        *_about(old, new),
        *_unknown(old, new),
    ]
    changes = sorted(found, key=lambda change: CLASSES.index(change["class"]))
    for number, change in enumerate(change for change in changes if change["diff"]):
        change["diff"] = change["diff"]() if number < _DIFFS_SHOWN else ""
    counts: dict[Class, int] = {name: sum(1 for change in changes if change["class"] == name) for name in CLASSES}
    redefines = any(change["pinned"] for change in changes)
    return {
        "pack": f"{new['publisher']}.{new['name']}",
        "from": {key: before[key] for key in ("id", "version", "digest")},
        "to": {key: after[key] for key in ("id", "version", "digest")},
        "widens": counts["widening"] > 0,
        "redefines": redefines,
        "counts": counts,
        "risk": {"before": _risk(before), "after": _risk(after)},
        "sentence": _sentence(before["version"], after["version"], counts, redefines),
        "changes": changes,
    }


def _sentence(before: str, after: str, counts: Mapping[Class, int], redefines: bool) -> str:
    if not any(counts.values()):
        return f"{after} and {before} differ in nothing but their code."
    told = [f"{counts[name]} {name}" for name in CLASSES if counts[name]]
    wide = "may do more than" if counts["widening"] else "may do no more than"
    text = ", and says other things to whoever calls it" if redefines else ""
    return f"{after} {wide} {before}{text}: {', '.join(told)}."


def _risk(release: Row) -> str:
    try:
        manifest, _ = manifests.read(release["manifest"])
    except ManifestInvalid:
        return "high"
    return rules.risk(manifest, release["tools"])


def _change(
    area: str,
    subject: str,
    change: Literal["added", "removed", "changed"],
    kind: Class,
    words: str,
    *,
    before: Any = None,
    after: Any = None,
    diff: Callable[[], str] | None = None,
    pinned: bool = False,
) -> Row:
    return {
        "area": area, "subject": subject, "change": change, "class": kind, "words": words, "before": before,
        "after": after, "diff": diff or "", "pinned": pinned,
    }  # fmt: skip


# tools --------------------------------------------------------------------------------------------------------------
def _tools(before: Iterable[Row], after: Iterable[Row]) -> Iterator[Row]:
    old, new = ({tool["name"]: tool for tool in tools} for tools in (before, after))
    for name in sorted(new.keys() - old.keys()):
        tool = new[name]
        words = f"The tool {name} is new: it {rules.EFFECT_CLASSES.get(tool['side_effect'], tool['side_effect'])}."
        yield _change("tool", name, "added", "widening", words, after=tool["side_effect"], pinned=True,
                      diff=partial(rules.diff, "", tool.get("description") or "", "before", "after"))  # fmt: skip
    for name in sorted(old.keys() - new.keys()):
        words = f"The tool {name} is gone: what calls it fails."
        yield _change("tool", name, "removed", "narrowing", words, before=old[name]["side_effect"])
    for name in sorted(old.keys() & new.keys()):
        yield from _tool(name, old[name], new[name])


def _tool(name: str, old: Row, new: Row) -> Iterator[Row]:
    if old["side_effect"] != new["side_effect"]:
        # A milder class is asked about less, a harsher one does more: neither was agreed to.
        words = f"The tool {name} was declared {old['side_effect']} and is declared {new['side_effect']} now."
        yield _change("tool", name, "changed", "widening", words, before=old["side_effect"], after=new["side_effect"])
    if bool(old["idempotent"]) != bool(new["idempotent"]):
        kind: Class = "widening" if new["idempotent"] else "narrowing"
        said = "may be repeated by itself after a crash now" if new["idempotent"] else "is not repeated by itself now"
        yield _change("tool", name, "changed", kind, f"The tool {name} {said}.", before=bool(old["idempotent"]),
                      after=bool(new["idempotent"]))  # fmt: skip
    for key, what in (("input_schema", "takes"), ("output_schema", "answers with")):
        if not subset.same(old.get(key), new.get(key)):
            yield _schema(name, key, what, old.get(key), new.get(key))
    if (old.get("description") or "") != (new.get("description") or ""):
        yield _change(
            "tool", name, "changed", "neutral", f"The tool {name} is described in other words.", pinned=True,
            diff=partial(rules.diff, old.get("description") or "", new.get("description") or "", "before", "after"),
        )  # fmt: skip
    if not subset.same(old.get("annotations"), new.get("annotations")):
        yield _change(
            "tool", name, "changed", "neutral", f"The tool {name} gives other hints about itself.", pinned=True,
            diff=partial(rules.diff, old.get("annotations"), new.get("annotations"), "before", "after"),
        )  # fmt: skip


def _schema(name: str, key: str, what: str, old: Any, new: Any) -> Row:
    kind: Class = "neutral"
    if subset.same(subset.plain(old), subset.plain(new)):
        words = f"The {key} of the tool {name} explains itself in other words."
    elif key == "output_schema":
        words = f"The tool {name} {what} something else."
    elif subset.within(new, old):
        kind, words = "narrowing", f"The tool {name} {what} less."
    else:
        kind, words = "widening", f"The tool {name} {what} more, or something else."
    return _change(
        "tool", name, "changed", kind, words, pinned=True, diff=partial(rules.diff, old, new, "before", "after")
    )


def _instructions(old: str | None, new: str | None) -> Iterator[Row]:
    if (old or "") != (new or ""):
        yield _change(
            "instructions", "server instructions", "changed", "neutral",
            "The server tells whoever uses it something else.", pinned=True,
            diff=partial(rules.diff, old or "", new or "", "before", "after"),
        )  # fmt: skip


# what it may reach --------------------------------------------------------------------------------------------------
def _outbound(old: list[Any], new: list[Any]) -> Iterator[Row]:
    try:
        before, after = parse_rules(old), parse_rules(new)
    except RuleProblem as problem:
        if not subset.same(old, new):
            words = f"What it may reach changed, and cannot be read: {problem}."
            yield _change("outbound", "outbound_domains", "changed", "widening", words, before=old, after=new)
        return
    for rule in after:
        if not any(_inside(rule, other) for other in before):
            kin = _kin(rule, before)
            yield _change("outbound", rule.host, "changed" if kin else "added", "widening", f"It may reach {_said(rule)}.",
                          before=_said(kin) if kin else None, after=_said(rule))  # fmt: skip
    for rule in before:
        if not any(_inside(rule, other) for other in after):
            kin = _kin(rule, after)
            words = f"It may no longer reach all of {_said(rule)}." if kin else f"It may no longer reach {_said(rule)}."
            yield _change("outbound", rule.host, "changed" if kin else "removed", "narrowing", words,
                          before=_said(rule), after=_said(kin) if kin else None)  # fmt: skip


def _outbound_limits(old: Row, new: Row) -> Iterator[Row]:
    """None is no limit of the pack's own."""
    for name in sorted({*old, *new}):
        low, high = old.get(name), new.get(name)
        if low == high:
            continue
        kind: Class = "narrowing" if high is not None and (low is None or high < low) else "widening"
        words = f"Its own limit of {name} to the outside is {high or 'none'} instead of {low or 'none'}."
        yield _change("outbound_limit", name, "changed", kind, words, before=low, after=high)


def _kin(rule: Rule, others: Iterable[Rule]) -> Rule | None:
    return next((other for other in others if other.host == rule.host), None)


def _inside(rule: Rule, other: Rule) -> bool:
    """Whether all that one rule lets through, the other does."""
    host = rule.host == other.host or (
        other.suffix is not None and (rule.suffix or f".{rule.host}").endswith(other.suffix) and rule.host != other.host
    )
    if not host or not rule.ports <= other.ports:
        return False
    # What is not read has any method and path; a WebSocket says anything once it stands.
    if (rule.opaque and not other.opaque) or (rule.websocket and not other.websocket):
        return False
    if other.opaque:
        return True
    # Without methods a rule allows what the tool's class allows, which may be anything.
    if other.methods is not None and (rule.methods is None or not rule.methods <= other.methods):
        return False
    if other.methods is None and rule.methods is not None and not _by_class(rule.methods):
        return False
    if other.paths is None:
        return True
    return rule.paths is not None and all(any(_under(path, wide) for wide in other.paths) for path in rule.paths)


def _by_class(methods: frozenset[str]) -> bool:
    """Whether methods are what every class of tool may use: named ones let a reading tool write."""
    return methods <= {"GET", "HEAD"}


def _under(path: str, wide: str) -> bool:
    return path.startswith(wide[:-1]) if wide.endswith("*") else path == wide


def _said(rule: Rule) -> str:
    ports = "" if len(rule.ports) > 1 else f" port {next(iter(rule.ports))}"
    methods = "" if rule.methods is None else f" by {', '.join(sorted(rule.methods))}"
    paths = "" if rule.paths is None else f" at {', '.join(rule.paths)}"
    how = ", unread" if rule.opaque else ", WebSockets too" if rule.websocket else ""
    return f"{rule.host}{ports}{methods}{paths}{how}"


# connections, services, mounts --------------------------------------------------------------------------------------
def _connections(old: list[Row], new: list[Row]) -> Iterator[Row]:
    before, after = ({need["provider"]: need for need in needs} for needs in (old, new))
    for name in sorted(after.keys() - before.keys()):
        where = (after[name].get("inject") or {}).get("host")
        place = f", whose credential the broker places on requests to {where}" if where else ""
        yield _change("connection", name, "added", "widening", f"It is backed by a connection to {name}{place}.",
                      after=after[name])  # fmt: skip
    for name in sorted(before.keys() - after.keys()):
        yield _change("connection", name, "removed", "narrowing", f"It needs no connection to {name} any more.",
                      before=before[name])  # fmt: skip
    for name in sorted(before.keys() & after.keys()):
        yield from _connection(name, before[name], after[name])


def _connection(name: str, old: Row, new: Row) -> Iterator[Row]:
    def told(kind: Class, words: str, key: str) -> Row:
        return _change("connection", name, "changed", kind, words, before=old.get(key), after=new.get(key))

    if not subset.same(old.get("inject"), new.get("inject")):
        if not new.get("inject"):
            yield told("narrowing", f"The credential of {name} is placed on no request any more.", "inject")
        else:
            where = new["inject"].get("host")
            yield told("widening", f"The credential of {name} is placed otherwise, on requests to {where}.", "inject")
    if bool(old.get("required", True)) != bool(new.get("required", True)):
        if new.get("required", True):
            yield told("neutral", f"It does not work without a connection to {name} any more.", "required")
        else:
            yield told("neutral", f"It works without a connection to {name} too.", "required")
    had, has = set(old.get("scopes") or []), set(new.get("scopes") or [])
    if more := sorted(has - had):
        yield told("widening", f"It needs more of {name}: {', '.join(more)}.", "scopes")
    elif had - has:
        yield told("narrowing", f"It needs less of {name}: no {', '.join(sorted(had - has))} any more.", "scopes")
    if old.get("idempotency_header") != new.get("idempotency_header"):
        lost = not new.get("idempotency_header")
        words = (
            f"{name} is not told any more which requests are repeats."
            if lost
            else f"{name} is told which requests are repeats, in the header {new.get('idempotency_header')}."
        )
        yield told("widening" if lost else "neutral", words, "idempotency_header")
    if (old.get("access") or "") != (new.get("access") or ""):
        yield told("neutral", f"It says otherwise what it needs {name} for.", "access")


def _named(area: str, what: str, old: Iterable[str], new: Iterable[str]) -> Iterator[Row]:
    for name in sorted(set(new) - set(old)):
        yield _change(area, name, "added", "widening", f"It uses the {what} {name}.", after=name)
    for name in sorted(set(old) - set(new)):
        yield _change(area, name, "removed", "narrowing", f"It does not use the {what} {name} any more.", before=name)


def _mounts(old: list[Row], new: list[Row]) -> Iterator[Row]:
    before, after = ({mount["name"]: mount for mount in mounts} for mounts in (old, new))
    for name in sorted(after.keys() - before.keys()):
        words = f"It reads the files that somebody binds as {name}, at {after[name]['target']}."
        yield _change("mount", name, "added", "widening", words, after=after[name]["target"])
    for name in sorted(before.keys() - after.keys()):
        yield _change("mount", name, "removed", "narrowing", f"It does not read the files bound as {name} any more.",
                      before=before[name]["target"])  # fmt: skip
    for name in sorted(before.keys() & after.keys()):
        if before[name]["target"] != after[name]["target"]:
            words = f"It finds the files bound as {name} at {after[name]['target']}."
            yield _change("mount", name, "changed", "neutral", words, before=before[name]["target"],
                          after=after[name]["target"])  # fmt: skip


def _limits(old: Row, new: Row) -> Iterator[Row]:
    for name in sorted({*LIMITS, *old, *new}):
        low, high = old.get(name) or LIMITS.get(name), new.get(name) or LIMITS.get(name)
        if low == high:
            continue
        less = isinstance(low, int | float) and isinstance(high, int | float) and high < low
        kind: Class = "narrowing" if less else "widening"
        unit = f" {_UNITS[name]}" if _UNITS.get(name) else ""
        words = f"Its limit of {name} is {high}{unit} instead of {low}{unit}."
        yield _change("limit", name, "changed", kind, words, before=low, after=high)


def _dependencies(old: list[Row], new: list[Row]) -> Iterator[Row]:
    before, after = (
        {f"{item['pack']}.{tool}" for item in items for tool in item.get("tools") or []} for items in (old, new)
    )
    yield from _named("dependency", "tool", before, after)
    packs_before, packs_after = ({item["pack"] for item in items} for items in (old, new))
    for pack in sorted(packs_after - packs_before):
        yield _change(
            "dependency", pack, "added", "widening", f"It needs the pack {pack} in the workspace.", after=pack
        )
    for pack in sorted(packs_before - packs_after):
        yield _change("dependency", pack, "removed", "narrowing", f"It does not need the pack {pack} any more.",
                      before=pack)  # fmt: skip


def _webhooks(old: list[Row], new: list[Row]) -> Iterator[Row]:
    before, after = ({hook["name"]: hook for hook in hooks} for hooks in (old, new))
    yield from _named("webhook", "webhook", before, after)
    for name in sorted(before.keys() & after.keys()):
        if not subset.same(before[name], after[name]):
            checked = before[name].get("verification") == after[name].get("verification")
            words = f"The webhook {name} takes other events, or checks them otherwise."
            yield _change("webhook", name, "changed", "neutral" if checked else "widening", words, before=before[name],
                          after=after[name])  # fmt: skip


# how it runs --------------------------------------------------------------------------------------------------------
def _runtime(old: Row, new: Row) -> Iterator[Row]:
    was, now = old.get("package") or {}, new.get("package") or {}
    if (was.get("ecosystem"), was.get("name")) != (now.get("ecosystem"), now.get("name")):
        words = f"Its code comes from {_package(now, new)} instead of {_package(was, old)}."
        yield _change("runtime", "package", "changed", "widening", words, before=was or None, after=now or None)
    elif was.get("version") != now.get("version"):
        words = f"Its package {now.get('name')} is {now.get('version')} instead of {was.get('version')}."
        yield _change("runtime", "package", "changed", "neutral", words, before=was.get("version"),
                      after=now.get("version"))  # fmt: skip
    for key, what in (("command", "It is started otherwise"), ("args", "It is started with other arguments"),
                      ("env", "It is started with other variables"), ("image", "It comes from another image"),
                      ("transport", "It is spoken to otherwise")):  # fmt: skip
        if not subset.same(old.get(key), new.get(key)):
            # What is started decides what is done: nobody can tell from its words that it is no more.
            yield _change("runtime", key, "changed", "widening", f"{what}.", before=old.get(key), after=new.get(key))
    known = {"package", "command", "args", "env", "image", "mounts", "limits", "transport"}
    for key in sorted((old.keys() | new.keys()) - known):
        if not subset.same(old.get(key), new.get(key)):
            # How strongly it is isolated, or what nobody here knows: more until somebody has looked.
            words = f"Its runtime says otherwise in {key}."
            yield _change("runtime", key, "changed", "widening", words, before=old.get(key), after=new.get(key))


def _package(package: Row, runtime: Row) -> str:
    return f"{package['ecosystem']} {package['name']}" if package else str(runtime.get("image") or "a command")


def _packages(old: list[Row], new: list[Row]) -> Iterator[Row]:
    before, after = ({str(item.get("name")): str(item.get("version")) for item in items} for items in (old, new))
    told: list[Row] = []
    for name in sorted(before.keys() | after.keys()):
        left, right = before.get(name), after.get(name)
        if left == right:
            continue
        change: Literal["added", "removed", "changed"] = (
            "added" if left is None else "removed" if right is None else "changed"
        )
        words = (
            f"{name} {right} is installed with it."
            if left is None
            else f"{name} is not installed with it any more."
            if right is None
            else f"{name} {right} is installed with it instead of {left}."
        )
        told.append(_change("package", name, change, "neutral", words, before=left, after=right))
    yield from told[:_PACKAGES_SHOWN]
    if len(told) > _PACKAGES_SHOWN:
        words = f"{len(told) - _PACKAGES_SHOWN} more installed packages differ."
        yield _change("package", "more", "changed", "neutral", words)


def _about(old: Row, new: Row) -> Iterator[Row]:
    says: Callable[[str], str] = lambda key: key.replace("_", " ")  # noqa: E731
    for key in _ABOUT:
        if not subset.same(old.get(key), new.get(key)):
            diff = partial(rules.diff, old.get(key) or "", new.get(key) or "", "before", "after")
            words = f"Its {says(key)} is another one."
            yield _change("about", key, "changed", "neutral", words, diff=diff)


def _unknown(old: Row, new: Row) -> Iterator[Row]:
    for key in sorted((old.keys() | new.keys()) - _HANDLED):
        if not subset.same(old.get(key), new.get(key)):
            words = f"Its manifest says otherwise in {key}, and nobody here knows what that allows."
            yield _change("other", key, "changed", "widening", words,
                          diff=partial(rules.diff, old.get(key), new.get(key), "before", "after"))  # fmt: skip
