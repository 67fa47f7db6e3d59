"""Problems of the ledger.

Unavailable ── AuditUnwritable, SealBroken, SealKeyUnreadable
"""

from __future__ import annotations

from worka.kernel.errors import Unavailable


class AuditUnwritable(Unavailable):
    """The ledger does not take the row in time, so what it would record does not happen."""

    code, title = "audit_unwritable", "This cannot be recorded, so it was not done"
    default_remedy = "Repeat it with the same idempotency key once the ledger can be written again; `worka doctor` names what is wrong."


class SealKeyUnreadable(Unavailable):
    """The key that signs checkpoints is not there or not readable by this process."""

    code, title = "seal_key_unreadable", "The key that seals the ledger cannot be read"
    default_remedy = "Restore keys/seal.ed25519 under WORKA_HOME from its backup, owned by the user that runs Worka."


class SealBroken(Unavailable):
    """The newest checkpoint, or the public key beside it, is damaged or not of this instance's key."""

    code, title = "seal_broken", "The seals of the ledger cannot be trusted"
    default_remedy = (
        "Compare objects/checkpoints and keys/seal.ed25519 under WORKA_HOME with your copies; put back what changed."
    )
