"""An air-gapped deployment, whole and in a network of its own: packets are counted on its interface, not in our rows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.instance import worka_command
from worka.cli.client import Failed
from worka.cli.egress_suite import suite
from worka.cli.egress_suite.internet import TRACKER, TRACKER_ADDRESS
from worka.cli.egress_suite.range import PORT
from worka.cli.egress_suite.vectors import CONTROL, REBIND, REBIND_ADDRESS, fetch

pytestmark = pytest.mark.timeout(300)
MAIL = {
    "WORKA_MAIL__HOST": "mail.worka.test", "WORKA_MAIL__ADDRESS": "10.9.9.9", "WORKA_MAIL__PORT": "25",
    "WORKA_MAIL__SENDER": "worka@range.worka.test", "WORKA_MAIL__SECURITY": "none", "WORKA_MAIL__INSECURE_REASON": "a test",
    "PIP_INDEX_URL": "http://index.worka.test/simple",
}  # fmt: skip
LISTED = f"{TRACKER_ADDRESS}:443"
"""What stands behind a network exception is listed by its address."""


def outgoing(field: suite.Range) -> dict[str, int]:
    """Packets since the last question, but for those to the door of the Worka inside."""
    counted: dict[str, int] = field.do("packets")
    return {place: count for place, count in counted.items() if place != f"tcp 127.0.0.1:{PORT}"}


def everything_that_dials(field: suite.Range) -> dict[str, Any]:
    """A pack at a name that is not listed, a build from an index, mail, a webhook: what became of each."""
    outcomes, invocation = field.attempt([fetch(f"http://{REBIND}/"), fetch(f"http://{TRACKER}/"), CONTROL])
    manifest = {
        "schema_version": "worka.aip.v1", "publisher": "range", "name": "wheel", "version": "1.0.0", "display_name": "Wheel",
        "description": "A package of an index.", "tools": [{"name": "x", "side_effect": "read_only"}],
        "runtime": {"package": {"ecosystem": "pypi", "name": "wheel", "version": "0.45.1", "lock": "requirements.lock"}},
    }  # fmt: skip
    lock = f"wheel==0.45.1 --hash=sha256:{'0' * 64}\n"
    body = {"manifest": manifest, "place": "worka/aip.json", "lock": lock}
    release = field.api("owner", "POST", "{ws}/releases", body)
    while release["state"] not in ("released", "failed"):
        release = field.api("owner", "GET", f"/v1/releases/{release['id']}")
    return {"outcomes": outcomes, "reasons": field.reasons(invocation), "build": release["error"]}


@pytest.fixture(scope="module")
def gapped() -> Iterator[suite.Range]:
    with suite.opened(
        worka_command(), WORKA_NETWORK__AIR_GAPPED="true", WORKA_NETWORK__ALLOWED=LISTED, **MAIL
    ) as field:
        field.attach()
        yield field


@pytest.fixture(scope="module")
def whole() -> Iterator[suite.Range]:
    """The control: the same without the gap."""
    with suite.opened(worka_command(), **MAIL) as field:
        field.attach()
        yield field


@pytest.mark.capability("BRK-15", part="the air gap, by packets counted")
def test_of_an_air_gapped_deployment_no_packet_goes_but_to_the_list(gapped: suite.Range, whole: suite.Range) -> None:
    names = {"index.worka.test": [["198.51.100.7"]], "mail.worka.test": [["10.9.9.9"]]}
    found = {}
    for which, field in (("gapped", gapped), ("whole", whole)):
        field.do("table", names=names)
        outgoing(field)
        found[which] = everything_that_dials(field), outgoing(field)
    told, packets = found["gapped"]
    refused, also, control = told["outcomes"]
    assert [json.loads(one["text"])["code"] for one in (refused, also)] == ["air_gapped"] * 2
    assert control["status"] == 200, "the listed place, which stands behind a network exception, is reached"
    assert told["reasons"] == {"air_gapped"}
    assert told["build"]["code"] == "air_gapped", told["build"]
    assert "index.worka.test:80" in json.dumps(told["build"])
    assert set(packets) == {f"tcp {TRACKER_ADDRESS}:443"}, "not even a name was asked of a resolver"
    # The control: without the gap the same things do go out, so the count is no count of nothing.
    told, packets = found["whole"]
    assert [one["status"] for one in told["outcomes"]] == [200, 200, 200]
    assert told["build"]["code"] != "air_gapped"
    assert {
        f"tcp {REBIND_ADDRESS}:80",
        f"tcp {TRACKER_ADDRESS}:80",
        f"tcp {TRACKER_ADDRESS}:443",
        "udp 127.0.0.1:53",
    } <= set(packets)
    assert "tcp 198.51.100.7:80" in packets


@pytest.mark.capability("BRK-15", part="the air gap, what it would refuse")
def test_what_an_air_gap_would_refuse_is_shown_before_it_is_closed(whole: suite.Range) -> None:
    whole.attempt([fetch(f"http://{REBIND}/"), CONTROL])
    tried = whole.api("operator", "GET", "/v1/deployment/network", allowed=[LISTED], since="1h")
    assert (tried["air_gapped"], tried["allowed"], tried["complete"]) == (False, [f"{TRACKER_ADDRESS}/32:443"], True)
    by_item = {item["item"]: item for item in tried["items"]}
    assert by_item[LISTED]["permitted"]
    assert not by_item[f"{REBIND}:80"]["permitted"]
    assert {(one["what"], one["host"], one["permitted"]) for one in tried["configured"]} == {
        ("mail server", "10.9.9.9", False), ("package index", "index.worka.test", False),
    }  # fmt: skip
    wider = whole.api("operator", "GET", "/v1/deployment/network", allowed=[LISTED, f"{REBIND}:*"], since="1h")
    assert {item["item"]: item["permitted"] for item in wider["items"]}[f"{REBIND}:80"]
    with pytest.raises(Failed) as unread:
        whole.api("operator", "GET", "/v1/deployment/network", allowed=["nonsense"])
    assert unread.value.body["code"] == "network_allowed_invalid"
    with pytest.raises(Failed) as denied:
        whole.api("owner", "GET", "/v1/deployment/network")
    assert denied.value.body["code"] == "denied"
