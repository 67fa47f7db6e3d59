"""Problems of the treasury.

NotFound ── SecretNotFound, GrantNotFound      Denied ── NoGrant, EndpointNotBound
Conflict ── SecretNameTaken, SecretRevoked, InvocationNotRunning
Invalid ── EndpointInvalid, SecretEmpty, AttachmentUnknown
Unavailable ── MasterKeyUnreadable, MasterKeyMismatch, SecretUnreadable
"""

from __future__ import annotations

from worka.kernel.errors import Conflict, Denied, Invalid, NotFound, Unavailable


class SecretNotFound(NotFound):
    """There is no such secret for the caller; whether it exists for others is secret."""

    code, title = "secret_not_found", "There is no such secret here"


class GrantNotFound(NotFound):
    """There is no such grant for the caller."""

    code, title = "grant_not_found", "There is no such grant here"


class NoGrant(Denied):
    """The attachment has no live grant of the secret."""

    code, title = "no_grant", "The attachment has no grant of this secret"
    default_remedy = "Someone who manages connections grants it: `POST /v1/secrets/{id}/grants`."


class EndpointNotBound(Denied):
    """The attachment has a grant of the secret, for another endpoint."""

    code, title = "endpoint_not_bound", "The grant is for another endpoint"
    default_remedy = "Grant the secret for this host and port as well, if it is meant to go there."


class SecretRevoked(Conflict):
    """The secret is revoked or destroyed."""

    code, title = "secret_revoked", "The secret is revoked"
    default_remedy = "Put the new credential into the treasury as a new secret and connect with that."


class InvocationNotRunning(Conflict):
    """A lease lives only while its invocation runs."""

    code, title = "invocation_not_running", "The invocation is not running"
    default_remedy = "A value is given only to a call that is under way; make the call again."


class SecretNameTaken(Conflict):
    """A secret of this name is in the workspace."""

    code, title = "secret_name_taken", "There is a secret of this name"
    default_remedy = "Choose another name, or rotate the one that is there."


class EndpointInvalid(Invalid):
    """An endpoint is a lower-case host name and a port."""

    code, title = "endpoint_invalid", "This is no endpoint"
    default_remedy = "Write it as host:port, for example api.example.com:443."


class SecretEmpty(Invalid):
    """The value cannot be a credential."""

    code, title = "secret_value_invalid", "This cannot be a secret's value"
    default_remedy = "Send 6 to 65,536 characters without NUL."


class AttachmentUnknown(Invalid):
    """Grants are given to attachments that serve, or wait, in the same workspace."""

    code, title = "grantee_unknown", "There is no such attachment in this workspace"
    default_remedy = "Name an attachment of the secret's own workspace that is not detached."


class MasterKeyUnreadable(Unavailable):
    """The master key is missing, malformed, or not readable by this process."""

    code, title = "master_key_unreadable", "The master key cannot be read"
    default_remedy = "Restore keys/master.key under WORKA_HOME from its backup (32 bytes in base64), mode 0600."


class MasterKeyMismatch(Unavailable):
    """The tenant's keys were wrapped under another master key."""

    code, title = "master_key_mismatch", "This is not the master key that the data was sealed under"
    default_remedy = "Restore the master key whose id is named here; nothing can be opened without it."


class SecretUnreadable(Unavailable):
    """What is stored was changed, or belongs elsewhere: it is never opened to something else."""

    code, title = "secret_unreadable", "A stored secret does not open"
    default_remedy = "Restore the named item from a backup, or rotate it to a new value."
