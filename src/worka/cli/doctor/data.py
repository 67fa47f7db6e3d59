"""The database: whether it answers, as whom, with which schema, and by which clock."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime

from worka.cli.doctor.check import Check, Patient
from worka.kernel.errors import Problem
from worka.kernel.migrate import newest
from worka.observability import vitals
from worka.workers.wiring import database_url

SKEW_WARNING, SKEW_FAILED = 1.0, 5.0
EMBEDDED = "Start it: `worka up` runs the embedded PostgreSQL; its log is pg/postgresql.log under WORKA_HOME."


def database(patient: Patient) -> Iterator[Check]:
    """Reachable, as the application role, migrated to this build's schema, and writable."""
    try:
        url = database_url(patient.settings, "url")
    except Problem as problem:
        yield Check("database", "failed", problem.detail, problem.remedy)
        return
    own = patient.settings.database.url is not None
    try:
        told = asyncio.run(vitals.read(url))
    except vitals.Unreachable as error:
        remedy = EMBEDDED if not own else "Start PostgreSQL, or correct WORKA_DATABASE__URL."
        if error.refused:
            remedy = (
                "Set WORKA_DATABASE__URL to the application role's name and password"
                if own
                else "Restart `worka up`: it writes the passwords of the roles anew"
            ) + "; the server's log names the role."
        yield Check("database", "failed", f"{error.where}: {error}", remedy)
        return
    if told.trouble:
        yield Check(
            "database", "failed", told.trouble,
            "The address must be that of the application role (see WORKA_DATABASE__URL in docs/reference/settings.md):"
            " not the migrator's, not a superuser's.",
        )  # fmt: skip
        return
    patient.facts["database"] = told
    yield Check("database", "ok", f"PostgreSQL {told.server} answers in {told.milliseconds:.0f} ms as {told.role}")
    wanted = newest()
    if told.schema_version != wanted:
        there = told.schema_version or "none"
        behind = there < wanted or not told.schema_version
        yield Check(
            "migrations", "failed", f"the schema is at {there}, this build needs {wanted}",
            "Stop `worka up` and start it again: it brings the schema up to date before anything else."
            if behind
            else "This command is older than the instance: use the build that migrated it.",
        )  # fmt: skip
    else:
        yield Check("migrations", "ok", f"the schema is at {wanted}")
    if told.read_only:
        yield Check(
            "database writes", "failed", f"nothing can be written: {told.read_only}",
            "Free space for PostgreSQL, end its recovery or its read-only mode; Worka goes on by itself.",
        )  # fmt: skip


def clock(patient: Patient) -> Iterator[Check]:
    """This machine's clock against the database's, with the time of the question taken off."""
    told = patient.facts.get("database")
    if told is None:
        yield Check("clock", "warning", "not compared: the database does not answer", "Mend the database first.")
        return
    skew = abs(told.skew_seconds)
    at = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    if skew > SKEW_WARNING:
        yield Check(
            "clock", "failed" if skew > SKEW_FAILED else "warning",
            f"this machine says {at}, the database is {skew:.1f} s {'ahead' if told.skew_seconds > 0 else 'behind'}",
            "Set both clocks by NTP (`timedatectl set-ntp true`, or chrony); expiries and leases go by the database's.",
        )  # fmt: skip
    else:
        yield Check("clock", "ok", f"within {skew:.2f} s of the database's at {at}")
