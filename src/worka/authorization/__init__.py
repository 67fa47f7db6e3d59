"""May this principal do this action on this resource, and why: the access half of every decision.

Owns the role matrix, the Cedar schema made from the registered actions, the shipped floor of the access set, and the
vocabulary of facts that policy may look at. Asks for the one who acts and for the person behind it, and answers allow
or deny; approvals are governance's word. It records nothing and raises no refusal: `ctx.require` does, through
`governance.facade`. It never trusts rights carried in a token: they are read at each call.
"""

from __future__ import annotations

from worka.authorization import cedar, floor, matrix, rules, service, store, vocabulary
from worka.authorization.rules import Actor, Answer
from worka.authorization.service import decide, may

__all__ = ["Actor", "Answer", "cedar", "decide", "floor", "matrix", "may", "rules", "service", "store", "vocabulary"]
