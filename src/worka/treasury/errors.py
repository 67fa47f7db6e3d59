"""Problems of the treasury.

NotFound: SecretNotFound, GrantNotFound   Denied: NoGrant, EndpointNotBound   Conflict: SecretExists, SecretUnusable
Unavailable: Unreadable (a stored value does not open under its key and place)
"""

from __future__ import annotations

from worka.kernel.errors import Conflict, Denied, NotFound, Unavailable


class SecretNotFound(NotFound):
    code = "secret_not_found"
    title = "There is no such secret here"


class GrantNotFound(NotFound):
    code = "grant_not_found"
    title = "There is no such grant here"


class NoGrant(Denied):
    """Existence is not permission: nobody granted this secret to this attachment."""

    code = "no_grant"
    title = "The secret is not granted to this attachment"
    default_remedy = "Someone who manages connections can grant it: POST /v1/secrets/{id}/grants."


class EndpointNotBound(Denied):
    """The grant is for another endpoint."""

    code = "endpoint_not_bound"
    title = "The secret may not be used on this endpoint"
    default_remedy = "A credential is usable only on the endpoint it is bound to; grant it for this one if that is meant."


class SecretExists(Conflict):
    code = "secret_exists"
    title = "A secret of this name exists in the workspace"
    default_remedy = "Choose another name, or rotate the one that exists."


class SecretUnusable(Conflict):
    code = "secret_unusable"
    title = "The secret cannot be used in its state"
    default_remedy = "Put a new secret into the treasury and connect with it."


class Unreadable(Unavailable):
    """Decryption failed its authentication: altered, moved from another place, or sealed under another key."""

    code = "sealed_value_unreadable"
    title = "A sealed value does not open"
    default_remedy = "Restore this item from a backup; it was altered, or the master key is another one."
