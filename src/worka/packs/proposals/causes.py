"""Why a proposal is as it is: its reason codes."""

from __future__ import annotations

from worka.kernel.reasons import Reason, register

_CHECK = "`worka why epr_…`: the difference, the refusals that it answers, who may decide, and what became of it."


def _proposal(code: str, meaning: str, causes: str, remedy: str) -> Reason:
    return Reason(code, "packs", "governance", meaning, causes, _CHECK, remedy)


REASONS = (
    _proposal("waiting_for_decision", "A proposal waits for somebody who may decide on it.",
              "Somebody proposed to let through what was refused, or to take away what is not used.",
              "Whoever administers the workspace accepts or rejects it: `worka egress proposals`."),
    _proposal("made_into_release", "The proposal was accepted, and is a release with a move to it.",
              "Whoever decided accepted it; the release is built and tried, and the move asks as any move does.",
              "Follow the release and the move that it names."),
    _proposal("made_into_policy", "The proposal was accepted, and is a change of the policy on destinations.",
              "Whoever decided accepted it; where there is another owner, the change waits for them.",
              "Follow the change that it names."),
    _proposal("proposal_rejected", "The proposal was rejected; the same is not proposed again by itself.",
              "Whoever decided said no, with a reason.",
              "Read the reason; if it does not hold any more, propose it again with `--again`."),
    _proposal("allowed_meanwhile", "What was proposed is allowed by now.",
              "A newer release declares it, or policy changed.", "Nothing to do."),
    _proposal("manifest_changed", "What the proposal takes away or builds on is not in the manifest any more.",
              "The attachment moved to another release meanwhile.", "Look again, and propose over what is attached now."),
)  # fmt: skip
register(*REASONS)
