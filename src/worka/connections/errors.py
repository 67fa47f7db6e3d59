"""Problems of connections: ConnectionNotFound 404, EndpointInvalid 422, SecretMissing 404."""

from __future__ import annotations

from worka.kernel.errors import Invalid, NotFound


class ConnectionNotFound(NotFound):
    code = "connection_not_found"
    title = "There is no such connection here"


class SecretMissing(NotFound):
    code = "secret_not_found"
    title = "There is no such secret in this workspace"
    default_remedy = "Put the credential into the treasury first: POST /v1/workspaces/{w}/secrets."


class EndpointInvalid(Invalid):
    code = "endpoint_invalid"
    title = "The host is not a name that a connection can be bound to"
    default_remedy = "Give a host name such as api.example.org: no address, no wildcard, no port."
