"""Problems of proposals.

Problem
├── NotFound: ProposalNotFound
├── Invalid: NothingToPropose
└── Conflict: ProposalRejected, ProposalOver
"""

from __future__ import annotations

from worka.kernel import errors


class ProposalNotFound(errors.NotFound):
    code, title = "egress_proposal_not_found", "There is no such proposal here"
    default_remedy = "List them with `worka egress proposals`."


class NothingToPropose(errors.Invalid):
    code, title = "nothing_to_propose", "No difference of a manifest or of policy would change this"
    default_remedy = "Read `worka why` of the row: its reason says what would."


class ProposalRejected(errors.Conflict):
    code, title = "egress_proposal_rejected", "This was proposed before, and rejected"
    default_remedy = "Read why; if that does not hold any more, propose it again with `--again`."


class ProposalOver(errors.Conflict):
    code, title = "egress_proposal_over", "The proposal is decided already"
    default_remedy = "Read `worka why` of it."
