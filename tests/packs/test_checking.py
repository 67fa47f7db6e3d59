"""What an author is told before anything is sent, and what a manifest may declare that nothing stands behind yet."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import jsonschema
import pytest

from tests.packs.conftest import Packs
from tests.packs.test_manifest import changed, good
from tests.packs.test_registration import lock, small, tree
from worka.cli import starter
from worka.packs import checking, later, manifest, schema, service
from worka.packs.errors import LockInvalid, ManifestInvalid
from worka.packs.folder import Source

LATER: dict[str, Any] = {
    "webhooks": [{"name": "changed", "verification": "standard-webhooks", "schema": {"type": "object"}}],
    "host_services": ["worka.runtime"],
    "dependencies": [{"pack": "acme.maps", "tools": ["find"]}],
    "views": {"board": {"title": "Board", "path": "views/board.json"}},
    "templates": {"members": [{"name": "Rhea"}], "workflows": [], "hooks": []},
    "migrations": "migrations",
}


def started() -> Source:
    """The pack that `worka pack init` writes."""
    files = {
        name: text.encode() for name, text in starter.files("acme", "small").items() if not name.startswith("tests")
    }
    return Source(json.loads(files["worka/aip.json"]), manifest.PLACE, files["requirements.lock"].decode(), files)


@pytest.mark.capability("MAN-1")
def test_a_new_pack_has_nothing_wrong_and_each_thing_that_is_broken_in_it_is_told_with_its_fix() -> None:
    source = started()
    assert checking.check(source) == checking.Verdict(manifest.read(source.document)[0], [], [])
    runtime = source.document["runtime"]
    without = {name: data for name, data in source.files.items() if not name.endswith("__main__.py")}
    wrong = {
        "/runtime/command/2": replace(source, files=without),
        "/runtime/package/lock": replace(source, lock="mcp==2.3.0"),
        "/version": replace(source, document=source.document | {"version": "1"}),
        "/runtime/command/1": replace(
            source, document=source.document | {"runtime": runtime | {"command": ["python", "no.py"]}}
        ),
        "/views/board/path": replace(source, document=source.document | {"views": LATER["views"]}),
        "/migrations": replace(source, document=source.document | {"migrations": "migrations"}),
    }
    for pointer, broken in wrong.items():
        (error,) = checking.check(broken).errors
        assert error.pointer == pointer
        assert error.message
        assert error.fix
    both = replace(source, files={**source.files, manifest.OLDER_PLACE: source.files[manifest.PLACE]})
    assert [error.message for error in checking.check(both).errors] == ["the files hold worka/aip.json and aip.json"]
    files = {name: data for name, data in source.files.items() if name != "requirements.lock"}
    told = checking.check(replace(source, files={**files, "x.py": b"def ("}))
    assert told.ok
    assert "x.py is not Python in line 1" in told.warnings[0].message
    assert "nothing is installed" in told.warnings[1].message


@pytest.mark.capability("MAN-1")
def test_a_lock_that_does_not_pin_the_package_is_told_with_the_command_that_makes_it() -> None:
    source = Source(good(), manifest.PLACE, "acme-weather==1.0.0 --hash=sha256:" + "0" * 64, {})
    (error,) = checking.check(source).errors
    assert (error.pointer, error.fix) == ("/runtime/package/lock", "make it with `worka pack lock`")
    right = replace(source, lock="Acme_Weather==1.2.0 --hash=sha256:" + "0" * 64)
    assert checking.check(right).ok, "the control: another spelling of the same name"


@pytest.mark.capability(
    "MAN-2", part="webhooks, host services, dependencies, views, migrations and templates are read, checked and told"
)
def test_a_field_without_a_subject_is_read_checked_and_never_ignored() -> None:
    assert LATER.keys() == later.BY_FIELD.keys()
    for field, value in LATER.items():
        document = good() | {field: value}
        jsonschema.validate(document, manifest.published_schema())
        found, notices = manifest.read(document)
        assert [notice.pointer for notice in notices] == [f"/{field}"]
        assert notices[0].fix
        refused = [notice.pointer for notice in manifest.unserved(found)]
        assert refused == ([f"/{field}"] if later.BY_FIELD[field].refused else [])
    assert manifest.unserved(manifest.read(good())[0]) == [], "the control"


WRONG = {
    "a schema that is none": ("webhooks", [LATER["webhooks"][0] | {"schema": {"type": "objekt"}}], "/webhooks/0/schema"),
    "two of one name": ("webhooks", LATER["webhooks"] * 2, "/webhooks/1/name"),
    "itself": ("dependencies", [{"pack": "acme.weather"}], "/dependencies/0/pack"),
    "a pack twice": ("dependencies", LATER["dependencies"] * 2, "/dependencies/1/pack"),
    "no pack": ("dependencies", [{"pack": "maps"}], "/dependencies/0/pack"),
    "a view outside": ("views", {"x": {"title": "X", "path": "../x.json"}}, "/views/x/path"),
    "a view without title": ("views", {"x": {"path": "x.json"}}, "/views/x/title"),
    "migrations outside": ("migrations", "/etc", "/migrations"),
    "a script as a homepage": ("homepage", "javascript:alert(1)", "/homepage"),
    "the key in a framing header": (
        "connections/0/idempotency_header", "Content-Length", "/connections/0/idempotency_header",
    ),
    "the key over the credential": (
        "connections/0/idempotency_header", "authorization", "/connections/0/idempotency_header",
    ),
}  # fmt: skip


@pytest.mark.capability(
    "MAN-2", part="webhooks, host services, dependencies, views, migrations and templates are read, checked and told"
)
def test_a_wrong_one_is_refused_with_its_place() -> None:
    for what, (path, value, pointer) in WRONG.items():
        with pytest.raises(ManifestInvalid) as refusal:
            manifest.read(changed(path, value))
        assert [error["pointer"] for error in refusal.value.extra["errors"]] == [pointer], what


@pytest.mark.capability(
    "MAN-2", part="webhooks, host services, dependencies, views, migrations and templates are read, checked and told"
)
async def test_registration_refuses_what_would_be_broken_and_shows_what_is_told(place: Packs) -> None:
    for document, pointer in (
        (small(migrations="migrations"), "/migrations"),
        (small(views=LATER["views"]), "/views/board/path"),
        (small(runtime={"image": "registry.test/x"}), "/runtime/image"),
        (small(runtime={"command": ["sh", "-c", "true"]}), "/runtime/command"),
    ):
        with pytest.raises(ManifestInvalid) as refused:
            await place.register(document, lock(), tree())
        assert [error["pointer"] for error in refused.value.extra["errors"]] == [pointer]
    assert await place.world.rows("release") == []
    told = {key: value for key, value in LATER.items() if key != "migrations"}
    files = {**tree(), "views/board.json": b"{}"}
    encoded = {name: base64.b64encode(data).decode() for name, data in files.items()}
    row = await service.register(place.ctx(), small(**told), lock_text=lock(), files=encoded)
    shown = schema.release(row)
    assert [warning["pointer"] for warning in shown["warnings"]] == [f"/{field}" for field in told]
    assert {field: shown["manifest"][field] for field in told} == told


@pytest.mark.capability("MAN-1", part="one manifest, in the request and among the files")
async def test_a_manifest_among_the_files_that_says_something_else_is_refused(place: Packs) -> None:
    said = small()
    for other in (json.dumps(small(description="harmless")), "{", '{"version": "1.0.0", "version": "2.0.0"}'):
        with pytest.raises(ManifestInvalid, match="the files hold another"):
            await place.register(said, lock(), {**tree(), "worka/aip.json": other.encode()})
    assert await place.world.rows("release") == []
    files = {**tree(), "worka/aip.json": json.dumps(said, indent=7).encode()}
    encoded = {name: base64.b64encode(data).decode() for name, data in files.items()}
    row = await service.register(place.ctx(), said, lock_text=lock(), files=encoded)
    assert row["state"] == "draft", "the control: the same document, laid out otherwise"
    again = await service.register(place.ctx(), row["manifest"], lock_text=lock(), files=encoded)
    assert again["id"] == row["id"], "the document as it was understood, as an artifact carries it, is the same"


@pytest.mark.capability("MAN-1", part="one manifest, in the request and among the files")
async def test_a_manifest_in_its_other_place_and_a_lock_among_the_files_say_the_same_or_are_refused(
    place: Packs,
) -> None:
    said, harmless = small(), json.dumps(small(description="harmless")).encode()
    same = json.dumps(said).encode()
    older = {key: value for key, value in said.items() if key not in ("schema_version", "publisher")} | {
        "tenant": "acme"
    }
    refused: tuple[tuple[dict[str, bytes], str], ...] = (
        ({"worka/aip.json": harmless}, manifest.OLDER_PLACE),
        ({"aip.json": harmless}, manifest.PLACE),
        ({"worka/aip.json": same, "aip.json": same}, manifest.PLACE),
    )
    for files, where in refused:
        with pytest.raises(ManifestInvalid, match="the files hold"):
            await _register(place, said, {**tree(), **files}, place=where)
    for other in (b"", b"six==1.17.0", b"\xff", lock().encode().replace(b"sha256:", b"sha256:0", 1)):
        with pytest.raises(LockInvalid, match=r"another requirements\.lock"):
            await _register(place, said, {**tree(), "requirements.lock": other})
    assert await place.world.rows("release") == []
    laid_out = b"# a comment\n\n" + lock().encode()
    both = {**tree(), "aip.json": json.dumps(older).encode(), "requirements.lock": laid_out}
    row = await _register(place, older, both, place=manifest.OLDER_PLACE)
    assert row["state"] == "draft", (
        "the control: the older form in its older place, and the same lock laid out otherwise"
    )
    again = await _register(place, row["manifest"], both)
    assert again["id"] == row["id"], "as an artifact carries it"


async def _register(
    packs: Packs, document: dict[str, Any], files: dict[str, bytes], place: str = manifest.PLACE
) -> dict[str, Any]:
    encoded = {name: base64.b64encode(data).decode() for name, data in files.items()}
    return await service.register(packs.ctx(), document, lock_text=lock(), files=encoded, place=place)


def test_an_older_manifest_without_tools_discovers_them_and_says_so() -> None:
    document = good()
    document["tenant"] = document.pop("publisher")
    del document["tools"]
    found, notices = manifest.read(document, place=manifest.OLDER_PLACE)
    assert found.tools == "discover"
    assert "declare them" in {notice.pointer: notice.fix for notice in notices}["/tools"]
    with pytest.raises(ManifestInvalid):
        manifest.read({key: value for key, value in good().items() if key != "tools"})
