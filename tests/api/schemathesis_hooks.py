"""What schemathesis sends, mended in three things, and one check of our own.

It generates the same few idempotency keys over and over; the same key with another request is 422 by promise
(test_idempotency.py). So every request gets a key of its own. And it writes letters and digits only into a header that it
means to be right, so that no entity tag of its own has quotation marks. And a limit that it really sets is the highest that
there is: a low one would refuse whatever it tries afterwards.
"""

from __future__ import annotations

import itertools
import os
import secrets
from typing import Any

import schemathesis

LONGEST = 200
HIGHEST = 1_000_000_000
"""The highest limit that can be set."""
_run = secrets.token_hex(4)
_numbers = itertools.count()
_answered: set[str] = set()
WORKSPACE = "/v1/workspaces/{workspace_id}"
ASKED = ("actions", "can", "principals", "resources", "why")
BY_NATURE: dict[str, set[str]] = {
    f"PATCH {WORKSPACE}/members/{{principal_id}}": {"role_not_for_team_members"},
    f"POST {WORKSPACE}/secrets": {"dates_invalid"},
    "PUT /v1/secrets/{secret_id}/dates": {"dates_invalid"},
    "POST /v1/secrets/{secret_id}/grants": {"grantee_unknown", "kind_not_bindable"},
    f"POST {WORKSPACE}/connections": {"secret_not_usable", "metadata_invalid", "provider_unusable", "scope_not_needed"},
    f"POST {WORKSPACE}/provider-clients": {"provider_unusable", "metadata_invalid", "secret_empty"},
    "POST /v1/connections/{connection_id}/authorize": {"provider_unusable"},
    "PUT /v1/deployment/provider-restriction": {"provider_unusable", "invalid"},
    f"POST {WORKSPACE}/network-exceptions": {"network_exception_invalid"},
    f"POST {WORKSPACE}/upstream-trusts": {"upstream_trust_invalid"},
    f"GET {WORKSPACE}/egress/destinations/{{host}}": {"egress_request_invalid"},
    f"POST {WORKSPACE}/egress/tries": {"egress_request_invalid"},
    f"POST {WORKSPACE}/egress/replays": {"egress_policy_invalid", "egress_request_invalid", "bad_window"},
    f"POST {WORKSPACE}/egress-policy": {"egress_policy_invalid"},
    f"POST {WORKSPACE}/egress-proposals": {"nothing_to_propose"},
    "GET /v1/deployment/network": {"network_allowed_invalid"},
    "POST /v1/deployment/kills": {"invalid"},
    "POST /v1/deployment/lifts": {"invalid"},
    "POST /v1/deployment/policies": {"bad_policy", "policy_locks_out"},
    "POST /v1/deployment/policy-dry-runs": {"bad_policy", "bad_window"},
    f"POST {WORKSPACE}/kill-previews": {"invalid"},
    f"POST {WORKSPACE}/kills": {"invalid"},
    f"POST {WORKSPACE}/kills/{{kill_id}}/lift": {"invalid"},
    f"POST {WORKSPACE}/policies": {"bad_policy", "policy_locks_out"},
    f"POST {WORKSPACE}/policy-dry-runs": {"bad_policy", "bad_window"},
    f"POST {WORKSPACE}/workspace-policies": {"bad_policy", "policy_locks_out"},
    f"POST {WORKSPACE}/releases": {"manifest_invalid"},
    f"POST {WORKSPACE}/service-accounts": {"invalid"},
    f"POST {WORKSPACE}/tasks": {"task_inputs_invalid"},
    f"POST {WORKSPACE}/tools/{{tool}}/call": {"tool_input_invalid"},
    f"POST {WORKSPACE}/workflows": {"workflow_definition_invalid"},
    "POST /access/v1/evaluations": {"incomplete_evaluation"},
    **{f"POST /access/v1/search/{what}": {"bad_page_token"} for what in ("subject", "resource", "action")},
    **{f"GET {WORKSPACE}/access/{what}": {"unknown_action", "fact_unknown", "not_listed"} for what in ASKED},
    f"POST {WORKSPACE}/groups": {"not_a_member_person"},
    "PATCH /v1/groups/{group_id}": {"not_a_member_person"},
    f"POST {WORKSPACE}/groups/preview": {"not_a_member_person"},
    "POST /v1/groups/{group_id}/preview": {"not_a_member_person"},
    f"POST {WORKSPACE}/delegations": {"bad_delegation", "not_a_member_person"},
    f"POST {WORKSPACE}/bypasses": {"bad_bypass"},
    f"POST {WORKSPACE}/limits": {"invalid", "limit_above_its_layer"},
    f"POST {WORKSPACE}/limit-previews": {"invalid"},
    "POST /v1/deployment/limits": {"invalid", "limit_above_its_layer"},
    "POST /v1/deployment/limit-previews": {"invalid"},
    f"PUT {WORKSPACE}/approvals/settings": {"bad_approval_settings"},
    f"POST {WORKSPACE}/webhooks": {"webhook_invalid"},
    "PATCH /v1/webhooks/{webhook_id}": {"webhook_invalid"},
    "POST /v1/webhooks/{webhook_id}/replays": {"replay_invalid"},
    **{f"POST /v1/releases/{{release_id}}/{act}": {"reason_missing"} for act in ("lift", "quarantine", "revoke")},
    "POST /v1/releases/{release_id}/signatures": {"envelope_invalid"},
    f"POST {WORKSPACE}/advisories": {"feed_invalid"},
    f"POST {WORKSPACE}/attachments": {"mount_invalid"},
    f"POST {WORKSPACE}/destinations": {"destination_invalid"},
    f"POST {WORKSPACE}/registry/policy": {"registry_policy_invalid"},
}
"""The codes with which an operation may refuse what its schema allows. Why no schema can say it stands beside the check
that is switched off for it in schemathesis.toml."""


@schemathesis.hook
def before_call(_context: Any, case: Any, _kwargs: Any) -> None:
    """Makes a key that is right in shape unique, and no longer than a key may be, and a tag that is meant to be right one;
    wrong ones stay as they are."""
    if case.meta is not None and case.meta.generation.mode.is_positive:
        for name in {"If-Match", "If-None-Match"} & set(case.headers or {}):
            if str(case.headers[name])[-1:] not in ('"', "*"):
                case.headers[name] = '"00000000000000000000000000000000"'
    if (
        case.operation.label.startswith("POST ")
        and case.operation.label.endswith("/limits")
        and isinstance(case.body, dict)
    ):
        value = case.body.get("value")
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= HIGHEST:
            case.body["value"] = HIGHEST
    key = (case.headers or {}).get("Idempotency-Key")
    if isinstance(key, str) and 1 <= len(key) <= LONGEST and key.isprintable() and key.isascii():
        number = f"-{_run}-{next(_numbers)}"
        case.headers["Idempotency-Key"] = key[: LONGEST - len(number)] + number


@schemathesis.hook
def after_call(_context: Any, case: Any, _response: Any) -> None:
    """Writes down each operation that gave an answer: the test's own control that none was left out."""
    if case.operation.label not in _answered:
        _answered.add(case.operation.label)
        with open(os.environ["SCHEMATHESIS_ANSWERED"], "a", encoding="utf-8") as file:
            file.write(case.operation.label + "\n")


@schemathesis.check
def refusals_by_nature(_context: Any, response: Any, case: Any) -> None:
    """What fits the document is refused only with a code that is named for its operation."""
    allowed = BY_NATURE.get(case.operation.label)
    if allowed is None or case.meta is None or not case.meta.generation.mode.is_positive:
        return
    if response.status_code in (400, 422):
        code = response.json()["code"]
        assert code in allowed, f"{code} is no refusal that {case.operation.label} is known for: {response.text[:400]}"
