"""What trust rests on: the master key, the seals outside the database, and certificates that end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from worka.audit import checkpoints
from worka.audit.sealer import PUBLISHED
from worka.audit.sign import FILE as SEAL_KEY
from worka.audit.verify import Key
from worka.broker.ca import expiry, public_roots
from worka.cli.doctor.check import Check, Patient
from worka.treasury.errors import MasterKeyUnreadable
from worka.treasury.ring import FILE, SEALED, known_ring

SOON = timedelta(days=14)
SEALED_WITHIN = timedelta(seconds=10)


def keys(patient: Patient) -> Iterator[Check]:
    """The master key is there, is nobody else's to read, and opens the tenants' keys in the database."""
    folder = patient.paths.keys
    if patient.settings.treasury.master_key is None and folder.exists() and not os.access(folder, os.R_OK | os.X_OK):
        yield Check("keys", "warning", f"this user may not read {folder}", "Run `worka doctor` as root.")
        return
    restore = f"Put the key of this deployment back to keys/{FILE} under WORKA_HOME (0600), from its safe copy."
    try:
        ring = known_ring(patient.settings)
        key = ring.current if ring else None
        known = set(ring.ids()) if ring else set()
        following = ring.following() if ring else None
    except MasterKeyUnreadable as problem:
        yield Check("keys", "failed", problem.detail, problem.remedy)
        return
    told = patient.facts.get("database")
    if key is None:
        wrapped = told.key_ids if told else []
        if wrapped or (told is None and patient.paths.keys.exists()):
            held = f"; the database's keys are wrapped by {', '.join(wrapped)}" if wrapped else ""
            yield Check("keys", "failed", f"there is no master key at keys/{FILE}{held}", restore)
        else:
            yield Check("keys", "ok", "none yet: the first start makes it")
        return
    foreign = sorted(set(told.key_ids) - known) if told else []
    older = sorted(set(told.key_ids) & known - {key.id}) if told else []
    if foreign:
        yield Check(
            "keys", "failed", f"the master key is {key.id}, but the database's keys are wrapped by {', '.join(foreign)}",
            restore,
        )  # fmt: skip
    elif following is not None or older:
        yield Check(
            "keys", "warning", f"a rotation of the master key from {key.id} is not finished: keys of tenants are wrapped by"
            f" {', '.join(sorted(told.key_ids)) if told else 'what the database says'}",
            "`worka treasury rotate-master-key` goes on where it was.",
        )  # fmt: skip
    elif patient.settings.treasury.transit_url and (folder / FILE).exists():
        yield Check(
            "keys", "warning", f"{key.id} is sealed by the key service, and lies beside it in the clear (keys/{FILE})",
            f"Keep a copy of keys/{FILE} in a safe place, then delete it here; keys/{SEALED} is what is used.",
        )  # fmt: skip
    else:
        yield Check("keys", "ok", f"{key.id}" + ("" if told else "; not compared with the database, which is down"))


def secrets(patient: Patient) -> Iterator[Check]:
    """Whether the treasury is sealed, and which secrets have to have a new value. Names, never values."""
    told = patient.facts.get("database")
    if told is None:
        yield Check("secrets", "ok", "not looked at: the database is down")
        return
    if told.seal is not None and told.seal["sealed"]:
        yield Check(
            "secrets", "warning", f"the treasury is sealed since {told.seal['at']:%Y-%m-%d %H:%M}Z: {told.seal['why']}",
            "`worka treasury unseal`, once what it was sealed for is over.",
        )  # fmt: skip
        return
    past = [row for row in told.secrets_ending if row["ends_at"] <= told.at]
    if told.secrets_ending:
        first = told.secrets_ending[0]
        more = f", and {len(told.secrets_ending) - 1} more" if len(told.secrets_ending) > 1 else ""
        yield Check(
            "secrets", "warning",
            f"{first['name']} {'was' if past else 'is'} due for a new value on {first['ends_at']:%Y-%m-%d %H:%M}Z{more}",
            "Attention in its workspace names it: `worka secret dependants NAME`, then `worka secret rotate NAME`.",
        )  # fmt: skip
    else:
        yield Check("secrets", "ok", "none is due for a new value within 14 days")


def seals(patient: Patient) -> Iterator[Check]:
    """The newest checkpoint is signed by this deployment's key, and the ledger has not moved far past it."""
    folder = patient.paths.checkpoints
    told = patient.facts.get("database")
    if folder.exists() and not os.access(folder, os.R_OK | os.X_OK):
        yield Check("seal store", "warning", f"this user may not read {folder}", "Run `worka doctor` as root.")
        return
    if not folder.is_dir():
        state = "failed" if told is not None and told.ledger_moved_at is not None else "ok"
        remedy = "Restore objects/checkpoints from its copy, then restart the worker." if state == "failed" else ""
        yield Check("seal store", state, f"{folder} does not exist" if remedy else "none yet", remedy)  # type: ignore[arg-type]
        return
    public = folder / PUBLISHED
    try:
        last = checkpoints.Store(folder).latest()
        if last is not None:
            Key(public.read_text().strip()).opened(last.note)
    except (OSError, ValueError, KeyError) as error:
        yield Check(
            "seal store", "failed", f"the newest checkpoint cannot be trusted: {type(error).__name__}: {error}"[:300],
            f"Restore objects/checkpoints and keys/{SEAL_KEY} together from one copy; `worka audit verify` then says what"
            " is missing.",
        )  # fmt: skip
        return
    if told is None:
        yield Check("seal store", "ok", f"checkpoint {last.number if last else 0}; the ledger itself was not read")
        return
    if told.ledger_moved_at is not None:
        sealed = last.at if last else None
        late = told.at - told.ledger_moved_at
        if (sealed is None or sealed < told.ledger_moved_at - timedelta(seconds=1)) and late > SEALED_WITHIN:
            yield Check(
                "seal store", "failed",
                f"the ledger moved {int(late.total_seconds())} s ago and was not sealed"
                f" ({'no checkpoint at all' if sealed is None else f'the newest is of {sealed:%Y-%m-%d %H:%M:%SZ}'})",
                f"A worker seals: see that one runs (`worka up`) and may write {folder}; log/worker.log has the cause.",
            )  # fmt: skip
            return
    yield Check("seal store", "ok", f"checkpoint {last.number if last else 0}, signed and up to date")


def certificates(patient: Patient) -> Iterator[Check]:
    """Every authority that an outside system is trusted by, and when it ends."""
    at = datetime.now(UTC)
    try:
        public_roots()
    except OSError as error:
        yield Check(
            "certificates", "failed", f"the public roots cannot be read: {error}",
            "apt-get install -y --reinstall ca-certificates",
        )  # fmt: skip
        return
    told = patient.facts.get("database")
    worst: list[tuple[datetime, str]] = []
    for row in told.authorities if told else []:
        name = f"the authority of the network exception {row['name']}:{row['port']}"
        try:
            worst.append((expiry(row["ca_pem"]), name))
        except ValueError:
            yield Check(
                "certificates", "failed", f"{name} is no certificate",
                f"Have its workspace record it again with the right CA: `worka egress exception set {row['name']} …`.",
            )  # fmt: skip
            return
    soon = [(ends, name) for ends, name in sorted(worst) if ends < at + SOON]
    if soon:
        ends, name = soon[0]
        remedy = (
            "Have its workspace record it again with the outside system's present CA: `worka egress exception set NAME …`"
            " stands in its place."
        )
        gone = ends < at
        yield Check(
            "certificates", "failed" if gone else "warning",
            f"{name} {'ended' if gone else 'ends'} on {ends:%Y-%m-%d %H:%M}Z"
            + (f", and {len(soon) - 1} more" if len(soon) > 1 else ""),
            remedy,
        )  # fmt: skip
    else:
        yield Check("certificates", "ok", f"{len(worst)} authorities of network exceptions, none ends within 14 days")
