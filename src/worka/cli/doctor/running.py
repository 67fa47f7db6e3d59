"""The running instance: its door, its processes and their builds, and the way out of a sandbox, walked for real."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from worka.broker.server import PLATFORM
from worka.cli.doctor.check import Check, Patient
from worka.kernel import ids, ipc, reasons
from worka.kernel.errors import Problem
from worka.notifications.adapters import smtp
from worka.observability import network as outward
from worka.packs.sandbox import trial
from worka.workers.wiring import build_id

START = "Start it with `worka up`, or name another with --url."
SILENT_SECONDS = 10.0


def instance(patient: Patient) -> Iterator[Check]:
    """The door answers, and is ready."""
    try:
        with httpx.Client(base_url=patient.url, timeout=5, trust_env=False) as http:
            ready = http.get("/readyz", params={"verbose": True})
            body = ready.json()
            patient.facts["platform"] = http.get("/v1/platform").json() if ready.status_code < 500 else {}
    except (httpx.HTTPError, ValueError) as error:
        yield Check("instance", "failed", f"{patient.url} does not answer ({type(error).__name__})", START)
        return
    broken = [name for name, told in (body.get("checks") or {}).items() if told["state"] != "healthy"]
    if ready.status_code != 200:
        yield Check(
            "instance", "failed", f"{patient.url} answers, but is not ready: {', '.join(broken) or 'no cause told'}",
            "Mend what is named above; the door is ready again by itself.",
        )  # fmt: skip
    else:
        yield Check("instance", "ok", f"{patient.url} answers and is ready")


def _known(patient: Patient) -> dict[str, Any]:
    try:
        found = json.loads((patient.paths.run / "processes.json").read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


HOLD_KEYS = ("serve", "worker", "broker")


def memory(patient: Patient) -> Iterator[Check]:
    """What the kernel keeps of the processes that hold keys: no core dump, nothing in swap. As it is, not as it was asked for."""
    open_, dumped, read = [], [], 0
    for role in HOLD_KEYS:
        place = Path(f"/proc/{_known(patient).get(role, {}).get('pid') or 0}")
        try:
            status, limits = (place / "status").read_text(), (place / "limits").read_text()
        except OSError:
            continue
        read += 1
        locked = re.search(r"^VmLck:\s+([0-9]+)", status, re.MULTILINE)
        if locked is None or int(locked[1]) == 0:
            open_.append(role)
        core = re.search(r"^Max core file size\s+(\S+)", limits, re.MULTILINE)
        if core is None or core[1] not in ("0", "1"):
            dumped.append(role)
    if not read:
        yield Check("memory", "ok", "no process that holds keys runs here")
    elif dumped:
        yield Check("memory", "failed", f"{', '.join(dumped)} would leave a core dump", "Restart `worka up`.")
    elif open_ and patient.settings.treasury.lock_memory:
        yield Check(
            "memory", "warning", f"no core dumps; the memory of {', '.join(open_)} may be written to swap",
            "Run `worka up` as root or with RLIMIT_MEMLOCK unlimited, encrypt the swap, or say that it may be"
            " (WORKA_TREASURY__LOCK_MEMORY=false).",
        )  # fmt: skip
    else:
        how = "may be written to swap, as the settings say" if open_ else "locked, so never in swap"
        yield Check("memory", "ok", f"no core dumps; {how}")


def processes(patient: Patient) -> Iterator[Check]:
    """Each role of the supervisor lives, and those with a database give signs of life."""
    known = _known(patient)
    told = patient.facts.get("database")
    beats = {row["pid"]: row for row in told.processes} if told else {}
    again = "`worka up` starts it again by itself; if it keeps ending, read {log}."
    if not known:
        yield Check("processes", "failed", f"no supervisor runs on {patient.settings.home}", START)
        return
    for role, entry in known.items():
        pid = entry.get("pid") or 0
        remedy = again.format(log=patient.paths.log / f"{role}.log")
        beat = beats.get(pid)
        if not pid or not Path(f"/proc/{pid}").exists():
            last = f" ({entry['last_exit']})" if entry.get("last_exit") else ""
            yield Check(role, "failed", f"process {pid} is gone{last}", remedy)
        elif _state(pid) == "T":
            yield Check(role, "failed", f"process {pid} is stopped", f"kill -CONT {pid}")
        elif beat is not None and beat["silent"] > SILENT_SECONDS:
            yield Check(role, "failed", f"process {pid} gave no sign of life for {int(beat['silent'])} s", remedy)
        elif entry.get("starts", 1) > 3:
            yield Check(
                role, "warning", f"process {pid} was started {entry['starts']} times ({entry['last_exit']})", remedy
            )
        else:
            yield Check(role, "ok", f"process {pid}")


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return ""


def versions(patient: Patient) -> Iterator[Check]:
    """Every process runs the build of this command: those known by their heartbeat, and those of the supervisor."""
    mine = build_id()
    builds: dict[str, str] = {}
    told = patient.facts.get("database")
    for row in told.processes if told else []:
        if row["silent"] <= SILENT_SECONDS:
            builds[f"{row['role']} (process {row['pid']})"] = row["build"]
    for role, entry in _known(patient).items():
        name = f"{role} (process {entry.get('pid')})"
        if entry.get("pid") and name not in builds and (build := _build_of(entry["pid"])):
            builds[name] = build
    platform = patient.facts.get("platform") or {}
    if platform.get("build") and not any(name.startswith("serve ") for name in builds):
        builds["serve"] = platform["build"]
    others = {name: build for name, build in sorted(builds.items()) if build != mine}
    if others:
        listed = ", ".join(f"{name} runs {build}" for name, build in others.items())
        yield Check(
            "version", "failed" if len(set(builds.values())) > 1 else "warning",
            f"this command is build {mine}; {listed}",
            "End the processes of another build (a restart of `worka up` does it), or use the `worka` of their build.",
        )  # fmt: skip
    elif builds:
        yield Check("version", "ok", f"{len(builds)} processes run build {mine}")
    else:
        yield Check("version", "ok", f"this command is build {mine}; no process runs")


def _build_of(pid: int) -> str:
    """From the environment a process was started with; empty where it is not ours to read."""
    try:
        for item in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
            if item.startswith(b"WORKA_BUILD_ID="):
                return item.partition(b"=")[2].decode()
    except OSError:
        return ""
    return "source"


def _listens(path: Path) -> bool:
    """Whether somebody listens there: a process that died leaves its socket's file behind."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(2)
        try:
            probe.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        except OSError:
            # Full, or not for this user: somebody is there.
            return True
    return True


def egress(patient: Patient) -> Iterator[Check]:
    """From inside a fresh network namespace through the broker, as a pack: a name is refused, a request is refused with
    its cause, and nothing else gets anywhere."""
    log = patient.paths.log / "broker.log"
    remedy = f"`worka up` starts the broker again by itself; read {log}."
    if not _listens(patient.paths.broker_socket):
        yield Check("egress", "failed", "the broker is not running: nothing leaves a sandbox", START)
        return
    session = f"doctor-{ids.new_id('x')[-12:]}"
    try:
        opened = asyncio.run(
            ipc.call_unix(patient.paths.broker_socket, "open_probe", {"session_id": session}, timeout=5)
        )
    except PermissionError:
        yield Check("egress", "warning", "this user may not ask the broker", "Run `worka doctor` as root.")
        return
    except Problem as problem:
        yield Check("egress", "failed", problem.detail, remedy)
        return
    try:
        walked = trial.way_out(patient.paths.broker_net_socket, session, opened["token"])
    finally:
        try:
            asyncio.run(ipc.call_unix(patient.paths.broker_socket, "close_session", {"session_id": session}, timeout=5))
        except Problem:
            pass
    if walked.refused:
        yield Check(
            "egress", "failed", f"a sandbox has no way to the broker: {walked.refused}", walked.remedy or remedy
        )
    elif walked.leaked:
        yield Check(
            "egress", "failed", f"a sandbox without a call got through: {walked.leaked}",
            "Stop `worka up` and report this: the broker must refuse it.",
        )  # fmt: skip
    elif opened["resolver"] is False:
        yield Check(
            "egress", "warning", "the broker refuses as it should, but this machine's resolver does not answer:"
            " packs reach only what stands under a network exception",
            f"Correct /etc/resolv.conf (or leave it, on a machine without an outside); then restart {os.path.basename(log)[:-4]}.",
        )  # fmt: skip
    else:
        yield Check(
            "egress", "ok", f"sandbox to broker and back in {walked.milliseconds:.0f} ms: refused, and recorded"
        )


def mail(patient: Patient) -> Iterator[Check]:
    """Where mail is set: through the broker to the mail server, with TLS and signing in, and no message."""
    route = patient.settings.mail
    if not route.host:
        yield Check("mail", "ok", "no mail is set: nobody is told by mail")
        return
    place = f"{route.host}:{route.port}"
    if not _listens(patient.paths.broker_out_socket):
        yield Check("mail", "failed", f"the broker is not running: no mail gets to {place}", START)
        return
    who = {"tenant_id": PLATFORM, "workspace_id": PLATFORM, "subject_id": "doctor"}
    found = smtp.probe(patient.paths.broker_out_socket, route, who)
    if found.reason != "allowed":
        known = reasons.get(found.reason)
        said = f"{found.status or ''} {found.detail}".strip() or (known.meaning if known else found.reason)
        yield Check(
            "mail", "failed", f"{place}: {found.reason}: {said}",
            "Correct the settings of mail (docs/reference/settings.md), then start the broker and the worker again. A mail"
            " server inside needs WORKA_MAIL__ADDRESS.",
        )  # fmt: skip
    elif route.security == "none":
        yield Check(
            "mail", "warning", f"{place} answers; mail goes in the clear, as recorded: {route.insecure_reason}",
            "Set WORKA_MAIL__SECURITY to starttls or tls as soon as the server can.",
        )  # fmt: skip
    else:
        yield Check("mail", "ok", f"{place} answers over {route.security} in {found.duration_ms or 0:.0f} ms")


def network(patient: Patient) -> Iterator[Check]:
    """Whether the deployment is air-gapped, and whether what its own settings name is on the list."""
    set_ = patient.settings.network
    if not set_.air_gapped:
        yield Check("network", "ok", "not air-gapped: packs and the platform reach what their rules declare")
        return
    gap = set_.gap
    listed = ", ".join(str(item) for item in gap.allowed) or "nothing"
    refused = [
        f"{one.what} {one.host}:{one.port}"
        for one in outward.configured(patient.settings, os.environ)
        if not gap.place(one.host, one.port)
    ]
    if refused:
        yield Check(
            "network", "warning", f"air-gapped ({listed}), and the settings name what it refuses: {'; '.join(refused)}",
            "Add them to WORKA_NETWORK__ALLOWED, or take them out of the settings; then restart `worka up`.",
        )  # fmt: skip
    elif found := outward.proxies(os.environ):
        yield Check(
            "network", "warning", f"air-gapped ({listed}); builds do not use {', '.join(found)}: they dial the list themselves",
            "Nothing, if the package index is reached without that proxy.",
        )  # fmt: skip
    else:
        yield Check("network", "ok", f"air-gapped: nothing outside is dialled but {listed}")
