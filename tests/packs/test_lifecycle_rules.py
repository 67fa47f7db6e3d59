"""What decides about packs without a database: names that clash, grades, versions that are hit, bills of materials."""

from __future__ import annotations

import copy
import json
import random
import string
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from xml.etree import ElementTree

import pytest

from worka.packs.lifecycle import advisories, grade, names, picture, sbom
from worka.packs.lifecycle.errors import FeedInvalid
from worka.packs.service import reaching

Row = dict[str, Any]
HASH = "a" * 64
SCHEMA = {"type": "object", "properties": {"text": {"type": "string"}}}


def known(publisher: str, name: str = "tools", workspace: str = "ws_theirs") -> list[Row]:
    """One identity that is there."""
    return [{"publisher": publisher, "name": name, "workspace_id": workspace}]


ALIKE = [
    ("w0rka", "worka", "publisher_confusable"),
    ("wor-ka", "worka", "publisher_confusable"),
    ("rnodel", "model", "publisher_confusable"),
    ("acme-c0rp", "acme_corp", "publisher_confusable"),
    ("githup", "github", "publisher_near"),
    ("gihtub", "github", "publisher_near"),
    ("githubs", "github", "publisher_near"),
]


@pytest.mark.capability("MAN-4")
def test_a_publisher_that_reads_like_another_one_is_refused_with_its_reason() -> None:
    for mine, theirs, code in ALIKE:
        found = names.squatting(mine, "other", "ws_mine", known(theirs))
        assert found is not None, mine
        assert (found.code, found.other) == (code, theirs)
        # The controls: the publisher's own next pack, and a publisher that nobody takes for this one.
        assert names.squatting(theirs, "other", "ws_theirs", known(theirs)) is None
        assert names.squatting("zebra-works", "other", "ws_mine", known(theirs)) is None


@pytest.mark.capability("MAN-4")
def test_a_series_and_neighbours_of_one_workspace_are_no_squatters() -> None:
    assert names.squatting("team2", "x", "ws_mine", known("team1")) is None
    assert names.squatting("short", "x", "ws_mine", known("shore")) is None, "short names are near by chance"
    assert names.squatting("githubs", "x", "ws_theirs", known("github")) is None, "its people know both"
    full = names.squatting("acme-to", "ols", "ws_mine", known("acme", "tools"))
    assert full is not None
    assert full.code == "pack_confusable"


@pytest.mark.capability("MAN-4")
def test_a_tool_may_not_be_taken_for_an_attached_one() -> None:
    there = [{"pack": "acme.web", "publisher": "acme", "tool": "search"}]
    assert names.shadowing("evil.web", "evil", ["search", "fetch"], there) == [
        {"tool": "search", "other": "acme.web.search", "code": "tool_shadowed"}
    ]
    assert [item["code"] for item in names.shadowing("acme.two", "acme", ["se_arch"], there)] == ["tool_confusable"]
    # The controls: the same publisher's packs share a word, and its own next release keeps its tools.
    assert names.shadowing("acme.two", "acme", ["search"], there) == []
    assert names.shadowing("acme.web", "acme", ["search"], there) == []


def good() -> Row:
    """A release in which every check holds."""
    tool = {
        "name": "say", "description": "Says what it is given, once.", "input_schema": SCHEMA, "output_schema": SCHEMA,
        "side_effect": "write", "idempotent": True, "pin": "p",
    }  # fmt: skip
    return {
        "id": "rel_x", "publisher": "acme", "name": "small", "version": "1.0.0", "digest": HASH,
        "created_at": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        "manifest": {
            "license": "MIT", "source": {"repository": "https://git.test/x", "revision": "abc"}, "description": "d",
            "runtime": {
                "package": {"ecosystem": "pypi", "name": "small", "version": "1.0"},
                "limits": {"memory": 64, "cpu": 10, "processes": 4, "timeout": 5},
            },
            "tools": [{"name": "say", "side_effect": "write", "idempotent": True}],
            "outbound_domains": [{"host": "api.test", "methods": ["GET"]}],
        },
        "lock_text": f"small==1.0 --hash=sha256:{HASH}\nlib==2.0 --hash=sha256:{'b' * 64}\n",
        "packages": [{"name": "small", "version": "1.0"}, {"name": "lib", "version": "2.0"}],
        "source": {"ecosystem": "pypi", "warnings": []},
        "tools": [tool],
        "probe": {"server_info": {"name": "small"}},
    }  # fmt: skip


BREAKS: dict[str, Callable[[Row], Any]] = {
    "input_schemas": lambda r: r["tools"][0].update(input_schema={}),
    "output_schemas": lambda r: r["tools"][0].update(output_schema=None),
    "descriptions": lambda r: r["tools"][0].update(description="Says."),
    "side_effects": lambda r: r["manifest"]["tools"][0].pop("side_effect"),
    "idempotency": lambda r: r["manifest"]["tools"][0].pop("idempotent"),
    "narrow_outbound": lambda r: r["manifest"].update(outbound_domains=["*.test"]),
    "licence": lambda r: r["manifest"].pop("license"),
    "source_revision": lambda r: r["manifest"].update(source="https://git.test/x"),
    "no_warnings": lambda r: r["source"].update(warnings=[{"pointer": "/x", "message": "unknown", "fix": "f"}]),
    "complete_lock": lambda r: r["packages"].append({"name": "stowaway", "version": "1.0"}),
    "probed": lambda r: r["probe"].pop("server_info") and r["probe"].update(protocol="1"),
    "limits": lambda r: r["manifest"]["runtime"]["limits"].pop("timeout"),
    "no_host_services": lambda r: r["manifest"].update(host_services=["worka.db"]),
}


@pytest.mark.capability("LIF-8")
def test_each_check_of_the_grade_drops_when_it_is_broken_and_no_other_does() -> None:
    assert {check.name for check in grade.CHECKS} == set(BREAKS), "each check has its break here"
    whole = grade.of(good())
    assert (whole["grade"], whole["passed"], whole["of"]) == ("A", len(BREAKS), len(BREAKS))
    for name, spoil in BREAKS.items():
        release = good()
        spoil(release)
        found = grade.of(release)
        broken = [check for check in found["checks"] if not check["passed"]]
        assert [check["name"] for check in broken] == [name]
        assert broken[0]["faults"], name
        assert broken[0]["fix"], name
        assert found["grade"] == "B", name
        assert name in grade.in_words(found)


@pytest.mark.capability("LIF-8")
def test_the_letter_falls_with_what_is_broken_and_nothing_is_graded_before_its_probe() -> None:
    release, letters = good(), []
    for spoil in BREAKS.values():
        letters.append(grade.of(release)["grade"])
        spoil(release)
    letters.append(grade.of(release)["grade"])
    assert letters == sorted(letters)
    assert set(letters) == {"A", "B", "C", "D"}
    assert grade.of({**good(), "probe": None})["grade"] == "-"


@pytest.mark.capability("LIF-7", part="a release carries a CycloneDX SBOM")
def test_the_bill_of_materials_names_every_installed_package_and_is_the_same_each_time() -> None:
    release = good()
    found = sbom.document(release)
    assert (found["bomFormat"], found["specVersion"], found["version"]) == ("CycloneDX", "1.6", 1)
    assert uuid.UUID(found["serialNumber"].removeprefix("urn:uuid:")).version == 5
    assert [(c["name"], c["version"], c["purl"]) for c in found["components"]] == [
        ("lib", "2.0", "pkg:pypi/lib@2.0"),
        ("small", "1.0", "pkg:pypi/small@1.0"),
    ]
    assert found["components"][1]["properties"] == [{"name": "worka:lock:sha256", "value": HASH}]
    references = {component["bom-ref"] for component in found["components"]}
    assert len(references) == len(found["components"]), "references are of one thing each"
    root = found["metadata"]["component"]["bom-ref"]
    assert set(found["dependencies"][0]["dependsOn"]) == references
    assert {entry["ref"] for entry in found["dependencies"]} == {root, *references}
    assert json.dumps(sbom.document(copy.deepcopy(release))) == json.dumps(found)
    release["source"]["ecosystem"] = "npm"
    release["packages"] = [{"name": "@scope/thing", "version": "1.2.3"}]
    assert sbom.document(release)["components"][0]["purl"] == "pkg:npm/%40scope/thing@1.2.3"


def osv(name: str = "lib", ecosystem: str = "PyPI", *events: Row, **more: Any) -> Row:
    """An advisory that hits a range of a package."""
    ranges = [{"type": "ECOSYSTEM", "events": list(events) or [{"introduced": "0"}, {"fixed": "2.1"}]}]
    return {
        "id": "OSV-1", "modified": "2026-01-01T00:00:00Z", "summary": "It is broken.",
        "affected": [{"package": {"ecosystem": ecosystem, "name": name}, "ranges": ranges}], **more,
    }  # fmt: skip


RANGES: list[tuple[str, list[Row], list[str], list[str]]] = [
    ("PyPI", [{"introduced": "0"}, {"fixed": "2.1"}], ["0.1", "2.0", "2.1rc1"], ["2.1", "2.1.post1", "3"]),
    ("PyPI", [{"introduced": "1.0"}, {"last_affected": "1.4"}], ["1.0", "1.4"], ["0.9", "1.4.1"]),
    (
        "PyPI",
        [{"fixed": "2.2.5"}, {"introduced": "2.3"}, {"introduced": "0"}, {"fixed": "2.3.2"}],
        ["1", "2.3.1"],
        ["2.2.5", "2.2.9", "2.3.2"],
    ),
    (
        "npm",
        [{"introduced": "1.0.0"}, {"fixed": "1.10.0"}],
        ["1.0.0", "1.9.9", "1.10.0-rc.1"],
        ["1.10.0", "1.0.0-a"],
    ),
    ("npm", [{"introduced": "0"}], ["0.0.1", "99.0.0", "no version"], []),
    ("npm", [{"introduced": "1.0.0"}], ["1.0.0"], ["no version"]),
]


@pytest.mark.capability("GOV-16", part="which versions an advisory hits")
def test_a_version_is_hit_inside_a_range_and_not_beside_it() -> None:
    for ecosystem, events, hit, safe in RANGES:
        (row,) = advisories.read([osv("lib", ecosystem, *events)])
        ours = advisories.ECOSYSTEMS[ecosystem]
        assert [version for version in hit if not advisories.hit(ours, "lib", version, row["affects"])] == []
        assert [version for version in safe if advisories.hit(ours, "lib", version, row["affects"])] == []
        assert not advisories.hit(ours, "another", hit[0], row["affects"])


@pytest.mark.capability("GOV-16", part="which versions an advisory hits")
def test_a_package_is_found_under_every_way_of_writing_its_name() -> None:
    (row,) = advisories.read([osv("Zope.Interface_X")])
    assert advisories.hit("pypi", "zope-interface-x", "1.0", row["affects"])
    assert not advisories.hit("npm", "zope-interface-x", "1.0", row["affects"])


WRONG: list[tuple[Any, str]] = [
    ("text", "documents/1"),
    ({}, "documents/1/id"),
    ({"id": "../../etc"}, "documents/1/id"),
    ({"id": "OSV-2", "modified": "yesterday"}, "documents/1/modified"),
    (osv(id="OSV-2", affected="all of it"), "documents/1/affected"),
    (osv(name="x" * 300), "documents/1/affected/package/name"),
    (osv("lib", "PyPI", "1.0"), "documents/1/affected/ranges/events"),  # type: ignore[arg-type]
    (osv(summary=["a", "list"]), "documents/1/summary"),
]


@pytest.mark.capability("GOV-16", part="a feed that is malformed is refused whole, by document and field")
def test_a_malformed_feed_is_refused_by_document_and_field() -> None:
    assert len(advisories.read([osv()])) == 1, "the control: a right one is read"
    for document, field in WRONG:
        with pytest.raises(FeedInvalid) as refused:
            advisories.read([osv(), document])
        assert refused.value.extra["field"] == field


@pytest.mark.capability("GOV-16", part="a feed that is malformed is refused whole, by document and field")
def test_any_document_is_read_or_refused_and_nothing_else() -> None:
    made = random.Random(7)

    def anything(depth: int = 0) -> Any:
        kinds = ["text", "number", "none", "list", "object"] if depth < 4 else ["text", "number"]
        kind = made.choice(kinds)
        if kind == "text":
            return "".join(made.choice(string.printable) for _ in range(made.randrange(6)))
        if kind in ("number", "none"):
            return made.choice([0, -1, 1e300, True]) if kind == "number" else None
        if kind == "list":
            return [anything(depth + 1) for _ in range(made.randrange(3))]
        keys = ["id", "modified", "affected", "package", "ecosystem", "name", "ranges", "events", "versions", "type"]
        return {made.choice(keys): anything(depth + 1) for _ in range(made.randrange(5))}

    read = refused = 0
    for _ in range(3000):
        document = {**osv(), made.choice(["affected", "id", "modified", "severity", "summary"]): anything()}
        if made.random() < 0.5:
            document["affected"] = [
                {"package": {"ecosystem": "PyPI", "name": "lib"}, "ranges": [anything()], "versions": []}
            ]
        try:
            for row in advisories.read([document]):
                advisories.hit("pypi", "lib", "1.0", row["affects"])
            read += 1
        except FeedInvalid:
            refused += 1
    assert min(read, refused) > 300, (read, refused)


@pytest.mark.capability("GOV-16", part="a feed that is malformed is refused whole, by document and field")
def test_a_feed_that_is_too_large_is_refused() -> None:
    assert len(advisories.read([osv(id=f"OSV-{n}") for n in range(advisories.MOST)])) == advisories.MOST
    with pytest.raises(FeedInvalid):
        advisories.read([osv()] * (advisories.MOST + 1))


@pytest.mark.capability("BEY-3", part="packs, as a list and a picture")
def test_the_picture_says_what_the_list_says_and_no_name_gets_out_of_its_text() -> None:
    evil = '</text><script>alert("x")</script><text onload="y">'
    blank: Row = {name: [] for name in reaching.LISTS}
    reach = {
        "name": evil, "reaches": [{"host": evil, "port": 443}], **blank,
        "tasks": [{"id": "t", "name": evil, "workspace_id": "w", "state": "running"}] * 40,
    }  # fmt: skip
    drawn = picture.svg(reach)
    tree = ElementTree.fromstring(drawn)
    tags = {node.tag.rpartition("}")[2] for node in tree.iter()}
    assert tags <= {"svg", "title", "text", "path", "rect"}
    assert not [key for node in tree.iter() for key in node.attrib if key.startswith("on") or key == "style"]
    words = [node.text or "" for node in tree.iter() if node.tag.endswith("text")]
    assert "and 29 more" in words
    assert "1 destination; without it 40 tasks" in picture.said(reach)


@pytest.mark.capability("BEY-3", part="packs, as a list and a picture")
def test_what_is_declared_and_what_was_used_are_one_list_that_tells_them_apart() -> None:
    releases: list[Row] = [
        {
            "manifest": {
                "outbound_domains": ["api.test", {"host": "b.test", "port": 8443, "methods": ["GET"]}, "*.cdn.test"]
            }
        },
        {"manifest": {"outbound_domains": [{"host": "b.test", "port": 8443, "methods": ["POST"]}]}},
    ]
    at = datetime(2026, 1, 1, tzinfo=UTC)
    went = [
        {"workspace_id": "ws_a", "host": "old.test", "port": 443, "count": 3, "last_at": at},
        {"workspace_id": "ws_b", "host": "api.test", "port": 443, "count": 2, "last_at": at},
        {"workspace_id": "ws_b", "host": "x.cdn.test", "port": 443, "count": 1, "last_at": at},
    ]
    found = {
        row["host"]: (row["port"], row["methods"], row["declared"], row["used"])
        for row in reaching.reaches(releases, went)
    }
    assert found == {
        "api.test": (443, [], True, 2),
        "b.test": (8443, ["GET", "POST"], True, 0),
        "*.cdn.test": (443, [], True, 0),
        "x.cdn.test": (443, [], True, 1),
        "old.test": (443, [], False, 3),
    }


@pytest.mark.capability("BEY-3", part="packs, as a list and a picture")
def test_where_it_went_is_told_to_those_alone_in_whose_workspaces_it_went_there() -> None:
    releases: list[Row] = [{"manifest": {"outbound_domains": ["api.test", "*.cdn.test"]}}]
    early, late = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)
    went = [
        {"workspace_id": "ws_a", "host": "api.test", "port": 443, "count": 3, "last_at": early},
        {"workspace_id": "ws_b", "host": "api.test", "port": 443, "count": 2, "last_at": late},
        {"workspace_id": "ws_b", "host": "x.cdn.test", "port": 443, "count": 1, "last_at": late},
        {"workspace_id": "ws_b", "host": "old.test", "port": 443, "count": 1, "last_at": late},
    ]
    found = {"kind": "pack", "subject": "p", "name": "p", "workspaces": [], "reaches": reaching.reaches(releases, went)}

    def seen(*places: str) -> Row:
        return {row["host"]: (row["used"], row["last_at"]) for row in reaching.cut(found, set(places))["reaches"]}

    assert seen("ws_a") == {"*.cdn.test": (0, None), "api.test": (3, early)}
    assert seen() == {"*.cdn.test": (0, None), "api.test": (0, None)}
    assert seen("ws_a", "ws_b") == {  # the control: who sees both sees all of it
        "*.cdn.test": (0, None), "api.test": (5, late), "x.cdn.test": (1, late), "old.test": (1, late),
    }  # fmt: skip
