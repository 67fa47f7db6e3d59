"""Problems of the treasury.

NotFound ── SecretNotFound, GrantNotFound, ReadingNotFound      Denied ── NoGrant, EndpointNotBound, AnotherPersons
Conflict ── SecretNameTaken, SecretRevoked, InvocationNotRunning, SecretExpired, NotRotating, DependantsMoved, GrantsUndecided,
            SigningKeyKept, ReadingOver
Invalid ── EndpointInvalid, SecretEmpty, AttachmentUnknown, KindNotBindable, DatesInvalid
Unavailable ── MasterKeyUnreadable, MasterKeyMismatch, SecretUnreadable, SecretReplayed, TreasurySealed, KeyDestroyed
"""

from __future__ import annotations

from worka.kernel.errors import Conflict, Denied, Invalid, NotFound, Unavailable


class SecretNotFound(NotFound):
    """There is no such secret for the caller; whether it exists for others is secret."""

    code, title = "secret_not_found", "There is no such secret here"


class GrantNotFound(NotFound):
    """There is no such grant for the caller."""

    code, title = "grant_not_found", "There is no such grant here"


class AnotherPersons(Denied):
    """The secret is of somebody's own account, and the call is not made for them."""

    code, title = "another_persons_account", "This is another person's own account"


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


class NextKeyMissing(Conflict):
    """A key that comes from a setting is followed by one that comes from a setting."""

    code, title = "next_master_key_missing", "The key to rotate to is not set"
    default_remedy = (
        "Make one (`openssl rand -base64 32`), set WORKA_TREASURY__NEXT_MASTER_KEY for every process, restart them one"
        " after the other, and ask again."
    )


class MasterKeyMismatch(Unavailable):
    """The tenant's keys were wrapped under another master key."""

    code, title = "master_key_mismatch", "This is not the master key that the data was sealed under"
    default_remedy = "Restore the master key whose id is named here; nothing can be opened without it."


class SecretUnreadable(Unavailable):
    """What is stored was changed, or belongs elsewhere: it is never opened to something else."""

    code, title = "secret_unreadable", "A stored secret does not open"
    default_remedy = "Restore the named item from a backup, or rotate it to a new value."


class SecretReplayed(SecretUnreadable):
    """An older version was put back: it would open, and is not what the secret is."""

    code, title = "secret_replayed", "An older version of a secret was put back"
    default_remedy = "Rotate the secret to a new value, and find out who wrote to the database."


class KeyDestroyed(SecretUnreadable):
    """The key that it was sealed under was destroyed, on purpose and for good."""

    code, title = "key_destroyed", "The key that this was sealed under was destroyed"
    default_remedy = "Nothing opens it again; put a new secret into the treasury."


class TreasurySealed(Unavailable):
    """The operator has sealed the treasury."""

    code, title = "treasury_sealed", "The treasury is sealed"
    default_remedy = "The operator unseals it: `worka treasury unseal`."


class SecretExpired(Conflict):
    """The secret is past its end."""

    code, title = "secret_expired", "The secret is past its end"
    default_remedy = "Rotate it to a new value: `worka secret rotate ID`."


class KindNotBindable(Invalid):
    """What is signed with, or is the platform's own, is granted to no attachment."""

    code, title = "kind_not_bindable", "A secret of this kind is granted to no attachment"
    default_remedy = "Put what a pack is to use into the treasury as an API token, a password or other material."


class DatesInvalid(Invalid):
    """An end lies in time to come."""

    code, title = "dates_invalid", "This cannot be the end of a secret"
    default_remedy = "Name a time to come, or none."


class NotRotating(Conflict):
    """No overlap is under way."""

    code, title = "not_rotating", "No rotation of the secret is under way"
    default_remedy = "Rotate it with an overlap first: `worka secret rotate ID --overlap MINUTES`."


class DependantsMoved(Conflict):
    """Something else depends on the secret than what was looked at."""

    code, title = "dependants_moved", "What depends on the secret is not what you were shown"
    default_remedy = "Look at the list again (`worka secret dependants ID`), then rotate."


class GrantsUndecided(Conflict):
    """A rotation asks whether the grants remain."""

    code, title = "grants_undecided", "Say whether the grants of the secret remain"
    default_remedy = "Send grants: keep or grants: end (`worka secret rotate ID --grants keep`)."


class SigningKeyKept(Conflict):
    """A signing key is its value: another value is another key."""

    code, title = "signing_key_kept", "A signing key is not given another value"
    default_remedy = "Make a new key and have the operator trust it: `worka registry key new`; then revoke this one."


class ReadingOver(Conflict):
    """The reading was done, is over, or was not agreed to."""

    code, title = "reading_over", "The value cannot be read by this"
    default_remedy = "Ask for another reading, if it is needed still."


class ReadingNotFound(NotFound):
    """There is no such reading for the caller."""

    code, title = "reading_not_found", "There is no such reading here"
