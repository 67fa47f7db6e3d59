"""Problems of connections.

NotFound ── ConnectionNotFound      Invalid ── SecretNotUsable, MetadataInvalid
"""

from __future__ import annotations

from worka.kernel.errors import Invalid, NotFound


class ConnectionNotFound(NotFound):
    """There is no such connection for the caller; whether it exists for others is secret."""

    code, title = "connection_not_found", "There is no such connection here"


class SecretNotUsable(Invalid):
    """The secret is not of this workspace, or not usable."""

    code, title = "secret_not_usable", "This secret cannot back the connection"
    default_remedy = "Name an active secret of the same workspace, or none for a connection without a credential."


class MetadataInvalid(Invalid):
    """Metadata are short, plain, and no place for a credential."""

    code, title = "metadata_invalid", "The metadata are not acceptable"
    default_remedy = (
        "Send up to 20 short texts, such as an account id or a subdomain; credentials belong in the treasury."
    )
