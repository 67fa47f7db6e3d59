"""Problems of the broker's own doors (what a pack gets is a refusal with a reason code, see causes.py).

Problem
├── NotFound: SessionUnknown, ExceptionUnknown, TrustUnknown
├── Conflict: InvocationActive, InvocationForeign, ExceptionExists, TrustExists
├── Denied: TokenRefused
└── Invalid: ExceptionInvalid, RulesUnreadable, TrustInvalid
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
    default_remedy = "Remove the old one first."


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


class TrustExists(Conflict):
    """There is a record for this name, port and attachment already."""

    code = "upstream_trust_exists"
    title = "There is a record of upstream trust for this name and port already"
    default_remedy = "Remove the old one first."


class TrustInvalid(Invalid):
    """A field of a record of upstream trust is not acceptable."""

    code = "upstream_trust_invalid"
    title = "The record of upstream trust is not acceptable"
