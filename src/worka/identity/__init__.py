"""Who someone is: people, their sessions and sign-in links, API tokens, and AI team members as principals of their own.

Owns persons (of the deployment), sessions, one-time tokens, API tokens and team members (of a tenant, each with an
owning person). Credentials are stored as a keyed hash only; a person signs in with a password checked off the event
loop, and with a second factor (a code by time, or a recovery code) where one is set up; each kind of principal has its
own kind of credential. Identity never says what someone may do: roles are workspaces' and answers are authorization's.
It never has default credentials: a one-time setup token makes the first operator.
"""

from __future__ import annotations

from worka.identity import actions, events, factors, store
from worka.identity.service import (
    Credential,
    authenticate,
    create_person,
    ensure_setup_token,
    finish_sign_in,
    nobody_yet,
    open_session,
    set_up,
    sign_in,
    sign_in_by_link,
    sign_in_link,
    sign_out,
)

__all__ = [
    "Credential",
    "actions",
    "authenticate",
    "create_person",
    "ensure_setup_token",
    "events",
    "factors",
    "finish_sign_in",
    "nobody_yet",
    "open_session",
    "set_up",
    "sign_in",
    "sign_in_by_link",
    "sign_in_link",
    "sign_out",
    "store",
]
