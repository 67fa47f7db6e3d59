"""What can be asked for at the ledger."""

from __future__ import annotations

from worka.kernel.actions import Action, register

AUDIT_EXPORT = "audit.export"
AUDIT_VERIFY = "audit.verify"
AUDIT_VERIFY_PLATFORM = "audit.verify_platform"

register(
    Action(AUDIT_EXPORT, "audit", "workspace", "Take the workspace's ledger out, with its seals and a verifier."),
    Action(AUDIT_VERIFY, "audit", "workspace", "Verify the tenant's ledger on the platform, every MAC included."),
    Action(AUDIT_VERIFY_PLATFORM, "operate", "tenant", "Verify the ledgers of all tenants; shows no row."),
)
