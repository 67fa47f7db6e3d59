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
from worka.treasury.keys import FILE, known_key

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
        key = known_key(patient.settings)
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
    foreign = sorted(set(told.key_ids) - {key.id}) if told else []
    if foreign:
        yield Check(
            "keys", "failed", f"the master key is {key.id}, but the database's keys are wrapped by {', '.join(foreign)}",
            restore,
        )  # fmt: skip
    else:
        yield Check("keys", "ok", f"{key.id}" + ("" if told else "; not compared with the database, which is down"))


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
                "Remove the exception and record it again with the right CA (POST /v1/workspaces/…/network-exceptions).",
            )  # fmt: skip
            return
    soon = [(ends, name) for ends, name in sorted(worst) if ends < at + SOON]
    if soon:
        ends, name = soon[0]
        remedy = (
            "Remove the exception and record it again with the outside system's present CA"
            " (DELETE, then POST /v1/workspaces/…/network-exceptions)."
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
