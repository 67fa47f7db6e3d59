"""Workflows: governed work that outlives the process that does it.

A *workflow definition* is versioned data: typed inputs, who may take part with which tools, steps, limits, outcomes. A
*task* is one run of one version of a definition; its *steps* act as an AI team member on behalf of a person. A task
runs in *segments*: from runnable to the next *wait*, which is typed, names who must act, and costs nothing while it
lasts. This domain owns definitions, tasks, steps, receipts and waits. It never calls a pack itself (`packs` does),
never decides (`ctx.require` does), never keeps arguments or results in the engine's journal (ids only).
"""

from worka.workflows.jobs import subscribe

__all__ = ["subscribe"]
