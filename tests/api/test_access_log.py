"""The access log: a line of each request, of which a stranger does not choose the length."""

from __future__ import annotations

import secrets
import time

import httpx
import pytest

from tests.support.instance import Instance
from worka.api import door


def told(instance: Instance, mark: str) -> list[str]:
    return [line for line in (instance.home / "log" / "serve.log").read_text().splitlines() if mark in line]


@pytest.mark.capability("DOR-1", part="a line of the access log is bounded")
def test_a_path_of_any_length_is_a_bounded_line_of_the_access_log(instance: Instance) -> None:
    mark = secrets.token_hex(8)
    with httpx.Client(base_url=instance.url, trust_env=False) as http:
        assert http.get(f"/v1/{mark}-short").status_code == 401
        http.get(f"/v1/{mark}-long-{'a' * 20_000}")
    until = time.monotonic() + 10
    while len(lines := told(instance, mark)) < 2 and time.monotonic() < until:
        time.sleep(0.05)  # a line is written after its answer
    (short,) = [line for line in lines if f"/v1/{mark}-short " in line]
    (long,) = [line for line in lines if f"/v1/{mark}-long-" in line]
    assert "characters)" not in short, "the control: an ordinary path is told as it is"
    assert "(20026 characters)" in long
    assert len(long) < len(short) + door.LONGEST_TOLD + 50
