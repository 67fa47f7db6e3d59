"""The audit ledger: what happened, by whom, on whose behalf, written in the transaction of the change it records.

It owns the chained rows, the seals of their heads outside the database, and the export with its offline verifier. A row
that cannot be written keeps the change from happening; an edit, a removal or a cut tail shows in the next verification,
back to the last seal. It never updates or deletes a row, never holds a secret or an argument, and knows no domain: the
context hands it events.
"""

__all__ = [
    "actions", "checkpoints", "errors", "events", "export", "ledger", "merkle", "recorder", "routes", "rules", "sealer",
    "service", "sign", "store", "verify",
]  # fmt: skip
