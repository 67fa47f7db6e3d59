"""Problems of the door itself, before any use case is asked.

Problem ── Misdirected 421, MethodNotAllowed 405, UnsupportedBody 415, TooLarge 413, NoSuchRoute 404, PreconditionFailed 412
(NothingTagged), BadEntityTag 400
Invalid ── UnknownParameter, UnknownField, TenantRequired
"""

from __future__ import annotations

from worka.kernel.errors import BadRequest, Invalid, NotFound, Problem


class Misdirected(Problem):
    """The Host header names a machine that is not this one: a page elsewhere may have rebound its name to us."""

    status, code, title = 421, "host_not_allowed", "This is not the address of this Worka"
    default_remedy = (
        "Use the address that `worka up` printed, or let the operator set http.public_url or http.allowed_hosts."
    )


class MethodNotAllowed(Problem):
    """The path is a route, but not with this method."""

    status, code, title = 405, "method_not_allowed", "This path does not have that method"
    default_remedy = "Use one of the methods named in `allow`; /openapi.json lists them."


class NoSuchRoute(NotFound):
    """The path is no route."""

    code, title = "no_such_route", "There is no such route"
    default_remedy = "See /openapi.json for the routes."


class UnsupportedBody(Problem):
    """The body is not JSON by its Content-Type, or is encoded."""

    status, code, title = 415, "unsupported_body", "This kind of body is not read here"
    default_remedy = "Send `Content-Type: application/json`, in UTF-8, without a Content-Encoding."


class TooLarge(Problem):
    """The body is larger than the limit."""

    status, code, title = 413, "body_too_large", "The request body is too large"
    default_remedy = "Send less, or ask the operator to raise http.max_body_bytes."


class UnknownParameter(Invalid):
    """The query names something that this route does not take, or names it twice."""

    code, title = "unknown_parameter", "The query holds a parameter that is not taken"
    default_remedy = "Leave it out, or use one of those in `known`."


class UnknownField(Invalid):
    """A body for a route that takes none."""

    code, title = "unknown_field", "This request takes no body"
    default_remedy = "Send no body."


class TenantRequired(Invalid):
    """The caller belongs to several tenants and named none."""

    code = "tenant_required"
    title = "Name the tenant"
    default_remedy = "Send the header Worka-Tenant, or use a path with the workspace."


class PreconditionFailed(Problem):
    """The thing is not what the caller's If-Match says; nothing was changed."""

    status, code, title = 412, "precondition_failed", "It changed since you read it"
    default_remedy = "Read it again, decide on what it is now, and send its new ETag."


class NothingTagged(PreconditionFailed):
    """If-Match on a request that changes nothing which has an ETag."""

    code, title = "no_etag_here", "There is no ETag that this could be held to"
    default_remedy = "Send it without If-Match."


class BadEntityTag(BadRequest):
    """If-Match or If-None-Match holds no entity tag."""

    code, title = "bad_entity_tag", "This is no entity tag"
    default_remedy = 'Send the ETag of an answer as it was, with its quotation marks, or "*".'
