"""Problems of connections.

NotFound ── ConnectionNotFound, ClientNotFound      Denied ── ProviderRestricted, FlowForeign
Invalid ── SecretNotUsable, MetadataInvalid, ProviderUnusable, ScopeNotNeeded      Conflict ── ClientTaken, FlowOver, FlowUnknown, ClientMissing
Unavailable ── CatalogueInvalid
"""

from __future__ import annotations

from worka.kernel.errors import Conflict, Denied, Invalid, NotFound, Unavailable


class ConnectionNotFound(NotFound):
    """There is no such connection for the caller; whether it exists for others is secret."""

    code, title = "connection_not_found", "There is no such connection here"


class ClientNotFound(NotFound):
    """There is no such client for the caller."""

    code, title = "provider_client_not_found", "There is no such client here"


class FlowUnknown(Conflict):
    """What the provider sent back belongs to no consent that was begun here."""

    code, title = "consent_unknown", "No consent was begun for this answer"
    default_remedy = "Begin again from the connection's page: `worka connection authorize ID` says where."


class FlowForeign(Denied):
    """A consent is ended in the session that began it, by the person who began it."""

    code, title = "consent_foreign", "Somebody else began this consent, or another session did"
    default_remedy = "Whoever began it ends it, in the same browser; otherwise begin again yourself."


class FlowOver(Conflict):
    """A consent is answered once, in time, and for what was asked."""

    code, title = "consent_over", "This consent is over"
    default_remedy = "Begin again from the connection's page: `worka connection authorize ID` says where."


class ProviderRestricted(Denied):
    """The operator does not let this outside system be connected here."""

    code, title = "provider_restricted", "This outside system may not be connected here"
    default_remedy = "Ask the operator of this deployment: `worka connection providers` says what may be."


class ProviderUnusable(Invalid):
    """The catalogue has no such provider, or not in this way, or not at this host."""

    code, title = "provider_unusable", "The connection cannot be made in this way"
    default_remedy = "`worka connection providers` lists what there is, how each is connected, and at which hosts."


class ScopeNotNeeded(Invalid):
    """Only what an attached pack declares is asked for."""

    code, title = "scope_not_needed", "No pack here needs this access"
    default_remedy = "Leave it out: `worka connection needs` lists what the packs of this workspace declare."


class ClientTaken(Conflict):
    """A workspace is registered once at a provider."""

    code, title = "provider_client_taken", "This workspace has a client at this provider"
    default_remedy = "Remove it first: `worka connection clients`; its connections then have to be connected again."


class ClientMissing(Conflict):
    """OAuth needs a client that is registered at the provider."""

    code, title = "provider_client_missing", "This workspace is registered as no client at this provider"
    default_remedy = "Register one there, then here: `worka connection register PROVIDER CLIENT_ID`."


class CatalogueInvalid(Unavailable):
    """A file of the catalogue cannot be read as one."""

    code, title = "catalogue_invalid", "The catalogue of outside systems cannot be read"
    default_remedy = "Mend the file that is named; docs/how-to/connections.md says what one holds."


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
