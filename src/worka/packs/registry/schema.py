"""What the API takes for the registry."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from worka.kernel.http import Body

Visibility = Literal["private", "shared", "public"]
Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
Place = Annotated[str, Field(min_length=1, max_length=300)]


class NewPublication(Body):
    """What is published, where to, and who may see it. Without `visibility`: what policy says."""

    release_id: str = Field(max_length=60)
    destination: str = Field(
        "local", min_length=1, max_length=60, description="`local`, or a destination by name or id"
    )
    visibility: Visibility | None = None
    shared_with: list[Annotated[str, Field(max_length=60)]] = Field(
        default_factory=list, max_length=200, description="the tenants that see it, by id, where it is shared"
    )


class WhyGone(Body):
    """Why it is taken away: who looks for it reads that."""

    reason: str = Field(min_length=1, max_length=500)


class NewDestination(Body):
    """A registry, and the one repository there that is meant."""

    name: str = Field(min_length=1, max_length=40)
    host: str = Field(min_length=1, max_length=253)
    port: int = Field(443, ge=1, le=65535)
    repository: str = Field(min_length=1, max_length=200)
    username: str = Field("", max_length=200)
    password: str = Field("", max_length=2000)
    token_service: str = Field(
        "", max_length=500,
        description="where the registry has its tokens given out, https://host/path?service=name; the password goes there alone",
    )  # fmt: skip
    blob_hosts: list[Annotated[str, Field(max_length=260)]] = Field(
        default_factory=list, max_length=8, description="host:port of what the registry redirects to for its blobs"
    )


class FetchRelease(Body):
    """An artifact at a registry outside, by its digest."""

    destination: str = Field(min_length=1, max_length=60)
    digest: Digest


class NewKey(Body):
    """The publisher that gets a key."""

    publisher: str = Field(min_length=1, max_length=64, pattern=r"^[a-z0-9][a-z0-9_-]*$")


class NewSignature(Body):
    """A DSSE envelope that was signed elsewhere. Without one: the publisher's key in the treasury signs."""

    envelope: dict[str, Any] | None = None


class NewReview(Body):
    """What whoever looked has to say."""

    note: str = Field(min_length=1, max_length=2000)


class PolicySettings(Body):
    """A layer of the registry's policy. What is left out says nothing; every layer can only tighten."""

    visibility: Visibility | None = None
    most: Visibility | None = None
    image_destinations: list[Place] | None = Field(None, max_length=100)
    source_destinations: list[Place] | None = Field(None, max_length=100)
    approvers: list[Annotated[str, Field(max_length=200)]] | None = Field(None, max_length=10)
    require_signature: bool | None = None
    public_on_trial: bool | None = None


class NewRegistryPolicy(Body):
    """The next version of the tenant's or the workspace's layer."""

    scope: Literal["tenant", "workspace"] = "workspace"
    settings: PolicySettings
    note: str = Field("", max_length=500)


class NewRoot(Body):
    """The next trust root, signed: {signed, signatures}."""

    document: dict[str, Any]
