"""Plugs the domains into the kernel's protocols, the same way in every process role that uses the database."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import worka.approvals.resources
import worka.broker.resources
import worka.connections.resources
import worka.governance.resources
import worka.identity.resources
import worka.notifications.resources
import worka.packs.resources
import worka.treasury.resources
import worka.views.resources
import worka.workflows.resources
import worka.workspaces.resources  # noqa: F401 - each registers what can be asked about
from worka import approvals, broker, connections, governance, notifications, packs, treasury, views, workflows
from worka.audit.recorder import Recorder
from worka.broker import actions as broker_actions
from worka.governance.facade import Authorizer
from worka.kernel.context import Context, Principal
from worka.kernel.db import Database
from worka.kernel.disk import Disk
from worka.kernel.errors import Unavailable
from worka.kernel.events import Subscribers
from worka.kernel.paths import Paths
from worka.kernel.settings import Settings
from worka.packs import actions as pack_actions
from worka.packs import rules as pack_rules
from worka.packs.registry import actions as registry_actions
from worka.packs.registry import rules as registry_rules
from worka.treasury.sealer import TreasurySealer
from worka.workspaces.limits.rates import Rates

# Actions and reason codes are registered where they are imported. The fronts of these two domains load neither: the
# launcher, which keeps root, and the command line stand behind them, and hold and fork as little as they can.
REGISTERED = (broker_actions, pack_actions, pack_rules, registry_actions, registry_rules)
PLATFORM = Principal(kind="platform", id="platform", name="Worka")


class NoDatabase(Unavailable):
    """Neither an address nor a running embedded PostgreSQL."""

    code = "no_database"
    title = "There is no database to use"
    default_remedy = "Start everything with `worka up`, or set WORKA_DATABASE__URL and WORKA_DATABASE__ENGINE_URL."


class Runtime:
    """What a role needs to serve use cases: settings, pool, and the plugged-in domains."""

    def __init__(self, settings: Settings, role: str) -> None:
        self.settings = settings
        self.role = role
        self.paths = Paths(settings.home)
        self.db = Database(database_url(settings, "url"), f"worka-{role}", size=settings.database.pool_size)
        self.disk = Disk(settings.home, settings.disk.floor_mb)
        self.sealer = TreasurySealer(settings)
        self.authorizer = Authorizer()
        self.recorder = Recorder()
        self.subscribers = Subscribers()
        self.rates = Rates(self.db)
        for domain in (approvals, governance, treasury, connections, packs, workflows, broker, notifications, views):
            subscribe = getattr(domain, "subscribe", None)
            if subscribe is not None:
                subscribe(self.subscribers)

    def context(self, principal: Principal, **fields: Any) -> Context:
        """A Context of this role for a principal."""
        return Context(
            principal=principal,
            tenant_id=fields.pop("tenant_id", None),
            db=self.db,
            authorizer=self.authorizer,
            recorder=self.recorder,
            sealer=self.sealer,
            subscribers=self.subscribers,
            settings=self.settings,
            **fields,
        )

    def platform_context(self, tenant_id: str | None = None, **fields: Any) -> Context:
        """A Context in which the platform itself acts (the reaper, the registration job, signing in)."""
        return self.context(PLATFORM, tenant_id=tenant_id, **fields)


def database_url(settings: Settings, which: str) -> str:
    """The address of a role: from the settings, else from the embedded cluster's `run/database.json`."""
    configured = getattr(settings.database, which)
    if configured is not None:
        return str(configured.get_secret_value())
    try:
        known = json.loads((Paths(settings.home).run / "database.json").read_text())
    except (OSError, ValueError) as error:
        raise NoDatabase(
            "No database address is set, and no embedded PostgreSQL runs under this WORKA_HOME."
        ) from error
    return str(known[which])


def publish_urls(settings: Settings, urls: dict[str, str], uid: int | None) -> None:
    """Hands the embedded cluster's application and engine addresses (never the migrator's) to the roles of our user."""
    path: Path = Paths(settings.home).run / "database.json"
    temporary = path.with_suffix(".tmp")
    temporary.unlink(missing_ok=True)
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(fd, "w") as file:
        json.dump(urls, file)
        if uid is not None:
            os.fchown(file.fileno(), uid, -1)
    temporary.replace(path)


def build_id() -> str:
    """Which build this is: the content hash that the set-up gave it, or `source`."""
    return os.environ.get("WORKA_BUILD_ID", "source")
