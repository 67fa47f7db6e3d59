"""Proposals: what a pack was refused, as the narrow difference that would let exactly that through; and what it declares and
never uses, as the difference that takes it away.

A proposal changes nothing. Accepted, a difference of the manifest becomes a release of its own and a move to it, which asks
for the approvals that any move asks for; a difference of policy becomes a change of policy, which waits for a second owner.
Rejected, it is remembered. The same again is the same proposal, counted.
"""
