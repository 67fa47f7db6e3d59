"""The tutorial "Your first pack", typed as it stands there: every command, every file, against a running instance."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.journeys.test_newcomer import ROOT, Shell, commands
from tests.support.instance import Instance, worka_command
from worka.cli.demo import Demo

TUTORIAL = ROOT / "docs" / "tutorials" / "first-pack.md"
STEP = re.compile(r"^```sh\n.*?^```|^Write `(?P<path>[^`]+)`:\n\n```python\n(?P<text>.*?)^```", re.M | re.S)

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def author(instance: Instance, tmp_path: Path) -> Iterator[Shell]:
    """A shell in an empty folder, signed in as the owner of a tenant of its own."""
    demo = Demo(interactive=False, quiet=True)
    demo.home, demo.url = instance.home, instance.url
    demo.people()
    (tmp_path / "bin").mkdir()
    # What `export PATH=…` of the first tutorial does.
    words = " ".join(f"'{word}'" for word in worka_command())
    (tmp_path / "bin" / "worka").write_text(f'#!/bin/sh\nexec {words} "$@"\n')
    (tmp_path / "bin" / "worka").chmod(0o755)
    (tmp_path / "work").mkdir()
    env = {key: value for key, value in os.environ.items() if not key.startswith("WORKA_") or key == "WORKA_BUILD_ID"}
    env |= {
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "HOME": str(tmp_path), "WORKA_URL": instance.url,
        "WORKA_TOKEN": str(demo.owner.token), "WORKA_WORKSPACE": demo.ids["workspace"],
    }  # fmt: skip
    shell = Shell(tmp_path / "work", env)
    try:
        yield shell
    finally:
        shell.process.kill()
        shell.process.wait()
        shell.keyboard.close()


@pytest.mark.capability("MAN-1", "MAN-5", part="the builder's tutorial")
def test_the_tutorial_leads_from_an_empty_folder_to_a_governed_call(author: Shell, tmp_path: Path) -> None:
    page = TUTORIAL.read_text()
    assert page.count("```") == 2 * len(STEP.findall(page)), "every block is typed or written"
    printed: dict[str, str] = {}
    for step in STEP.finditer(page):
        if step["path"]:
            target = author.folder / step["path"]
            assert target.is_file(), "it takes the place of one that init wrote"
            target.write_text(step["text"])
            continue
        block = tmp_path / "block.md"
        block.write_text(step[0] + "\n")
        for command, expected in commands(block):
            code, output = author.type(command)
            assert code == expected, f"{command}\nended {code}, not {expected}:\n{output[-3000:]}"
            assert "Traceback" not in output
            printed[command] = output
    assert "1.8" in printed["worka tool call harbour.readings.tide -a '{\"levels\": [0.4, 0.1, 1.9]}'"]
    assert "/levels/0" in printed['worka pack run readings tide -a \'{"levels": ["high"]}\'']
    assert "listed by the server, but not declared" in printed["worka pack tools readings"]
    assert "released" in printed["worka pack release readings"]
