"""The box a pack runs in: the privileged launcher and what it is made of.

It owns user and network namespaces, the bubblewrap command, the system-call filter and the control groups. It has one
verb, believes nothing it is told, and never starts anything bare: where a part is missing it names the remedy.
"""

from __future__ import annotations
