"""Signing a trust root: only what is one is signed, and what it says is told first."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.packs.test_registry_rules import Key, key, root
from worka.cli.commands import app


@pytest.mark.capability("LIF-7", part="whoever signs a root sees what it says and changes, and signs nothing else")
def test_only_a_trust_root_is_signed_and_its_signer_sees_what_it_says_and_changes(tmp_path: Path) -> None:
    one, two, other = key(), key(), key()
    seed, before, after = tmp_path / "one.key", tmp_path / "before.json", tmp_path / "after.json"
    seed.write_text(one[0])
    before.write_text(json.dumps(root(keys=[one], publishers={"acme": ([one], 1)})))
    wide: dict[str, tuple[list[Key], int]] = {"acme": ([other], 1), "evil": ([other], 1)}
    after.write_text(json.dumps(root(keys=[one, two], version=2, threshold=2, publishers=wide)))
    sign = ["registry", "root", "sign", str(after), "--key", str(seed), "--after", str(before)]

    unsigned = after.read_text()
    seen = CliRunner().invoke(app, [*sign, "--dry-run"])
    assert (seen.exit_code, after.read_text()) == (0, unsigned)
    done = CliRunner().invoke(app, sign)
    assert done.exit_code == 0, done.output
    assert [item["keyid"] for item in json.loads(after.read_text())["signatures"]] == [one[2]]
    for told in (seen.output, done.output):
        told = "".join(told.split())
        for words in ("version 2, holds until", "root: 2 of 2 keys", "publisher evil is new", f"publisher acme gains key {other[2]}",
                      f"publisher acme loses key {one[2]}", f"root gains key {two[2]}", "root needs 2 keys instead of 1"):  # fmt: skip
            assert "".join(words.split()) in told, words

    # Any other document that has a `signed` is none of these, and stays as it is.
    after.write_text(json.dumps({"signed": {"pay": "100 to evil"}, "signatures": []}))
    kept = after.read_text()
    refused = CliRunner().invoke(app, sign[:-2])
    assert refused.exit_code != 0
    assert after.read_text() == kept
    # A key that is no root key of it may be one of the root in force: it signs, and that is said.
    after.write_text(json.dumps(root(keys=[two])))
    foreign = CliRunner().invoke(app, sign[:-2])
    assert foreign.exit_code == 0
    assert "isnorootkeyofthisdocument" in "".join(foreign.output.split())
