"""`worka doctor`: checks this machine and this instance; every broken part is named with its remedy.

It works without a server: what a running instance would know is read from where it keeps it (the database, WORKA_HOME).
A check that itself fails is a broken part with the cause, never a traceback and never silence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from worka.cli.doctor import data, machine, running, trust
from worka.cli.doctor.check import Check, Patient
from worka.kernel.settings import Settings

Examination = Callable[[Patient], Iterator[Check]]
# From the ground up: what stands lower explains what is broken above it.
EXAMINATIONS: tuple[Examination, ...] = (
    machine.home,
    machine.disk,
    machine.sandbox,
    machine.user_namespaces,
    machine.limits,
    data.database,
    data.clock,
    machine.unnamed_objects,
    trust.keys,
    trust.secrets,
    trust.seals,
    trust.certificates,
    running.instance,
    running.processes,
    running.memory,
    running.versions,
    running.egress,
    running.network,
    running.mail,
)


def examine(url: str, settings: Settings) -> list[Check]:
    """Every check, in order."""
    patient = Patient(url, settings)
    found: list[Check] = []
    for examination in EXAMINATIONS:
        name = examination.__name__.replace("_", " ")
        try:
            found += list(examination(patient))
        except Exception as error:
            detail = f"could not be checked: {type(error).__name__}: {error}"[:300]
            found.append(Check(name, "failed", detail, "Report this; the other parts are told here all the same."))
    return found
