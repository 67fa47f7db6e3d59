"""Problems of the registry.

Problem
├── Denied: NotPublishable
├── Invalid: ArtifactInvalid, EnvelopeInvalid, PolicyInvalid, RootInvalid, DestinationInvalid
├── NotFound: DestinationNotFound, ListingNotFound, PublicationNotFound, PublisherKeyNotFound
└── Conflict: DestinationTaken, KeyThere, NotListed, RegisteredHere, RegistryFailed, SignatureNotTrusted
"""

from __future__ import annotations

from worka.kernel import errors
from worka.packs.errors import ReleaseNotUsable


class NotPublishable(errors.Denied):
    code, title = "publication_refused", "Policy does not let this be published so"
    default_remedy = "See what is allowed with `worka registry policy show`; an owner changes it with `policy set`."


class ArtifactInvalid(errors.Invalid):
    code, title = "artifact_invalid", "What came is not the artifact that was asked for"
    default_remedy = "Do not use it: have the publisher and the registry's operator look at what they serve."


class EnvelopeInvalid(errors.Invalid):
    code, title = "envelope_invalid", "The signature cannot be taken"
    default_remedy = "Send a DSSE envelope with an in-toto statement about this release's artifact."


class PolicyInvalid(errors.Invalid):
    code, title = "registry_policy_invalid", "The registry's policy cannot be taken"
    default_remedy = "Correct the named field; docs/how-to/registry-and-publication.md has them all."


class RootInvalid(errors.Invalid):
    code, title = "trust_root_invalid", "This trust root does not follow the one in force"
    default_remedy = "Make the next version with `worka registry root new`, have enough keys sign it, and set that."


class DestinationInvalid(errors.Invalid):
    code, title = "destination_invalid", "This is no destination"
    default_remedy = "Give a host by name, a port, and a repository in small letters such as team/packs."


class DestinationNotFound(errors.NotFound):
    code, title = "destination_not_found", "There is no such destination here"
    default_remedy = "List them with `worka registry destination list`, or add one."


class ListingNotFound(errors.NotFound):
    code, title = "listing_not_found", "The marketplace has no such release for you"
    default_remedy = "Look with `worka registry search`."


class PublicationNotFound(errors.NotFound):
    code, title = "publication_not_found", "There is no such publication here"
    default_remedy = "List them with `worka registry publications`."


class PublisherKeyNotFound(errors.NotFound):
    code, title = "publisher_key_not_found", "The publisher has no signing key here"
    default_remedy = "Make one with `worka registry key new PUBLISHER`."


class DestinationTaken(errors.Conflict):
    code, title = "destination_taken", "There is a destination of this name"
    default_remedy = "Use another name, or remove the one that is there."


class KeyThere(errors.Conflict):
    code, title = "publisher_key_there", "The publisher has a signing key here"
    default_remedy = "Sign with it; to rotate, revoke its secret first and then make a new one."


class RegisteredHere(errors.Conflict):
    code, title = "registered_here", "It was registered in this tenant"
    default_remedy = "Attach it with `worka pack attach`: there is nothing to install."


class NotListed(errors.Conflict):
    code, title = "not_listed", "It is not listed now"
    default_remedy = "Publish the release; that lists it."


class SignatureNotTrusted(ReleaseNotUsable):
    code, title = "signature_not_trusted", "Policy wants a trusted signature, and this release has none"
    default_remedy = (
        "Have the publisher sign it, and the operator trust the publisher's key: `worka registry show REL_ID`."
    )


class RegistryFailed(errors.Conflict):
    code, title = "registry_failed", "The registry did not give what was asked for"
    default_remedy = "Read `reason`; docs/reference/reasons says what to do about each."
