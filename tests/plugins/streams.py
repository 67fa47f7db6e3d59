"""Two streams whose files and order are the same in every run, so that what one run shows the next one shows too.

xdist hands a file to whoever is free first: what a file finds on its stream's instance then depends on how fast the
others were. With `--streams` (what `make test` does) the files before CUT are one stream and the rest the other.
"""

from __future__ import annotations

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

CUT = "tests/explanations/"
"""Where both streams took equally long when the whole suite was last timed."""


class Streams(LoadScopeScheduling):
    """Each worker gets one stream, as a whole and in the order of the collection."""

    def _split_scope(self, nodeid: str) -> str:
        return "first" if nodeid < CUT else "second"


class Plugin:
    """Takes the place of xdist's own scheduler."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Producer) -> Streams | None:
        return Streams(config, log) if config.getoption("streams") else None


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("worka").addoption(
        "--streams", action="store_true", help="two workers, each with the same files in the same order in every run"
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.pluginmanager.hasplugin("xdist"):
        config.pluginmanager.register(Plugin(), "worka-streams")
