"""Settings: a TOML file, then `WORKA_SECTION__KEY`, then `*_FILE` for secrets. Unknown keys refuse, naming the nearest one."""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError, model_validator

from worka.kernel import airgap, paths
from worka.kernel.airgap import AirGap


def _words(value: Any) -> Any:
    """A list may be written as words with commas between them, as the environment needs it."""
    return [word.strip() for word in value.split(",") if word.strip()] if isinstance(value, str) else value


Words = Annotated[tuple[str, ...], BeforeValidator(_words)]


class _Group(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DatabaseSettings(_Group):
    """The three roles' addresses. With none set, `worka up` runs its own PostgreSQL under WORKA_HOME."""

    url: SecretStr | None = Field(None, description="libpq URL of the application role")
    engine_url: SecretStr | None = Field(None, description="libpq URL of the engine role (schema dbos)")
    migrator_url: SecretStr | None = Field(
        None, description="libpq URL of the migrator, read only by the migration process"
    )
    pool_size: int = Field(8, ge=1, le=100, description="connections per process")


class HttpSettings(_Group):
    """The HTTP door."""

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8080, ge=0, le=65535, description="port; the next free one is taken when it is busy")
    public_url: str = Field(
        "", description="address people use, when a proxy stands before the door; sets Secure cookies if https"
    )
    allowed_hosts: Words = Field(
        (), description="further names under which the door may be asked, comma-separated; others are refused (421)"
    )
    max_body_bytes: int = Field(4_194_304, ge=1024, description="largest request body")
    session_hours: int = Field(12, ge=1, le=720, description="life of a sign-in session")


class PackSettings(_Group):
    """The pack runtime."""

    uid_base: int = Field(200_000, ge=1000, description="first uid of the range reserved for attachments (as root)")
    call_timeout_seconds: float = Field(
        60.0, gt=0, le=3600, description="deadline of a call where the manifest names none"
    )
    idle_seconds: float = Field(300.0, gt=0, description="a warm session idle for longer is closed")
    sessions_per_attachment: int = Field(4, ge=1, le=64, description="warm sessions one attachment may hold")
    mount_roots: Words = Field(
        (),
        description="folders, comma-separated, below which a mount may be chosen; by default `repositories` beside WORKA_HOME",
    )
    sessions_per_tenant: int = Field(16, ge=1, le=512, description="warm sessions one tenant may hold")
    isolation: Literal["shared", "separate", "strong"] = Field(
        "shared",
        description="what every pack is isolated by at least: a sandbox; with a uid and control groups of its own; on a"
        " kernel of its own (needs `runsc`). Where it cannot be had the pack is refused",
    )
    runtime: Literal["sandbox", "container"] = Field(
        "sandbox",
        description="what starts packs: bubblewrap, or a container engine's OCI runtime (needs `runc`, root and control"
        " groups). Where it cannot be had the pack is refused",
    )
    sessions: int = Field(
        64, ge=1, le=4096, description="sessions of all tenants on this machine; when it is full, tenants take turns"
    )


class BrokerSettings(_Group):
    """How much of the outside each attachment may use. A manifest's `outbound_limits` only tighten it."""

    requests_per_minute: int = Field(600, ge=1, le=1_000_000, description="requests of one attachment in a minute")
    requests_at_once: int = Field(32, ge=1, le=1024, description="requests of one attachment that are open at once")
    call_mb: int = Field(2048, ge=1, le=1_048_576, description="MiB of one call, out and in together")
    day_mb: int = Field(20_480, ge=1, le=104_857_600, description="MiB of one attachment in a day (UTC), out and in")
    exchange_seconds: float = Field(
        600.0, gt=0, le=86_400, description="a request and its answer, a WebSocket or a tunnel is cut after this"
    )
    opaque: bool = Field(
        True, description="rules may let TLS through that the broker does not read (`opaque` in outbound_domains)"
    )


class RegistrySettings(_Group):
    """What the deployment lets be published: no tenant and no workspace can loosen it. Empty: the deployment says nothing."""

    visibility: Literal["", "private", "shared", "public"] = Field(
        "", description="how widely a release is seen unless its publication says otherwise; empty: private"
    )
    most: Literal["", "private", "shared", "public"] = Field(
        "", description="the widest that may be chosen; empty: shared, unless a tenant says public"
    )
    image_destinations: Words = Field(
        (), description="where artifacts may be published, comma-separated: `local`, `host:port/repository`, or `…/*`"
    )
    source_destinations: Words = Field(
        (), description="repositories that a published release may come from, comma-separated: an address, or `…/*`"
    )
    approvers: Words = Field(
        (), description="further approval rules of every publication, comma-separated: `approve:2`"
    )
    require_signature: bool = Field(False, description="only releases with a trusted signature can be attached")
    trial_tenants: Words = Field((), description="tenants on trial, by id, comma-separated")
    public_on_trial: bool = Field(False, description="tenants on trial may publish publicly, where others may")


class ApprovalSettings(_Group):
    """Approvals."""

    expires_hours: int = Field(72, ge=1, le=8760, description="an approval that nobody decided expires after this")
    remind_minutes: int = Field(
        240, ge=0, le=525_600, description="those who may decide are reminded after this, and again; 0: never"
    )
    remind_times: int = Field(3, ge=0, le=100, description="how often they are reminded of one approval")
    escalate_minutes: int = Field(
        1440, ge=0, le=525_600, description="after this the members of escalate_to may take any seat; 0: never"
    )
    escalate_to: str = Field(
        "owners", pattern=r"^[a-z][a-z0-9-]{0,39}$", description="owners, admins, or the name of a group"
    )
    stepup_minutes: int = Field(
        10, ge=1, le=1440, description="a second factor given longer ago does not count for a rule with stepup"
    )
    blanket_seconds: int = Field(
        5, ge=0, le=3600, description="an approval given sooner after its card was opened counts as unread"
    )
    bypass_hours: int = Field(4, ge=0, le=168, description="the longest bypass of approvals; 0: there is none here")
    bypass_uses: int = Field(20, ge=1, le=10_000, description="the most uses of one bypass")


class WorkflowSettings(_Group):
    """The engine."""

    lease_seconds: float = Field(6.0, gt=0, le=600, description="a worker silent for longer loses its task")
    concurrency: int = Field(16, ge=1, le=256, description="segments one worker runs at once")
    slot: str = Field("1", pattern=r"^[a-z0-9-]{1,40}$", description="name of this worker among those of one database")


class DiskSettings(_Group):
    """The disk of the home."""

    floor_mb: int = Field(128, ge=0, description="with less than this free (MiB), nothing new is begun")
    reserve_mb: int = Field(
        64,
        ge=0,
        le=65_536,
        description="room (MiB) that `worka up` keeps for the database, and gives back when the disk is full",
    )


class TreasurySettings(_Group):
    """The treasury."""

    master_key: SecretStr | None = Field(
        None, description="base64 of 32 bytes; without it the file keys/master.key is used"
    )
    next_master_key: SecretStr | None = Field(
        None, description="the master key that a rotation goes to, where master_key is set; else it is made"
    )
    transit_url: str = Field(
        "",
        max_length=400,
        description="address of a Vault or OpenBao whose transit engine keeps keys/master.sealed; empty: none",
    )
    transit_token: SecretStr | None = Field(None, description="its token; better WORKA_TREASURY__TRANSIT_TOKEN_FILE")
    transit_key: str = Field("worka", max_length=80, description="name of the key there")
    transit_mount: str = Field("transit", max_length=80, description="where its transit engine is mounted")
    lock_memory: bool = Field(
        True, description="keep the memory of processes that hold keys out of swap, where the machine lets them"
    )


class ConnectionSettings(_Group):
    """Connections to outside systems."""

    catalogue: str = Field(
        "",
        max_length=400,
        description="folder with the operator's own providers, one JSON file each; empty: only the shipped",
    )
    providers: Words = Field(
        (),
        description="which outside systems may be connected in this deployment, by name, comma-separated; empty: all",
    )


class MailSettings(_Group):
    """Outgoing mail. Without a host none is sent, and the broker lets none out."""

    host: str = Field("", max_length=253, description="mail server (a name, never an address); empty: no mail is sent")
    port: int = Field(587, ge=1, le=65535, description="its port: 587 for starttls, 465 for tls")
    security: Literal["starttls", "tls", "none"] = Field(
        "starttls", description="none sends mail in the clear, and needs insecure_reason"
    )
    insecure_reason: str = Field("", max_length=300, description="why mail may go in the clear; shown by the doctor")
    user: str = Field("", max_length=320, description="name to sign in with; empty: without signing in")
    password: SecretStr | None = Field(None, description="its password; better WORKA_MAIL__PASSWORD_FILE")
    sender: str = Field("", max_length=320, description="address that mail comes from")
    sender_name: str = Field("Worka", max_length=80, description="name that mail comes from")
    address: str = Field(
        "",
        max_length=45,
        description="network exception: the inside IP address behind the host, when it has no public one",
    )
    ca_pem: str = Field("", description="the CA to trust instead of the public ones, PEM (WORKA_MAIL__CA_PEM_FILE)")

    @model_validator(mode="after")
    def _whole(self) -> MailSettings:
        if not self.host:
            return self
        if not _MAILBOX.match(self.sender):
            raise ValueError("sender: with a mail host, an address that mail comes from is needed")
        if any(not text.isprintable() for text in (self.sender_name, self.user)):
            raise ValueError("sender_name, user: one plain line")
        if self.security == "none" and not self.insecure_reason.strip():
            raise ValueError("insecure_reason: mail in the clear needs a reason that is written down")
        if self.security == "none" and self.user:
            raise ValueError("user: no password is sent in the clear; set security to starttls or tls")
        if self.user and self.password is None:
            raise ValueError("password: with a user, a password is needed")
        if self.address:
            try:
                ipaddress.ip_address(self.address)
            except ValueError:
                raise ValueError("address: a plain IPv4 or IPv6 address") from None
        return self


_MAILBOX = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})+\Z")


class NetworkSettings(_Group):
    """What this deployment may dial at all."""

    air_gapped: bool = Field(
        False,
        description="dial nothing outside but network.allowed: holds for packs, the platform's own calls and builds."
        " `worka network needed` shows first what the last day would have needed",
    )
    allowed: Words = Field(
        (),
        description="the only destinations of an air-gapped deployment, comma-separated: `name:port`, `address:port`,"
        " `network/bits:port`; `*` for any port",
    )

    @model_validator(mode="after")
    def _readable(self) -> NetworkSettings:
        airgap.parse(self.allowed)
        return self

    @property
    def gap(self) -> AirGap:
        """As it is asked."""
        return AirGap(self.air_gapped, airgap.parse(self.allowed))


class Settings(_Group):
    """Everything an operator can set."""

    home: Path = Field(description="data directory (WORKA_HOME)")
    database: DatabaseSettings = Field(default_factory=lambda: DatabaseSettings())
    http: HttpSettings = Field(default_factory=lambda: HttpSettings())
    packs: PackSettings = Field(default_factory=lambda: PackSettings())
    broker: BrokerSettings = Field(default_factory=lambda: BrokerSettings())
    registry: RegistrySettings = Field(default_factory=lambda: RegistrySettings())
    approvals: ApprovalSettings = Field(default_factory=lambda: ApprovalSettings())
    workflows: WorkflowSettings = Field(default_factory=lambda: WorkflowSettings())
    disk: DiskSettings = Field(default_factory=lambda: DiskSettings())
    treasury: TreasurySettings = Field(default_factory=lambda: TreasurySettings())
    connections: ConnectionSettings = Field(default_factory=lambda: ConnectionSettings())
    mail: MailSettings = Field(default_factory=lambda: MailSettings())
    network: NetworkSettings = Field(default_factory=lambda: NetworkSettings())


def mount_roots(packs: PackSettings, home: Path) -> list[Path]:
    """Where a mount may come from. Links are followed: what counts is where a path really leads."""
    named = [Path(root) for root in packs.mount_roots]
    return [root.resolve() for root in named or [home.parent / "repositories"]]


# Names under WORKA_ that are not settings: switches of commands and tests, documented where they act.
NOT_SETTINGS = frozenset(
    {
        "WORKA_HOME",
        "WORKA_CONFIG",
        "WORKA_PREFIX",
        "WORKA_PYTHON",
        "WORKA_BUILD_BIN",
        "WORKA_BUILD_ID",
        "WORKA_DEMO_REPO",
        "WORKA_TESTING",
        "WORKA_FAILPOINT",
        "WORKA_FAILPOINT_DIR",
        "WORKA_FAILPOINT_FILE",
        "WORKA_FAILPOINT_SIGNAL",
        "WORKA_ADMIN_URL",
        "WORKA_LOGIN",
        "WORKA_TOKEN",
        "WORKA_URL",
        "WORKA_WORKSPACE",
        "WORKA_OUTPUT",
        "WORKA_TEST_PG",
    }
)


def load(env: Mapping[str, str] | None = None) -> Settings:
    """Reads the settings. Raises SystemExit with one clear line for an unknown or bad one."""
    env = os.environ if env is None else env
    data: dict[str, Any] = {}
    config = env.get("WORKA_CONFIG")
    if config:
        try:
            data = tomllib.loads(Path(config).read_text())
        except (OSError, tomllib.TOMLDecodeError) as error:
            raise SystemExit(f"settings: {config} cannot be read: {error}") from error
    known = known_keys()
    for key, value in sorted(env.items()):
        if not key.startswith("WORKA_") or key in NOT_SETTINGS:
            continue
        name, from_file = (key[:-5], True) if key.endswith("_FILE") and key[:-5] in known else (key, False)
        if name not in known:
            near = difflib.get_close_matches(name, [*known, *NOT_SETTINGS], n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise SystemExit(f"settings: {key} is not a setting.{hint} See docs/reference/settings.md.")
        if from_file:
            try:
                value = Path(value).read_text().strip()
            except OSError as error:
                raise SystemExit(f"settings: the file of {key} cannot be read: {error.strerror}") from error
        group, field = known[name]
        data.setdefault(group, {})[field] = value
    data["home"] = Path(env.get("WORKA_HOME") or data.get("home") or paths.default_home())
    try:
        return Settings(**data)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        near = difflib.get_close_matches(place, [f"{group}.{field}" for group, field in known.values()], n=1)
        hint = f" Did you mean {near[0]}?" if first["type"] == "extra_forbidden" and near else ""
        raise SystemExit(f"settings: {place}: {first['msg']}.{hint} See docs/reference/settings.md.") from error


def known_keys() -> dict[str, tuple[str, str]]:
    """Environment name -> (group, field), for every setting."""
    keys: dict[str, tuple[str, str]] = {}
    for group, info in Settings.model_fields.items():
        kind = info.annotation
        if isinstance(kind, type) and issubclass(kind, _Group):
            for field in kind.model_fields:
                keys[f"WORKA_{group.upper()}__{field.upper()}"] = (group, field)
    return keys
