"""Nothing goes past the one check: a policy that forbids everything shuts every route, to the owner too."""

from __future__ import annotations

import pytest

from tests.api.samples import SAMPLES, url
from tests.api.test_tenancy import OF_NOBODY, OF_THE_CALLER, OF_THE_OPERATOR, picture
from tests.api.world import Doors

pytestmark = pytest.mark.timeout(300)
FORBID = '@id("shut") @reason("Nothing is allowed here.") forbid(principal, action, resource);'
RECORDED = {"audit_entry", "audit_head", "decision", "event", "idempotency"}
"""What a refusal itself leaves."""
GIVEN_BACK = {"DELETE /v1/tokens/{token_id}"}
"""One's own credential may always be given back."""
OWN = "GET /v1/decisions/{decision_id}"


@pytest.mark.capability("AUT-1")
def test_a_policy_that_forbids_everything_shuts_every_route(doors: Doors) -> None:
    """The control: the same requests by the same owner are answered before, and again once the policy is gone."""
    place = f"/v1/workspaces/{doors.ids['workspace']}"
    with doors.http(doors.a.token) as http:
        assert http.get(place).status_code == 200
        refused = http.post(f"{place}/policies", json={"kind": "access", "text": FORBID, "note": "shut"})
        assert (refused.status_code, refused.json()["code"]) == (422, "policy_locks_out"), refused.text
        # No door saves such a text: it is put there beside them.
        (saved,) = doors.instance.rows(
            "insert into worka.policy_version (tenant_id, kind, version, text, owner_person_id, created_by)"
            " values (%s, 'access', 1000, %s, 'test', 'test') returning version",
            doors.ids["tenant"],
            FORBID,
        )
        try:
            before, tried, passed, otherwise = picture(doors), 0, [], []
            for method, path, _ in doors.operations:
                key = f"{method} {path}"
                if key in OF_NOBODY | OF_THE_CALLER | OF_THE_OPERATOR | GIVEN_BACK:
                    continue
                sample = SAMPLES[key]
                body = sample.body(doors) if sample.body else None
                query = sample.query(doors) if sample.query else None
                answer = http.request(method, url(doors, path), json=body, params=query)
                tried += 1
                if key == OWN and answer.status_code == 200:
                    # What was decided about oneself may always be read, by the words that the one concerned is told.
                    assert answer.json()["reader"] == "concerned"
                elif not 400 <= answer.status_code < 500:
                    passed.append(f"{key}: {answer.status_code} {answer.text[:120]}")
                elif answer.status_code not in (403, 404):
                    otherwise.append(f"{key}: {answer.status_code} {answer.text[:300]}")
            after = picture(doors)
        finally:
            # The owner cannot take it back: that is shut too.
            doors.instance.rows(
                "delete from worka.policy_version where tenant_id = %s and version = %s returning version",
                doors.ids["tenant"],
                saved["version"],
            )
        assert tried > 65
        assert passed == [], "\n".join(passed)
        # Refused before anybody is asked, for what the request itself says: nothing was shown or changed by that.
        print("\n".join(otherwise))
        assert len(otherwise) < 6, "\n".join(otherwise)
        assert [table for table in after if after[table] != before[table] and table not in RECORDED] == []
        assert http.get(place).status_code == 200
