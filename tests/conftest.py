"""Every test run: capability tags with their results, and the places of what is under test."""

from __future__ import annotations

pytest_plugins = [
    "tests.plugins.capabilities",
    "tests.plugins.places",
    "tests.support.database",
    "tests.support.instance",
]
