"""Somebody who is signed in, by environment."""

from __future__ import annotations

import pytest

from worka.cli.demo import Demo


@pytest.fixture
def cli_owner(stage: Demo) -> dict[str, str]:
    """The owner's credential and workspace."""
    return {"WORKA_TOKEN": str(stage.owner.token), "WORKA_WORKSPACE": stage.ids["workspace"]}
