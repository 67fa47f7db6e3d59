"""Observability: what is going on, what needs me, what changed, and why; composed from each domain's own answers.

Owns no fact but the heartbeats of our processes: it reads what the domains wrote and changes nothing. `attention` is
what needs this reader now; `changes` is what was committed, with who, on whose behalf, before, after and cause;
`health` shows unknown as unknown; `why` asks the domain whose id it is; `chain` joins request, decision, approval,
release, egress, lease, effect and audit, from any link of it.
"""
