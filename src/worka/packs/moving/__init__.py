"""Moving: an attachment goes from one release of its pack to another, and what changes with that is said first.

A *difference* is what a release may do, offers and says that the other one does not, each change classed widening,
narrowing or neutral. A *move* takes one attachment from one release to another: decided, waited for, tried in the sandbox
and committed, or not made at all, while the release that is attached goes on serving. This part owns the difference, the
moves, whether an attachment follows new releases or is pinned, and what becomes of a definition that is held.
"""
