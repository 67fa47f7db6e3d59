"""`worka registry`, `worka pack sign` and `worka pack publish` as people type them, on a running instance."""

from __future__ import annotations

import json
import secrets
from pathlib import Path

import pytest

from tests.cli.test_limits import said, worka
from tests.support.instance import Instance
from worka.cli.demo import Demo

pytestmark = pytest.mark.timeout(240)


@pytest.mark.capability("REG-4", part="in the command line")
@pytest.mark.capability("REG-5", part="in the command line")
@pytest.mark.capability("REG-9", part="in the command line")
def test_a_release_is_found_looked_at_and_published_from_the_command_line(
    instance: Instance, cli_owner: dict[str, str], stage: Demo
) -> None:
    release = stage.ids["release_notes"]
    found = worka(instance, cli_owner, "registry", "search", "publish", "notes")
    assert release in [row["release_id"] for row in found["items"]]
    told = said(instance, cli_owner, "registry", "show", release)
    assert "sha256:" in told
    assert "published nowhere" in told or "oci/" in told
    before = worka(instance, cli_owner, "registry", "publications")["items"]
    tried = said(instance, cli_owner, "pack", "publish", release, "--dry-run")
    assert "would go to local, private, after an approval; nothing was done" in tried
    assert worka(instance, cli_owner, "registry", "publications")["items"] == before
    refused = said(instance, cli_owner, "pack", "publish", release, "--visibility", "public", code=5)
    assert "wider than shared" in refused
    shown = worka(instance, cli_owner, "registry", "policy", "set", '{"most": "public"}', "--dry-run")
    assert shown["would"]["effective"]["most"] == "public"
    assert worka(instance, cli_owner, "registry", "policy", "show")["effective"]["most"] == "shared"
    reports = worka(instance, cli_owner, "registry", "report")
    assert set(reports) == {
        "publication_failures", "public_artifacts", "stale_private", "mismatches", "unreviewed",
    }  # fmt: skip
    assert "--note is needed" in said(instance, cli_owner, "registry", "review", release, code=2)
    fetched = ("registry", "fetch", "nowhere", "sha256:" + "0" * 64, "--dry-run")
    assert "no destination 'nowhere'" in said(instance, cli_owner, *fetched, code=3)
    unknown = said(instance, cli_owner, "registry", "install", f"rel_{'7' + 'z' * 25}", code=3)
    assert "worka registry search" in unknown


@pytest.mark.capability("BRK-13", part="who types in a registry's credential is told where its name leads")
def test_a_registrys_password_is_kept_only_once_it_was_said_where_its_name_leads(
    instance: Instance, cli_owner: dict[str, str], stage: Demo, tmp_path: Path
) -> None:
    run = secrets.token_hex(3)
    host, password = f"images-{run}.worka.test", tmp_path / "password"
    password.write_text("correct horse battery\n")
    body = {"name": host, "port": 80, "address": "10.0.0.1", "real_port": 8080, "reason": "nearer"}
    stage.owner.post(stage.owner.ws("/network-exceptions"), body)
    add = ("registry", "destination", "add", f"r{run}", host, "team/packs", "--port", "80")
    given = ("--username", "ada", "--password-file", str(password))
    told = f"{host}:80 leads to 10.0.0.1:8080 by an exception that"

    def named() -> list[str]:
        rows = worka(instance, cli_owner, "registry", "destination", "list")["items"]
        return [row["id"] for row in rows if row["host"] == host]

    asked = said(instance, cli_owner, *add, *given, code=1)
    assert told in asked
    assert "Keep it all the same?" in asked
    assert named() == [], "nobody said yes"
    assert told in said(instance, cli_owner, *add, *given, "--dry-run")
    assert told not in said(instance, cli_owner, *add, "--dry-run"), (
        "the control: without a password nothing is sent there"
    )
    assert told in said(instance, cli_owner, *add, *given, "--yes")
    (made,) = named()
    said(instance, cli_owner, "registry", "destination", "remove", made)


@pytest.mark.capability("LIF-7", part="roots are made and signed off the server, in the command line")
def test_a_trust_root_is_made_and_signed_off_the_server_and_set_by_the_operator_alone(
    instance: Instance, cli_owner: dict[str, str], stage: Demo, tmp_path: Path
) -> None:
    operator = {"WORKA_TOKEN": str(stage.operator.token)}
    one, two = (worka(instance, {}, "registry", "root", "key", str(tmp_path / name)) for name in ("one.key", "two.key"))
    assert (tmp_path / "one.key").stat().st_mode & 0o777 == 0o600
    publisher = f"acme-{secrets.token_hex(3)}"
    key = worka(instance, cli_owner, "registry", "key", "new", publisher)
    version = worka(instance, cli_owner, "registry", "root", "show")["version"] + 1
    assert version == 1, "this instance has no root yet"
    file = tmp_path / "root.json"
    worka(
        instance, {}, "registry", "root", "new", str(file), "--key", one["public_key"], "--key", two["public_key"],
        "--threshold", "2", "--publisher", f"{publisher}={key['public_key']}",
    )  # fmt: skip
    worka(instance, {}, "registry", "root", "sign", str(file), "--key", str(tmp_path / "one.key"))
    short = said(instance, operator, "registry", "root", "set", f"@{file}", code=2)
    assert "1 of 2 signatures" in short
    worka(instance, {}, "registry", "root", "sign", str(file), "--key", str(tmp_path / "two.key"))
    assert "may not" in said(instance, cli_owner, "registry", "root", "set", f"@{file}", code=5)
    made = worka(instance, operator, "registry", "root", "set", f"@{file}")
    assert (made["version"], made["state"], list(made["publishers"])) == (1, "in_force", [publisher])
    assert json.loads(file.read_text())["signed"]["version"] == 1
    again = said(instance, operator, "registry", "root", "set", f"@{file}", code=2)
    assert "in force already" in again
    assert [row["version"] for row in worka(instance, operator, "registry", "root", "list")["items"]] == [1]
    (mine,) = [
        row for row in worka(instance, cli_owner, "registry", "key", "list")["items"] if row["publisher"] == publisher
    ]
    assert (mine["key_id"], mine["state"]) == (key["key_id"], "active")
