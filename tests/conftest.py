"""Every test run: capability tags with their results, and the places of what is under test."""

from __future__ import annotations

from collections.abc import Generator

import pytest
from hypothesis import settings

from worka.kernel.loading import loading

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


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """The tests stay for the whole run: looking them through for garbage took a third of the time to collect them."""
    with loading():
        return (yield)
