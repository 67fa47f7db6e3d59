"""The session spec as the packs domain hands it over, checked, and the sandbox request made of it."""

from __future__ import annotations

import json
from functools import cached_property, lru_cache
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from worka.kernel import canonical
from worka.packs.runtime.errors import SpecInvalid
from worka.packs.sandbox.spec import CA_INSIDE
from worka.packs.sandbox.tiers import Runtime, Tier

_CA_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "NODE_EXTRA_CA_CERTS")


class Limits(BaseModel):
    """Bounds of a session: MiB, seconds, counts; `output_bytes` bounds one line of stdout, that is one answer."""

    model_config = ConfigDict(extra="ignore")

    memory_mb: int = Field(512, ge=16)
    cpu_seconds: int = Field(300, ge=1)
    processes: int = Field(64, ge=1)
    files: int = Field(256, ge=16)
    disk_mb: int = Field(64, ge=1)
    cpus: float = Field(1.0, gt=0)
    timeout_seconds: float = Field(60.0, gt=0, le=3600)
    output_bytes: int = Field(8 * 1024 * 1024, ge=1024, le=64 * 1024 * 1024)


class Mount(BaseModel):
    """A folder of the host bound read-only."""

    name: str = ""
    source: str
    target: str
    mode: str = "ro"


class SessionSpec(BaseModel):
    """One pack of one attachment as it is to be run. `digest` is the release's; `tree_digest` that of its files."""

    model_config = ConfigDict(extra="ignore")

    session_key: str
    tenant_id: str
    workspace_id: str
    attachment_id: str | None = None
    release_id: str = ""
    digest: str
    tree_digest: str | None = None
    env_path: str
    command: list[str] = Field(min_length=1)
    env: dict[str, str] = Field(default_factory=dict)
    uid: int
    mounts: list[Mount] = Field(default_factory=list)
    limits: Limits = Field(default_factory=lambda: Limits())
    network: bool = False
    isolation: Tier = "shared"
    """The tier that whoever attached it requires; the host's own requirement comes on top."""
    runtime: Runtime = "sandbox"
    """What starts it; the host's own setting."""
    revoked: bool = False
    """Whether its release was revoked when the call was decided on. What was started before that ends with the revocation."""
    publisher: str = ""
    pack: str = ""
    pins: dict[str, str] = Field(default_factory=dict)
    server_pin: str | None = None

    @classmethod
    def read(cls, raw: Any) -> SessionSpec:
        """Raises SpecInvalid, naming the field. A call brings the same text as the one before it, nearly always."""
        return _read(json.dumps(raw))

    @cached_property
    def key(self) -> str:
        """Two calls share a warm session only if everything a session is made of is the same."""
        return canonical.sha256_hex(self.model_dump(mode="json", exclude={"limits": {"timeout_seconds"}}))

    @property
    def owner(self) -> str:
        """Whose sessions are counted together: the attachment, or the release of a probe."""
        return self.attachment_id or f"probe:{self.release_id}"

    def sandbox_request(
        self,
        session_id: str,
        *,
        token: str,
        ca_bundle_path: str | None,
        runtime_roots: list[str],
    ) -> dict[str, Any]:
        """What the launcher is sent."""
        return {
            "session_id": session_id,
            "token": token,
            "uid": self.uid,
            "command": self.command,
            "env": self.environment(session_id, ca=ca_bundle_path is not None),
            "env_path": self.env_path,
            "mounts": [mount.model_dump() for mount in self.mounts],
            "limits": self.limits.model_dump(exclude={"timeout_seconds", "output_bytes"}),
            "network": self.network,
            "isolation": self.isolation,
            "runtime": self.runtime,
            "ca_bundle_path": ca_bundle_path,
            "runtime_roots": runtime_roots,
        }

    def environment(self, session_id: str, *, ca: bool) -> dict[str, str]:
        """The pack's whole environment: nothing of the host's, the manifest's, then ours, which it cannot replace."""
        ours = {
            "WORKA_PACK_SESSION_ID": session_id,
            "WORKA_PACK_TENANT": self.publisher,
            "WORKA_PACK_NAME": self.pack,
            "HOME": "/tmp",  # noqa: S108 - the sandbox's own
            "TMPDIR": "/tmp",  # noqa: S108
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONNOUSERSITE": "1",
        }
        if ca:
            ours |= dict.fromkeys(_CA_VARIABLES, CA_INSIDE)
        theirs = {key: value for key, value in self.env.items() if not key.startswith("WORKA_")}
        # git refuses a repository of another owner: what is bound belongs to the platform's user.
        count = theirs.get("GIT_CONFIG_COUNT", "0")
        number = int(count) if count.isdigit() else 0
        git = {
            "GIT_CONFIG_COUNT": str(number + 1),
            f"GIT_CONFIG_KEY_{number}": "safe.directory",
            f"GIT_CONFIG_VALUE_{number}": "*",
            "GIT_OPTIONAL_LOCKS": "0",
            "GIT_TERMINAL_PROMPT": "0",
        }
        base = {"PATH": f"{self.env_path}/bin:/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "PYTHONUNBUFFERED": "1"}
        return base | theirs | git | ours


@lru_cache(maxsize=256)
def _read(text: str) -> SessionSpec:
    try:
        return SessionSpec.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise SpecInvalid(f"session.{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
