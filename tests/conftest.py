"""Every test run: capability tags with their results, and the places of what is under test."""

from __future__ import annotations

import gc

from hypothesis import settings

# No test is timed: on a busy machine one example takes longer than hypothesis allows by itself (200 ms).
settings.register_profile("worka", deadline=None)
settings.load_profile("worka")
# What is collected here stays for the whole run: looking it through for garbage takes a third of the time to collect it.
gc.disable()

pytest_plugins = [
    "tests.plugins.capabilities",
    "tests.plugins.places",
    "tests.plugins.streams",
    "tests.support.database",
    "tests.support.instance",
]


def pytest_collection_finish() -> None:
    """From here on what the tests make is collected, and nothing of what was there."""
    gc.freeze()
    gc.enable()
