"""The reason codes of the broker: what each means, how it comes about, how to look, what to do (BRK-6, BRK-12)."""

from __future__ import annotations

from worka.kernel.reasons import Reason, register

_ROWS = "the egress rows of the invocation: `worka invocation why ID`"


def _broker(code: str, meaning: str, causes: str, remedy: str, layer: str = "broker") -> Reason:
    return Reason(code, "broker", layer, meaning, causes, _ROWS, remedy)


REASONS = (
    _broker("undeclared_destination", "The pack's release does not declare this destination.",
            "The host or port is in no item of outbound_domains.",
            "Declare the destination in the manifest and release the pack again, or keep it refused."),
    _broker("platform_rule_missing", "No recorded rule lets the platform itself reach this destination.",
            "The webhook was removed or its address changed meanwhile, or something else asked for the call.",
            "Add the webhook again with the address that is meant; what is not recorded stays refused."),
    _broker("air_gapped", "This deployment is air-gapped, and the destination is not on its operator's list.",
            "network.air_gapped is set, and network.allowed names neither the host with its port nor the address behind it.",
            "If it is meant, the deployment's operator adds it to network.allowed; `worka network needed` shows what was used."),
    _broker("method_not_allowed", "The destination is declared, but not for this method.",
            "The rule names other methods, or the tool is declared read_only and tried to write.",
            "Name the method in the rule, or declare the tool's side effect as what it is."),
    _broker("path_not_allowed", "The destination is declared, but not for this path.",
            "The path is in no path of the rule, or it is written so that two servers read it differently.",
            "Add the path to the rule, or write it without dot segments and escaped slashes."),
    _broker("private_address", "The target is not a public address.",
            "The name resolves, wholly or partly, to a private, loopback, link-local, metadata or reserved address.",
            "If this inside target is meant, an operator records a network exception for this name and port."),
    _broker("raw_address", "The pack used an address instead of a declared name.",
            "A literal IP address in a URL, in any spelling.",
            "Let the pack use the declared name: rules, credentials and certificates are bound"
            " to names."),
    _broker("malformed_host", "The host is written in a way that two programs could read differently.",
            "User info, a backslash, control characters or letters outside ASCII in the host.",
            "Use the plain host name, internationalised names in their xn-- form."),
    _broker("no_active_invocation", "Something left the pack while none of its tools was being called.",
            "Background work of the pack, or a connection kept open after a call.",
            "Nothing, if calls work; a pack that needs this must do its work inside a call."),
    _broker("host_mismatch", "Name lookup, TLS name and Host header do not agree on one host.",
            "Domain fronting, a wrong Host header, or a connection reused for another host.",
            "Send the request to the host that it names."),
    _broker("nested_connect", "A proxy request inside a connection of the sandbox.",
            "CONNECT or an absolute-form target: the pack uses a proxy setting of its own.",
            "Unset the proxy; the sandbox's network goes through the broker already."),
    _broker("upgrade_refused", "The request asked to change the protocol of the connection.",
            "The client asks for a WebSocket, or tries h2c, which some HTTP libraries do by"
            " themselves.", "Use plain HTTP/1.1 requests; WebSockets are not carried."),
    _broker("malformed_request", "The request is not strict HTTP/1.1.",
            "Two body lengths, control characters, no path, or not HTTP at all.",
            "Correct the client in the pack: a current HTTP library writes strict requests by"
            " itself."),
    _broker("tls_handshake_failed", "The pack did not complete TLS with the broker.",
            "The client pins certificates or ignores the session's CA bundle, or it does not speak TLS.",
            "Let the client use SSL_CERT_FILE or NODE_EXTRA_CA_CERTS of its session."),
    _broker("redirect_out_of_scope", "An answer redirected the pack to a destination that it does not declare.",
            "The outside moved, or tried to send the pack elsewhere.",
            "Declare the new destination if it is meant."),
    _broker("limit_exceeded", "A limit of the session was reached.",
            "Too many connections at once, too many names, or a body above the byte limit.",
            "Ask for less at once, or raise the limit of the broker."),
    _broker("egress_not_recorded", "The egress row could not be written, so nothing was sent.",
            "The database does not answer, is full or read-only, or took longer than the broker"
            " waits for it.", "Bring the database back; the call can be repeated."),
    _broker("secret_echoed", "The answer contained the secret that the broker had put on the request.",
            "The outside echoes headers or parameters.",
            "Use another route of the outside system; rotate the secret if the answer was logged outside."),
    _broker("answer_unscannable", "The answer to a request with a credential is in a coding that cannot be searched.",
            "A content coding that was not asked for.", "Make the outside honour `Accept-Encoding: identity`."),
    _broker("invocation_ended", "The call ended while this request was still open.",
            "A time-out of the call, or a connection that the pack left behind.",
            "Let the tool wait for its own requests before it answers, or raise limits.timeout"
            " in the manifest if the call was cut at its deadline."),
    _broker("answer_not_taken", "The pack closed the connection before the answer was complete.",
            "The pack gave up on its own deadline, read only the head of the answer, or crashed while reading.",
            "Read the pack's output tail; a client in the pack that closes early must read to"
            " the end, or ask for less."),
    _broker("template_error", "The injection template of the connection cannot be expanded.",
            "A root other than the four connection roots, or one without a value.",
            "Correct the template in the manifest, or the connection's metadata.", "connection"),
    _broker("connection_missing", "The pack needs a connection that this workspace does not have for this endpoint.",
            "Nobody connected the provider, or the connection is for another host or port.",
            "Connect the provider in this workspace for this host and port.", "connection"),
    _broker("connection_unusable", "The workspace's connection for this endpoint is not active.",
            "It waits for approval, expired, broke or was revoked.",
            "Repair or approve the connection; its own explanation says what is missing.", "connection"),
    _broker("connection_not_granted", "The secret behind the connection is not granted to this attachment here.",
            "The grant is missing, revoked, or for another endpoint.",
            "Grant the secret to the attachment for this endpoint.", "connection"),
    _broker("secret_unavailable", "The secret behind the connection could not be opened.",
            "It is revoked or destroyed, or the treasury is not available.",
            "See the secret's state; rotate or restore it.", "connection"),
    _broker("name_not_resolved", "The resolver of this machine knows no address for the outside name, or did not answer.",
            "A wrong or expired name, or the resolver of this machine is down.",
            "Check the name; `worka doctor` checks the resolver.", "upstream"),
    _broker("upstream_unreachable", "The outside did not accept the connection.",
            "It is down, or a firewall is between.",
            "Check that the outside system is up and that this machine may reach it; a network"
            " exception may point to an old address.", "upstream"),
    _broker("upstream_tls_failed", "The outside's certificate was not accepted.",
            "Expired, for another name, or signed by a CA that is not trusted here.",
            "Correct the certificate; a private CA belongs into a network exception.", "upstream"),
    _broker("upstream_timeout", "The outside did not answer in time.",
    "The outside is slow, overloaded or hangs, or a firewall between swallows packets.",
            "Check the outside system; repeat if the tool is idempotent.", "upstream"),
    _broker("upstream_malformed",
    "What the outside answered is not HTTP, so nothing of it was given to the pack.", "A broken server or another protocol.",
            "Check what listens at the outside system's port; a rule for the wrong port is the usual cause.", "upstream"),
)  # fmt: skip
register(*REASONS)
