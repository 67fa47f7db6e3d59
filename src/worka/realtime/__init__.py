"""Realtime: pushes committed events to readers of a workspace, as server-sent events with replay.

Owns nothing: it reads the event table, in the order of commits and only below the oldest transaction that still runs,
so a reader that comes back with its last id misses nothing and repeats nothing. One listening connection serves all
readers of a process. A reader whose right or token is gone is cut off within a second.
"""

from worka.realtime.stream import stream

__all__ = ["stream"]
