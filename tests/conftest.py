"""Every test run: capability tags with their results, and the places of what is under test."""

from __future__ import annotations

from hypothesis import settings

# No test is timed: on a busy machine one example takes longer than hypothesis allows by itself (200 ms).
settings.register_profile("worka", deadline=None)
settings.load_profile("worka")

pytest_plugins = [
    "tests.plugins.capabilities",
    "tests.plugins.places",
    "tests.plugins.streams",
    "tests.support.database",
    "tests.support.instance",
]
