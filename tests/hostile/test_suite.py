"""The published egress suite, as `worka doctor --egress` runs it: a whole Worka in an Internet of canaries."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.instance import worka_command
from worka.cli import egress_suite
from worka.cli.doctor import hostile
from worka.cli.egress_suite import VECTORS, Found, suite
from worka.cli.egress_suite.vectors import TRACKER, Vector, fetch

pytestmark = pytest.mark.timeout(400)
BY_ID = {vector.id: vector for vector in VECTORS}


@pytest.fixture(scope="module")
def found() -> dict[str, Found]:
    """Every vector, tried once."""
    return {one.vector.id: one for one in egress_suite.run(command=worka_command())}


@pytest.mark.capability("BRK-1")
@pytest.mark.capability("BRK-15")
@pytest.mark.parametrize("vector", sorted(BY_ID), ids=lambda name: name.encode("unicode_escape").decode())
def test_every_vector_of_the_published_suite_holds(found: dict[str, Found], vector: str) -> None:
    """Zero hits at every canary; the declared place was reached in the same call."""
    one = found[vector]
    assert one.broken == (), one.outcomes


@pytest.fixture(scope="module")
def field() -> Iterator[suite.Range]:
    with suite.opened(worka_command()) as opened:
        opened.attach()
        yield opened


@pytest.mark.capability("BRK-15")
def test_a_hole_is_found_by_the_suite(field: suite.Range) -> None:
    """The suite's own control: what does get out, or does not answer, is called broken, each for its cause."""
    with suite.Bystander() as beside:
        beside.live()
        reached = Vector("hole/reached", "-", "-", (fetch(f"https://{TRACKER}/loot"),))
        assert any("'GET /loot HTTP/1.1'" in why for why in suite._one(field, beside, reached).broken)
        unrecorded = Vector("hole/unrecorded", "-", "-", (), frozenset({"raw_address"}))
        assert suite._one(field, beside, unrecorded).broken == ("none of raw_address was recorded, but nothing",)
        held = Vector("hole/none", "-", "-", (fetch("http://1.1.1.1/"),), frozenset({"raw_address"}))
        assert suite._one(field, beside, held).holds
    # A canary that is hit from the range, by whoever may.
    field.do("dial", host="169.254.169.254", port=80)
    assert next(suite._hit(field.do("hits"), held)) == "a canary was hit: tcp 169.254.169.254:80"


@pytest.mark.capability("BRK-15")
def test_the_doctor_runs_the_suite_and_says_what_it_found(tmp_path: Path) -> None:
    broken = Found(BY_ID["proxy/unset-or-replaced"], ("a canary was hit: tcp 1.1.1.1:80",))
    held = Found(BY_ID["udp/quic-and-others"])
    checks = {check.name: check for check in hostile.checks([held, broken])}
    assert checks["egress suite: UDP and QUIC"].state == "ok"
    told = checks["egress suite: Proxy variables"]
    assert (told.state, told.remedy) == ("failed", hostile.REPORT)
    assert "proxy/unset-or-replaced: a canary was hit: tcp 1.1.1.1:80" in told.detail
    # The command itself, where the range cannot be made: that is no success.
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-ec", 'mount -t tmpfs none /etc; exec "$@"', "sh", *worka_command(), "--output", "json", "doctor", "--egress"],
        capture_output=True, text=True, timeout=200, check=False, cwd="/",
    )  # fmt: skip
    items = {item["name"]: item for item in json.loads(done.stdout)["items"]}
    assert (done.returncode, items["egress suite"]["state"]) == (1, "failed"), items
