"""Problems of observability.

Problem
├── NotFound: NothingKnown
└── BadRequest: BadSince
"""

from __future__ import annotations

from worka.kernel import errors


class NothingKnown(errors.NotFound):
    code, title = "nothing_known", "Nothing is known under this id"
    default_remedy = "Check the id; ids begin with what they name (`task_`, `inv_`, `apr_`, `rel_` …)."


class BadSince(errors.BadRequest):
    code, title = "bad_since", "The time cannot be read"
    default_remedy = "Give an ISO 8601 time with its zone, or an age such as 30m, 2h or 7d."
