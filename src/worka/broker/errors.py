"""Problems of the broker's own doors (what a pack gets is a refusal with a reason code, see causes.py).

Problem
├── NotFound: SessionUnknown, ExceptionUnknown, TrustUnknown, EgressUnknown, PolicyChangeUnknown, DestinationUnknown,
│   AttachmentUnknown, WayChangeUnknown
├── Conflict: InvocationActive, InvocationForeign, ExceptionExists, TrustExists, PolicyMoved
├── Denied: TokenRefused
└── Invalid: ExceptionInvalid, RulesUnreadable, TrustInvalid, PolicyUnreadable, PolicyInvalid, RequestInvalid
"""

from __future__ import annotations

from worka.kernel.errors import Conflict, Denied, Invalid, NotFound


class SessionUnknown(NotFound):
    """No such session: it was closed, or the broker was restarted."""

    code = "broker_session_unknown"
    title = "The broker does not know this session"
    default_remedy = "Start the pack session anew; its network lives and dies with the broker's session."


class ExceptionUnknown(NotFound):
    """No such network exception in this workspace."""

    code = "network_exception_unknown"
    title = "There is no such network exception"


class InvocationActive(Conflict):
    """The session serves another invocation."""

    code = "invocation_active"
    title = "The session is busy with another invocation"
    default_remedy = "One invocation at a time per session; open another session for more."


class InvocationForeign(Conflict):
    """The invocation is not a running one of this session's attachment."""

    code = "invocation_foreign"
    title = "The invocation does not belong to this session"


class ExceptionExists(Conflict):
    """There is an exception for this name and port already."""

    code = "network_exception_exists"
    title = "There is a network exception for this name and port already"
    default_remedy = "Say `replace` for the new one to stand in its place, or remove the old one first."


class TokenRefused(Denied):
    """The sandbox's sockets came with a wrong or used token."""

    code = "broker_token_refused"
    title = "The session's token is wrong or was used already"


class ExceptionInvalid(Invalid):
    """A field of a network exception is not acceptable."""

    code = "network_exception_invalid"
    title = "The network exception is not acceptable"


class RulesUnreadable(Invalid):
    """The release's outbound rules or connections cannot be read; nothing leaves under rules read by halves."""

    code = "outbound_rules_unreadable"
    title = "The release's outbound rules cannot be read"
    default_remedy = "Correct outbound_domains or connections in the manifest and release the pack again."


class TrustUnknown(NotFound):
    """No such record of upstream trust in this workspace."""

    code = "upstream_trust_unknown"
    title = "There is no such record of upstream trust"


class WayChangeUnknown(NotFound):
    """No such network exception or record of upstream trust that waits, or waited, for a second person."""

    code = "way_change_unknown"
    title = "There is no such change of where names lead"


class TrustExists(Conflict):
    """There is a record for this name, port and attachment already."""

    code = "upstream_trust_exists"
    title = "There is a record of upstream trust for this name and port already"
    default_remedy = "Say `replace` for the new one to stand in its place, or remove the old one first."


class TrustInvalid(Invalid):
    """A field of a record of upstream trust is not acceptable."""

    code = "upstream_trust_invalid"
    title = "The record of upstream trust is not acceptable"


class PolicyUnreadable(Invalid):
    """What is recorded of the policy on destinations cannot be read; nothing leaves under a policy read by halves."""

    code = "policy_unreadable"
    title = "The policy on destinations cannot be read"
    default_remedy = "Save it again with `worka egress policy set`, or bring back the build that wrote it."


class PolicyInvalid(Invalid):
    """An item of a policy on destinations is not acceptable."""

    code = "egress_policy_invalid"
    title = "The policy on destinations cannot be taken"
    default_remedy = (
        "Write a destination as manifests do: a host, *.host, or {host, port, methods, paths}; here also * and packs."
    )


class PolicyMoved(Conflict):
    """It was written over a version that is not the newest any more."""

    code = "egress_policy_moved"
    title = "The policy on destinations is another one meanwhile"
    default_remedy = "Read it again with `worka egress policy show`, and write the change over what holds now."


class PolicyChangeUnknown(NotFound):
    """No such change of the policy on destinations here."""

    code = "egress_policy_change_unknown"
    title = "There is no such change of the policy on destinations"


class EgressUnknown(NotFound):
    """No such row of the egress ledger here."""

    code = "egress_unknown"
    title = "There is no such row of the egress ledger"


class DestinationUnknown(NotFound):
    """Nothing here may reach this destination, and nothing did."""

    code = "egress_destination_unknown"
    title = "Nothing here reaches this destination"
    default_remedy = "See what may be reached with `worka egress destinations`."


class RequestInvalid(Invalid):
    """A request to be tried cannot be read."""

    code = "egress_request_invalid"
    title = "The request cannot be tried"


class AttachmentUnknown(NotFound):
    """No such attachment here."""

    code = "egress_attachment_unknown"
    title = "There is no such attachment"
