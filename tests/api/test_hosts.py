"""Whose name a request calls: a page that rebinds its own name to this machine is told that it is somewhere else."""

from __future__ import annotations

from urllib.parse import urlsplit

import httpx
import pytest

from tests.support.instance import Instance
from worka.api.errors import Misdirected
from worka.api.reading import check_host, own_hosts
from worka.kernel.settings import HttpSettings

REBOUND = ("evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.1.evil.example", "LOCALHOST@evil.example",
           "169.254.169.254", "0.0.0.0", "", "[::ffff:127.0.0.1]", "localhost:80:80")  # fmt: skip


@pytest.mark.parametrize(
    "path", ["/v1/platform", "/v1/me", "/sign-in", "/openapi.json", "/static/console.css", "/metrics"]
)
def test_a_name_that_was_rebound_to_this_machine_reaches_no_page_and_no_route(instance: Instance, path: str) -> None:
    port = urlsplit(instance.url).port
    with httpx.Client(base_url=instance.url, trust_env=False) as http:
        found = {host: http.get(path, headers={"Host": host}).status_code for host in REBOUND}
        control = [
            http.get(path, headers={"Host": host}).status_code for host in ("localhost", f"LocalHost:{port}", "[::1]:1")
        ]
        said = http.get("/v1/platform", headers={"Host": "evil.example"}).json()
    assert set(found.values()) <= {400, 421}, found
    assert found["evil.example"] == 421
    assert all(status in (200, 401) for status in control), control
    assert said["code"] == "host_not_allowed"
    assert "evil.example" in said["detail"]
    assert "http.allowed_hosts" in said["remedy"]


def test_a_watcher_asks_the_probes_by_any_address(instance: Instance) -> None:
    answer = httpx.get(f"{instance.url}/livez", headers={"Host": "10.0.0.7:8080"}, trust_env=False)
    assert answer.json() == {"status": "ok"}


def test_the_public_address_and_further_names_are_added_by_setting() -> None:
    http = HttpSettings(public_url="https://worka.example.org:8443/x", allowed_hosts="Inside.test, 10.0.0.7", host="::")  # type: ignore[arg-type]
    own = own_hosts(http)
    for host in ("worka.example.org", "WORKA.example.org:8443", "inside.test:80", "10.0.0.7", "localhost"):
        check_host([host], own)
    for hosts in (["example.org"], ["[::]"], [], ["localhost", "inside.test"]):
        with pytest.raises(Misdirected):
            check_host(hosts, own)
