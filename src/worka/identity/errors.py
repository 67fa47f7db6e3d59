"""Problems of identity.

Unauthenticated ── BadCredential, BadSignIn, UsedOrUnknownToken, SecondFactorRequired
Conflict ── EmailTaken, AlreadySetUp, NoSecondFactor                        TooMany ── TooManySignIns, TooManyCodes
Invalid ── WeakPassword        NotFound ── TokenNotFound, TeamMemberNotFound, PersonNotFound
Denied ── NotYours, CodeRefused, PasswordRefused, StepUpFirst
"""

from __future__ import annotations

from worka.kernel.errors import Conflict, Denied, Invalid, NotFound, TooMany, Unauthenticated


class BadCredential(Unauthenticated):
    """The token is malformed, unknown, expired, revoked, or of a principal that is disabled. Never says which."""

    code, title = "bad_credential", "This credential opens nothing"


class BadSignIn(Unauthenticated):
    """E-mail and password do not belong together. Never says which is wrong."""

    code, title = "bad_sign_in", "E-mail or password is wrong"
    default_remedy = "Check both; an owner can invite you again."


class UsedOrUnknownToken(Unauthenticated):
    """A setup token, link or invitation that is unknown, used or expired."""

    code, title = "one_time_token_unusable", "This one-time token cannot be used"
    default_remedy = "It works once and for a limited time: ask for a new one."


class EmailTaken(Conflict):
    """Somebody has this e-mail address already."""

    code, title = "email_taken", "This e-mail address has an account"
    default_remedy = "Sign in with it; to accept an invitation, use the password of that account."


class AlreadySetUp(Conflict):
    """The deployment has an operator."""

    code, title = "already_set_up", "This deployment is set up"
    default_remedy = "Sign in, or ask the operator for an invitation."


class TooManySignIns(TooMany):
    """Too many tries for one e-mail address, or from one place, counted over all processes."""

    code, title = "too_many_sign_ins", "Too many sign-in attempts"


class WeakPassword(Invalid):
    """A password that is too short, too long, or the e-mail address."""

    code, title = "weak_password", "This password is not acceptable"
    default_remedy = "Use 10 to 1,024 characters that are not your e-mail address."


class TokenNotFound(NotFound):
    """No such API token for the caller."""

    code, title = "token_not_found", "There is no such token here"


class TeamMemberNotFound(NotFound):
    """No such AI team member in the workspace."""

    code, title = "team_member_not_found", "There is no such AI team member here"


class NotYours(Denied):
    """Credentials are made by people, for themselves or for an AI team member."""

    code, title = "not_yours", "A credential is made by a person, for itself or for an AI team member"
    default_remedy = "Sign in as a person; for somebody else, send an invitation."


class SecondFactorRequired(Unauthenticated):
    """The password is right, and this account has a second factor: a code is needed, or the one given was refused."""

    code, title = "second_factor_required", "A code of the second factor is needed"
    default_remedy = "Send the code that your authenticator app shows now, or a recovery code, with the sign-in."
    continuation: str = ""
    """A one-time token with which our own page goes on without the password. It stands in no body."""


class CodeRefused(Denied):
    """A code that is wrong, was used, or is of another time. Never says which."""

    code, title = "code_refused", "This code is not accepted"
    default_remedy = "Wait for the next code of your authenticator app and type that: each works once. A recovery code works once too."


class PasswordRefused(Denied):
    """The password that a change of one's own sign-in needs is wrong."""

    code, title = "password_refused", "This is not your password"
    default_remedy = "Type the password that you sign in with."


class NoSecondFactor(Conflict):
    """The person has no second factor in force, or none that waits for its first code."""

    code, title = "no_second_factor", "There is no second factor to do this with"
    default_remedy = "Set one up first: `worka me second-factor set-up`, or your name in the console."


class StepUpFirst(Denied):
    """Taking somebody's second factor away needs one's own, given just now, by whoever has one."""

    code, title = "step_up_first", "Give your own second factor first"
    default_remedy = "Step up with a code (`worka me step-up`), then ask again."


class TooManyCodes(TooMany):
    """Too many codes of one person's second factor, counted over all processes."""

    code, title = "too_many_codes", "Too many codes were tried"


class PersonNotFound(NotFound):
    """No such person for the caller."""

    code, title = "person_not_found", "There is no such person here"
