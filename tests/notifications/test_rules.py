"""Pure rules: the specification's own example, filters, and how long until the next try."""

from __future__ import annotations

import base64
from datetime import timedelta

import pytest

from worka.notifications import rules, signing


@pytest.mark.capability("DOR-6", part="webhooks")
def test_the_signature_is_that_of_the_specifications_example() -> None:
    """The published example of Standard Webhooks: this secret, id, time and body have this signature."""
    secret, body = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", b'{"test": 2432232314}'
    found = signing.signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    assert found == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert len(base64.b64decode(signing.new_secret().removeprefix("whsec_"))) == 32


def test_a_filter_takes_its_type_its_family_or_everything() -> None:
    assert rules.wants(["approval.requested"], "approval.requested")
    assert not rules.wants(["approval.requested"], "approval.decided")
    assert rules.wants(["approval.*"], "approval.decided")
    assert not rules.wants(["approval.*"], "approvals.decided")
    assert rules.wants(["*"], "approval.decided")


def test_pauses_grow_and_end() -> None:
    pauses = [rules.pause(number, "webhook", 1.0) for number in range(1, len(rules.PAUSES) + 2)]
    assert pauses[-1] is None
    assert [one for one in pauses if one] == sorted(one for one in pauses if one)
    assert pauses[0] == timedelta(seconds=5)
    spread = {rules.pause(3, "webhook") for _ in range(20)}
    assert len(spread) > 1, "what failed together does not come back together"
