"""Use cases of governance, by what they are about: decisions, policies and their change, dry runs, kill switches."""

from __future__ import annotations

from worka.governance.errors import DecisionNotFound
from worka.governance.replay import requests_of
from worka.governance.service.breaking import break_glass, mend_glass
from worka.governance.service.decisions import (
    access,
    concerns,
    decision,
    reads_evidence,
    replay,
    rule_texts,
)
from worka.governance.service.deployment import (
    check_deployment,
    dry_run_deployment,
    list_deployment,
    save_deployment_policy,
    show_deployment,
)
from worka.governance.service.dry_runs import dry_run
from worka.governance.service.policies import approval_decided, approval_locking, diff, save_policy
from worka.governance.service.reading import (
    check_policy,
    list_policies,
    list_proposals,
    newest_policy,
    policy_layers,
    show_policy,
    show_proposal,
)
from worka.governance.service.switches import (
    kill,
    kill_in_tenant,
    lift,
    lift_in_tenant,
    list_in_tenant,
    list_kills,
    preview_kill,
    show_kill,
)
from worka.governance.service.uses import in_force, may_use, of_platform

__all__ = [
    "DecisionNotFound",
    "access",
    "approval_decided",
    "approval_locking",
    "break_glass",
    "check_deployment",
    "check_policy",
    "concerns",
    "decision",
    "diff",
    "dry_run",
    "dry_run_deployment",
    "in_force",
    "kill",
    "kill_in_tenant",
    "lift",
    "lift_in_tenant",
    "list_deployment",
    "list_in_tenant",
    "list_kills",
    "list_policies",
    "list_proposals",
    "may_use",
    "mend_glass",
    "newest_policy",
    "of_platform",
    "policy_layers",
    "preview_kill",
    "reads_evidence",
    "replay",
    "requests_of",
    "rule_texts",
    "save_deployment_policy",
    "save_policy",
    "show_deployment",
    "show_kill",
    "show_policy",
    "show_proposal",
]
