"""Problems of the ledger.

Unavailable ── LedgerNotWritten, SealBroken, SealKeyUnreadable
"""

from __future__ import annotations

from worka.kernel.errors import Unavailable


class LedgerNotWritten(Unavailable):
    """The ledger row of a change could not be written, so the change was not made."""

    code, title = "ledger_not_written", "The audit ledger could not be written"
    default_remedy = (
        "Nothing was changed. Bring the database back (`worka doctor` names the cause) and repeat the call."
    )


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
