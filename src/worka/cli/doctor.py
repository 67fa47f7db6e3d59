"""`worka doctor`: checks this machine and this instance; every broken part is named with its remedy."""

from __future__ import annotations

import os
import shutil
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import httpx

from worka.kernel.settings import default_home
from worka.workers.wiring import build_id


def examine(url: str) -> list[dict[str, Any]]:
    """Every check as {name, state: ok|warning|failed, detail, remedy}."""
    found = [_bubblewrap(), _user_namespaces(), _cgroups(), *_instance(url)]
    return found


def _check(name: str, state: str, detail: str, remedy: str = "") -> dict[str, Any]:
    return {"name": name, "state": state, "detail": detail, "remedy": remedy}


def _bubblewrap() -> dict[str, Any]:
    path = shutil.which("bwrap")
    if path is None:
        return _check("sandbox", "failed", "bubblewrap is not installed; no pack starts", "apt-get install bubblewrap")
    return _check("sandbox", "ok", f"bubblewrap at {path}")


def _user_namespaces() -> dict[str, Any]:
    try:
        most = int(Path("/proc/sys/user/max_user_namespaces").read_text())
    except (OSError, ValueError):
        most = 0
    allowed = True
    restricted = Path("/proc/sys/kernel/unprivileged_userns_clone")
    if restricted.exists():
        allowed = restricted.read_text().strip() == "1"
    if most < 1 or not allowed:
        return _check(
            "user namespaces",
            "failed",
            "the kernel refuses them; no pack starts",
            "sysctl -w user.max_user_namespaces=15000 kernel.unprivileged_userns_clone=1",
        )
    return _check("user namespaces", "ok", f"up to {most}")


def _cgroups() -> dict[str, Any]:
    if Path("/sys/fs/cgroup/cgroup.controllers").exists():
        driver = "v2"
    elif Path("/sys/fs/cgroup/memory").is_dir():
        driver = "v1"
    else:
        driver = "rlimit"
    if os.geteuid() != 0:
        return _check(
            "limits",
            "warning",
            f"cgroup {driver} is not ours as an ordinary user: limits by rlimit only",
            "run `worka up` as root for cgroup limits and one uid per attachment",
        )
    return _check("limits", "ok" if driver != "rlimit" else "warning", f"cgroup driver {driver}")


def _instance(url: str) -> list[dict[str, Any]]:
    try:
        with httpx.Client(base_url=url, timeout=5, trust_env=False) as http:
            ready = http.get("/readyz", params={"verbose": True})
            platform = http.get("/v1/platform").json() if ready.status_code < 500 else {}
    except (httpx.HTTPError, ValueError) as error:
        return [
            _check(
                "instance",
                "failed",
                f"{url} does not answer ({type(error).__name__})",
                "start it with `worka up`, or pass --url",
            )
        ]
    found = [_check("instance", "ok", f"{url} answers")]
    for name, check in (ready.json().get("checks") or {}).items():
        good = check["state"] == "healthy"
        found.append(
            _check(name, "ok" if good else "failed", check.get("detail") or check["state"], check.get("remedy", ""))
        )
    found.append(_clock(ready.headers.get("date")))
    if platform:
        same = platform.get("build") == build_id()
        found.append(
            _check(
                "version",
                "ok" if same else "warning",
                f"instance runs build {platform.get('build')}, this command is {build_id()}",
                "" if same else "restart `worka up` with this build",
            )
        )
        found.append(_disk(os.environ.get("WORKA_HOME") or str(default_home())))
    return found


def _clock(date: str | None) -> dict[str, Any]:
    if not date:
        return _check("clock", "warning", "the instance told no time")
    skew = abs((datetime.now(UTC) - parsedate_to_datetime(date)).total_seconds())
    if skew > 5:
        return _check("clock", "failed", f"the instance's clock is {skew:.0f} s off", "set both clocks by NTP")
    return _check("clock", "ok", f"within {skew:.0f} s at {time.strftime('%H:%M:%SZ', time.gmtime())}")


def _disk(home: str) -> dict[str, Any]:
    try:
        free = shutil.disk_usage(home).free
    except OSError:
        return _check("disk", "warning", f"{home} cannot be read from here")
    if free < 1 << 30:
        return _check("disk", "failed", f"{free >> 20} MiB free under {home}", "free some space, or move WORKA_HOME")
    return _check("disk", "ok", f"{free >> 30} GiB free under {home}")
