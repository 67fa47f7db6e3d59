"""The manifest: what is refused, with which pointer and fix; what is only told; and that the published schema is the
models."""

from __future__ import annotations

import copy
import json
import time
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from worka.packs import manifest, rules
from worka.packs.errors import LockInvalid, ManifestInvalid
from worka.packs.runtime.record import read_lock

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ("git", "fetch", "notes", "tables", "changes", "documents")


def good() -> dict[str, Any]:
    """A small manifest that is valid."""
    return {
        "schema_version": "worka.aip.v1",
        "publisher": "acme",
        "name": "weather",
        "version": "1.2.0",
        "display_name": "Weather",
        "description": "Says the weather.",
        "runtime": {"package": {"ecosystem": "pypi", "name": "acme-weather", "version": "1.2.0"}},
        "tools": [{"name": "now", "side_effect": "read_only"}],
        "outbound_domains": ["api.acme.test"],
        "connections": [
            {
                "provider": "acme",
                "inject": {
                    "host": "api.acme.test",
                    "header": "Authorization",
                    "template": "Bearer {{connection.access_token}}",
                },
            }
        ],
    }


def changed(path: str, value: Any) -> dict[str, Any]:
    """The good manifest with one place changed (`None` removes it)."""
    document = good()
    here: Any = document
    *way, last = path.split("/")
    for step in way:
        here = here[int(step)] if isinstance(here, list) else here.setdefault(step, {})
    if value is None:
        del here[last]
    else:
        here[int(last) if isinstance(here, list) else last] = value
    return document


@pytest.mark.capability("MAN-2", part="identity, version, tools, outbound domains, connections, runtime")
def test_a_good_manifest_is_read_without_a_warning() -> None:
    found, notices = manifest.read(good())
    assert notices == []
    assert found.pack == "acme.weather"
    assert found.declared_tools["now"].side_effect == "read_only"


WRONG = {
    "version": ("version", "1.2", "/version", "SemVer"),
    "publisher": ("publisher", "Acme Inc", "/publisher", "lower-case"),
    "missing name": ("name", None, "/name", "add it"),
    "side effect": ("tools/0/side_effect", "harmless", "/tools/0/side_effect", "read_only"),
    "tool schema": ("tools/0/input_schema", {"type": "objekt"}, "/tools/0/input_schema", "JSON Schema"),
    "no way to start": ("runtime/package", None, "/runtime", "exactly one"),
    "two ways to start": ("runtime/image", "docker.io/acme", "/runtime", "exactly one"),
    "mount in the system": (
        "runtime/mounts",
        [{"name": "x", "target": "/etc/x"}],
        "/runtime/mounts/0/target",
        "sandbox",
    ),
    "mount with dots": (
        "runtime/mounts",
        [{"name": "x", "target": "/repo/../etc"}],
        "/runtime/mounts/0/target",
        "absolute",
    ),
    "writable mount": (
        "runtime/mounts",
        [{"name": "x", "target": "/repo", "mode": "rw"}],
        "/runtime/mounts/0/mode",
        "'ro'",
    ),
    "our environment": ("runtime/env", {"SSL_CERT_FILE": "/tmp/mine.pem"}, "/runtime/env", "SSL_CERT_FILE"),
    "loader environment": ("runtime/env", {"LD_PRELOAD": "/tmp/x.so"}, "/runtime/env", "LD_PRELOAD"),
    "port": ("outbound_domains", [{"host": "api.acme.test", "port": 22}], "/outbound_domains/0/port", "443"),
    "host": ("outbound_domains", ["not a host"], "/outbound_domains/0", "host name"),
    "unread by method": (
        "outbound_domains",
        [{"host": "api.acme.test", "opaque": True, "methods": ["GET"]}],
        "/outbound_domains/0",
        "{host, port, methods, paths",
    ),
    "a credential on what is not read": (
        "outbound_domains",
        [{"host": "api.acme.test", "opaque": True}],
        "/connections/0/inject/host",
        "take opaque away",
    ),
    "a limit of nothing": ("outbound_limits", {"at_once": 0}, "/outbound_limits/at_once", "1"),
    "host of the credential": (
        "connections/0/inject/host",
        "evil.test",
        "/connections/0/inject/host",
        "declare the host",
    ),
    "template": (
        "connections/0/inject/template",
        "Bearer {{env.SECRET}}",
        "/connections/0/inject/template",
        "connection roots",
    ),
    "header and query": ("connections/0/inject/query", "token", "/connections/0/inject", "exactly one"),
    "framing header": ("connections/0/inject/header", "Host", "/connections/0/inject/header", "frames"),
    "host service": ("host_services", ["worka.shell"], "/host_services/0", "worka.runtime"),
    "tools": ("tools", "everything", "/tools", "list"),
    "no tool": ("tools", [], "/tools", "at least 1"),
    "two of one name": ("tools", [{"name": "a"}, {"name": "a"}], "/tools/1/name", "remove one"),
}


@pytest.mark.capability("MAN-1")
@pytest.mark.parametrize("case", sorted(WRONG))
def test_a_wrong_field_is_refused_with_its_pointer_and_the_fix(case: str) -> None:
    path, value, pointer, hint = WRONG[case]
    with pytest.raises(ManifestInvalid) as refusal:
        manifest.read(changed(path, value))
    errors = refusal.value.extra["errors"]
    assert [error["pointer"] for error in errors] == [pointer]
    assert hint in errors[0]["message"] + errors[0]["fix"]


@pytest.mark.capability("MAN-1")
def test_all_errors_are_told_at_once() -> None:
    document = changed("version", "one")
    document["publisher"] = "A"
    del document["description"]
    with pytest.raises(ManifestInvalid) as refusal:
        manifest.read(document)
    assert {error["pointer"] for error in refusal.value.extra["errors"]} == {"/version", "/publisher", "/description"}


@pytest.mark.capability("MAN-3")
def test_unknown_fields_are_told_with_the_nearest_name_and_not_read() -> None:
    document = good()
    document["outbound_domain"] = ["evil.test"]
    document["tools"][0]["sideeffect"] = "read_only"
    del document["tools"][0]["side_effect"]
    found, notices = manifest.read(document)
    told = {notice.pointer: notice.fix for notice in notices}
    assert "outbound_domains" in told["/outbound_domain"]
    assert "side_effect" in told["/tools/0/sideeffect"]
    assert [str(item) for item in found.outbound_domains] == ["api.acme.test"]
    # What was not said counts as the worst.
    assert found.declared_tools["now"].side_effect == "destructive"


@pytest.mark.capability("MAN-3")
def test_of_very_many_unknown_fields_some_are_told_and_the_rest_are_counted() -> None:
    _, notices = manifest.read(good() | {f"unknown_{number}": 1 for number in range(120)})
    assert len(notices) == manifest.MOST_TOLD + 1
    assert "and 70 more fields" in notices[-1].message
    _, one = manifest.read(good() | {"unknown_0": 1})
    assert len(one) == 1, "the control"
    began = time.thread_time()
    with pytest.raises(ManifestInvalid, match="100000 fields are none of") as refused:
        manifest.read(good() | {f"unknown_{number}": 1 for number in range(100_000)})
    assert time.thread_time() - began < 10
    assert len(refused.value.extra["warnings"]) <= manifest.MOST_TOLD


@pytest.mark.capability("MAN-1")
def test_of_very_many_errors_the_first_are_told() -> None:
    document = good()
    document["dependencies"] = ["acme/maps"] * 100_000
    document["runtime"]["env"] = {f"not a name {number}": "x" for number in range(100_000)}
    began = time.thread_time()
    with pytest.raises(ManifestInvalid) as refused:
        manifest.read(document, place=manifest.OLDER_PLACE)
    assert time.thread_time() - began < 10
    told = refused.value.extra
    assert len(told["errors"]) == manifest.MOST_TOLD + 1
    assert told["errors"][-1]["message"] == "there are more errors"
    assert len(told["warnings"]) < 200


def test_the_older_root_level_form_is_mapped_and_says_what_to_rename() -> None:
    document = good()
    document["tenant"] = document.pop("publisher")
    del document["schema_version"]
    document["dependencies"] = ["acme/maps"]
    found, notices = manifest.read(document, place=manifest.OLDER_PLACE)
    assert (found.publisher, found.dependencies[0].pack) == ("acme", "acme.maps")
    assert {"", "/schema_version", "/tenant", "/dependencies/0", "/dependencies"} == {
        notice.pointer for notice in notices
    }
    with pytest.raises(ManifestInvalid):
        manifest.read(document)


@pytest.mark.parametrize("value", [None, [], "x", 5])
def test_what_is_no_object_is_refused(value: Any) -> None:
    with pytest.raises(ManifestInvalid):
        manifest.read(value)


@pytest.mark.capability("MAN-3")
def test_the_published_schema_is_the_models() -> None:
    published = manifest.published_schema()
    assert published == json.loads(json.dumps(manifest.schema())), (
        "regenerate: python -c 'import json; from worka.packs import manifest; print(json.dumps(manifest.schema(), "
        "indent=2))'"
    )
    jsonschema.Draft202012Validator.check_schema(published)
    jsonschema.validate(good(), published)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(changed("version", "1"), published)


@pytest.mark.capability("MAN-5")
@pytest.mark.parametrize("name", SHIPPED)
def test_the_shipped_manifests_are_valid_complete_and_locked(name: str) -> None:
    folder = ROOT / "packs" / name
    document = json.loads((folder / "worka" / "aip.json").read_text())
    found, notices = manifest.read(document)
    assert notices == []
    jsonschema.validate(document, manifest.published_schema())
    assert all(tool.description and tool.input_schema for tool in found.declared_tools.values())
    assert found.runtime.package is not None
    lock = read_lock((folder / found.runtime.package.lock).read_text())
    if found.runtime.package.ecosystem == "pypi":
        assert lock.pins[found.runtime.package.name] == found.runtime.package.version
        # Nothing of ours stands beside an unmodified server: the manifest alone makes it a pack.
        assert sorted(path.name for path in folder.iterdir()) == ["README.md", "requirements.lock", "worka"]


def test_a_lock_that_chooses_its_own_source_is_refused() -> None:
    pin = "a==1 --hash=sha256:" + "0" * 64
    assert read_lock(pin).pins == {"a": "1"}
    for line in ("--index-url https://evil.test/simple", "-e .", "a==1", "a @ https://evil.test/a.whl", "a>=1"):
        with pytest.raises(LockInvalid):
            read_lock(f"{pin}\n{line}\n")


def probed(**changes: Any) -> list[dict[str, Any]]:
    """What a server lists."""
    return [
        {
            "name": "now",
            "description": "d",
            "input_schema": {"type": "object"},
            "output_schema": None,
            "annotations": None,
        }
        | changes
    ]


@pytest.mark.capability("TOL-1")
def test_declared_and_listed_tools_differ_readably() -> None:
    document = changed("tools/0", {"name": "now", "description": "other", "side_effect": "read_only"})
    declared, _ = manifest.read(document)
    (difference,) = rules.tool_differences(declared, probed())
    assert (difference["tool"], difference["field"]) == ("now", "description")
    assert "-other" in difference["diff"]
    assert "+d" in difference["diff"]
    extra = rules.tool_differences(declared, [*probed(description="other"), *probed(name="wipe")])
    assert [(item["tool"], item["diff"]) for item in extra] == [("wipe", "listed by the server, but not declared")]
    missing = rules.tool_differences(declared, probed(name="nwo"))
    assert "it lists nwo" in missing[0]["diff"]
    assert rules.tool_differences(declared, probed(description="other")) == []


@pytest.mark.capability("TOL-6")
def test_the_class_of_a_tool_is_the_manifests_never_the_servers_hint() -> None:
    document = changed("tools", "discover")
    declared, _ = manifest.read(document)
    (tool,) = rules.freeze(declared, probed(annotations={"readOnlyHint": True}))
    assert (tool["side_effect"], tool["idempotent"]) == ("destructive", False)
    (known,) = rules.freeze(manifest.read(good())[0], probed())
    assert known["side_effect"] == "read_only"


@pytest.mark.capability("TOL-5", part="pins")
def test_a_pin_changes_with_everything_that_a_caller_is_shown() -> None:
    declared, _ = manifest.read(good())
    pins = {
        rules.freeze(declared, probed(**change))[0]["pin"]
        for change in (
            {},
            {"description": "e"},
            {"input_schema": {}},
            {"output_schema": {}},
            {"annotations": {"title": "x"}},
        )
    }
    assert len(pins) == 5


def test_the_release_digest_covers_manifest_lock_and_tree() -> None:
    one = copy.deepcopy(good())
    digests = {
        rules.release_digest(one, "lock", "tree"),
        rules.release_digest(changed("description", "x"), "lock", "tree"),
        rules.release_digest(one, "lock2", "tree"),
        rules.release_digest(one, "lock", "tree2"),
    }
    assert len(digests) == 4


@pytest.mark.capability("TOL-1")
def test_of_two_long_texts_the_beginnings_are_compared_and_that_they_differ_later_is_said() -> None:
    rows = [f"line {number % 500}" for number in range(60_000)]
    began = time.thread_time()
    assert rules.diff("\n".join(rows), "\n".join(rows[::-1])) != ""
    assert time.thread_time() - began < 5
    later = rules.diff("\n".join(rows), "\n".join([*rows[:-1], "another"]))
    assert later == rules.UNCOMPARED
    assert "+two" in rules.diff("one\nthree", "one\ntwo\nthree"), "the control"
