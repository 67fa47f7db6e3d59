"""API shapes of the broker's doors."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from worka.broker.addresses import NAME
from worka.kernel.http import Body

Address = Annotated[str, Field(json_schema_extra={"anyOf": [{"format": "ipv4"}, {"format": "ipv6"}]})]


class NewNetworkException(Body):
    """What a pack sees (`name`, `port`), and what is behind it (`address`, `real_port`, the CA to trust)."""

    name: str = Field(
        max_length=253, description="the host name that a pack declares and uses", json_schema_extra={"pattern": NAME}
    )
    port: Literal[80, 443] = Field(443, description="the port that a pack uses")
    address: Address = Field(max_length=45, description="the IP address behind it")
    real_port: int = Field(ge=1, le=65535, description="the port behind it")
    ca_pem: str = Field("", max_length=65536, description="the CA to trust, PEM; needed for port 443")
    reason: str = Field(min_length=1, max_length=500, description="why this is right, for whoever reads it later")
    replace: bool = Field(False, description="the exception of the same name and port ends with this, in one commit")


class Certificate(BaseModel):
    """A certificate in words."""

    subject: str
    issuer: str
    ends_at: datetime
    over: bool = Field(description="whether it has ended")


class NetworkException(BaseModel):
    """A recorded exception."""

    id: str
    workspace_id: str
    name: str
    port: int
    address: str
    real_port: int
    ca_pem: str
    reason: str
    created_by: str
    created_at: datetime
    removed_at: datetime | None
    leads_to: str = Field(description="the address and port behind it, in one word")
    authorities: list[Certificate] = Field(description="whom it trusts, in words")
    replaced: str | None = Field(None, description="the exception that ended with this, where it was just made")


class NetworkExceptions(BaseModel):
    """A page of exceptions, newest first."""

    items: list[NetworkException]
    next: str | None


class NewUpstreamTrust(Body):
    """How the certificate of an outside name is checked, and which certificate of ours it is shown."""

    name: str = Field(
        max_length=253, description="the host name that a pack declares and uses", json_schema_extra={"pattern": NAME}
    )
    port: Literal[443] = Field(443, description="the port that a pack uses")
    attachment_id: str = Field("", max_length=80, description="for one attachment; empty: for all of the workspace")
    ca_pem: str = Field("", max_length=65536, description="the CA to trust instead of the public ones, PEM")
    client_cert_pem: str = Field("", max_length=65536, description="our certificate, with its chain, PEM")
    client_key_secret_id: str | None = Field(
        None, max_length=80, description="its key: a secret that is granted to the attachment for this endpoint"
    )
    reason: str = Field(min_length=1, max_length=500, description="why this is right, for whoever reads it later")
    replace: bool = Field(False, description="the record of the same name and attachment ends with this, in one commit")


class UpstreamTrust(BaseModel):
    """A recorded one."""

    id: str
    workspace_id: str
    name: str
    port: int
    attachment_id: str
    ca_pem: str
    client_cert_pem: str
    client_key_secret_id: str | None
    reason: str
    created_by: str
    created_at: datetime
    removed_at: datetime | None
    authorities: list[Certificate] = Field(description="whom it trusts, in words")
    certificates: list[Certificate] = Field(description="our certificate and its chain, in words")
    replaced: str | None = Field(None, description="the record that ended with this, where it was just made")


class UpstreamTrusts(BaseModel):
    """A page of records, newest first."""

    items: list[UpstreamTrust]
    next: str | None


class Egress(BaseModel):
    """One row: one destination and cause of one invocation, with a count; the outcome is the last request's."""

    id: str
    workspace_id: str
    attachment_id: str
    invocation_id: str | None
    session_id: str
    host: str
    port: int
    kind: str
    method: str | None
    path: str | None
    verdict: Literal["allowed", "denied"]
    reason: str
    rule: str | None
    count: int
    address: str | None
    status: int | None
    bytes_out: int
    bytes_in: int
    duration_ms: float | None
    opaque: bool
    exception_id: str | None
    connection_id: str | None
    lease_id: str | None
    trace_id: str
    decision_id: str | None
    protocol: str | None = Field(description="as the pack spoke: http/1.1, h2, websocket or tls (which was not read)")
    upstream_protocol: str | None = Field(description="as the outside spoke; each side is chosen by itself")
    resolve_ms: float | None = Field(description="until the name had its checked address")
    connect_ms: float | None = Field(description="until the connection stood; null: it stood already")
    answer_ms: float | None = Field(description="from the request to the head of its answer")
    secret_id: str | None = Field(description="whose value was put on the wire")
    trust_id: str | None = Field(description="the record of how the outside's certificate was checked")
    at: datetime
    last_at: datetime


class FailureLine(BaseModel):
    """One failure as it was met, redacted."""

    egress_id: str
    at: datetime
    reason: str
    text: str


class EgressLog(BaseModel):
    """The failure lines of one row, in order; the first ten of it."""

    egress_id: str
    invocation_id: str | None
    host: str
    port: int
    reason: str
    items: list[FailureLine]
