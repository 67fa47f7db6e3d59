"""The way out of a whole Worka while the outside fails, in a network of its own; and the raw words that are left of it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from tests.support.instance import worka_command
from worka.cli.client import Failed
from worka.cli.egress_suite import suite
from worka.cli.egress_suite.vectors import CONTROL, REBIND, TRACKER, fetch

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def field() -> Iterator[suite.Range]:
    with suite.opened(worka_command()) as opened:
        opened.attach()
        yield opened


@pytest.mark.capability("BRK-15", part="a resolver that is down: closed, told, and back by itself")
def test_while_the_resolver_is_down_nothing_leaves_and_it_comes_back_by_itself(field: suite.Range) -> None:
    (before,), _ = field.attempt([fetch(f"http://{REBIND}/before")])
    assert before["status"] == 200, "the control"
    field.do("hits")
    field.do("mute", mute=True)
    began = time.monotonic()
    (refused, pinned), invocation = field.attempt([fetch(f"http://{REBIND}/during"), CONTROL])
    took = time.monotonic() - began
    field.do("mute", mute=False)
    assert json.loads(refused["text"])["code"] == "name_not_resolved"
    assert field.reasons(invocation) == {"name_not_resolved"}
    assert took < 9, "it ends with the resolver's deadline, not with the call's"
    assert pinned["status"] == 200, "what needs no resolver goes on"
    assert [hit["requests"][0].split(" ")[1] for hit in field.do("hits")] == ["/control"], "nothing went to the other"
    (after,), _ = field.attempt([fetch(f"http://{REBIND}/after")])
    assert after["status"] == 200


@pytest.mark.capability("OBS-4", part="pack container error, broker failure")
@pytest.mark.capability("BRK-12")
def test_the_raw_words_of_pack_broker_and_outside_are_there_for_who_may_read_them(field: suite.Range) -> None:
    words = "Traceback: the pack's own words, token=hunter2hunter2"
    tries = [{"do": "say", "text": words}, fetch(f"http://{TRACKER}/switch"), fetch("https://undeclared.worka.test/")]
    _, invocation = field.attempt(tries)
    log = field.api("owner", "GET", f"/v1/invocations/{invocation}/log")
    assert "the pack's own words, token=[redacted]" in log["stderr_tail"]
    (line,) = [row for row in log["broker"] if row["reason"] == "upstream_malformed"]
    assert line["host"] == TRACKER
    assert "SWITCH" in line["text"]
    told = field.api("owner", "GET", f"/v1/egress/{line['egress_id']}/log")
    assert [row["text"] for row in told["items"]] == [line["text"]]
    with pytest.raises(Failed) as unknown:
        field.api("owner", "GET", "/v1/invocations/inv_none/log")
    assert unknown.value.body["status"] == 404
