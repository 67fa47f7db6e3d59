"""The list of an air-gapped deployment: what is on it, and nothing beside it."""

from __future__ import annotations

import pytest

from worka.kernel import settings
from worka.kernel.airgap import OPEN, AirGap, parse

LISTED = AirGap(
    True, parse(["registry.corp.test:443", "10.1.0.0/16:8443", "10.2.3.4:*", "[fd00::5]:443", "Mail.Corp.Test.:25"])
)


@pytest.mark.parametrize(
    ("host", "port", "permitted"),
    [
        ("registry.corp.test", 443, True),
        ("REGISTRY.corp.test.", 443, True),
        ("registry.corp.test", 80, False),
        ("evil.registry.corp.test", 443, False),
        ("registry.corp.test.evil.test", 443, False),
        ("mail.corp.test", 25, True),
        ("10.1.255.9", 8443, True),
        ("10.1.255.9", 443, False),
        ("10.2.3.4", 1, True),
        ("10.2.3.5", 1, False),
        ("fd00::5", 443, True),
        ("[fd00::5]", 443, True),
        ("fd00::6", 443, False),
        ("::ffff:10.2.3.4", 443, False),
        ("packages.elsewhere.test", 443, False),
    ],
)
def test_only_what_is_listed_is_permitted(host: str, port: int, permitted: bool) -> None:
    assert LISTED.place(host, port) is permitted
    assert OPEN.place(host, port), "the control: without an air gap nothing is in the way"


def test_a_name_is_permitted_by_its_name_and_an_address_by_its_address() -> None:
    assert LISTED.name("registry.corp.test", 443)
    assert not LISTED.name("10.2.3.4", 443)
    assert LISTED.address("10.2.3.4", 443)
    assert not LISTED.address("registry.corp.test", 443)


@pytest.mark.parametrize(
    "text",
    ["host", "host:0", "host:65536", "host:x", ":443", "a b:443", "1.2.3:443", "0x7f.1:443", "10.0.0.1/8:443", "*:443",
     "http://x:443", "a@b:443"],
)  # fmt: skip
def test_an_item_that_cannot_be_read_stops_the_start(text: str) -> None:
    with pytest.raises(SystemExit, match="network") as refused:
        settings.load({"WORKA_HOME": "/nowhere", "WORKA_NETWORK__ALLOWED": f"ok.test:443,{text}"})
    assert text.strip() in str(refused.value)
    loaded = settings.load({"WORKA_HOME": "/nowhere", "WORKA_NETWORK__ALLOWED": "ok.test:443,10.0.0.0/8:443"})
    assert [str(item) for item in loaded.network.gap.allowed] == ["ok.test:443", "10.0.0.0/8:443"]
