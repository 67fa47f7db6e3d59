"""`@pytest.mark.capability("BRK-2", part="redirects")`: which test proves what, with the outcome of the run.

A full run writes build/capabilities.json, a partial one build/capabilities.partial.json (so that it never passes for
a full one), or the file of `--capability-results`. `--capability CODE` runs only the tests tagged with that code.

    {"full": true, "exit": 0, "tests": [{"id": "tests/…::test_…", "capabilities": [{"code": "BRK-2", "part": null}],
      "outcome": "passed" | "failed" | "error" | "skipped", "by": "" | "assertion" | "timeout" | "AttributeError", …}]}
"""

from __future__ import annotations

import json
import os
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.plugins import catalogue

TIMEOUT = "Timeout ("  # how pytest-timeout begins its message


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("worka")
    group.addoption(
        "--capability", action="append", default=[], metavar="CODE", help="only tests tagged with this code"
    )
    group.addoption(
        "--capability-results", default=None, metavar="FILE", help="where the results of the tags are written"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Ledger(config), "worka-capabilities")


def tags(item: pytest.Item) -> list[dict[str, str | None]]:
    """[{code, part}] of one test, its class's and module's marks included."""
    found: list[dict[str, str | None]] = []
    for mark in item.iter_markers("capability"):
        extra = set(mark.kwargs) - {"part"}
        if extra or not mark.args:
            raise pytest.UsageError(
                f"{item.nodeid}: capability(CODE, …, part=…) takes no {sorted(extra) or 'empty list'}"
            )
        for code in mark.args:
            found.append({"code": code, "part": mark.kwargs.get("part")})
    return found


def failed_by(error: BaseException) -> str:
    """ "assertion" if the test's own claim broke, "timeout", or the name of what was raised instead."""
    if isinstance(error, BaseExceptionGroup):
        kinds = {failed_by(inner) for inner in error.exceptions}
        return kinds.pop() if len(kinds) == 1 else type(error).__name__
    if isinstance(error, pytest.fail.Exception):
        return "timeout" if str(error.msg).startswith(TIMEOUT) else "assertion"
    return "assertion" if isinstance(error, AssertionError) else type(error).__name__


class Ledger:
    """Collects what each tagged test did."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.known = catalogue.capabilities(Path(config.rootpath))
        self.results: dict[str, dict[str, Any]] = {}
        self.broken = 0  # files that could not be collected

    def full(self) -> bool:
        """Whether nothing was left out: no path, no -k, no -m, no other selection."""
        option = self.config.option
        selected = option.keyword or option.markexpr or option.capability or getattr(option, "lf", False)
        chosen = self.config.args_source is not pytest.Config.ArgsSource.TESTPATHS
        return not (selected or chosen or option.maxfail or option.deselect or self.broken)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self.broken += report.failed

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        wanted = set(config.option.capability)
        if unknown := wanted - set(self.known):
            raise pytest.UsageError(f"unknown capability {sorted(unknown)}; see {catalogue.SOURCE}")
        kept, dropped = [], []
        for item in items:
            tagged = tags(item)
            for tag in tagged:
                if tag["code"] not in self.known:
                    raise pytest.UsageError(
                        f"{item.nodeid}: unknown capability {tag['code']!r}; see {catalogue.SOURCE}"
                    )
            if wanted and wanted.isdisjoint(str(tag["code"]) for tag in tagged):
                dropped.append(item)
                continue
            kept.append(item)
            if tagged or config.option.capability_results:
                self.results[item.nodeid] = {"id": item.nodeid, "capabilities": tagged, "outcome": "not run", "by": ""}
        if dropped:
            config.hook.pytest_deselected(items=dropped)
            items[:] = kept

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        result = self.results.get(item.nodeid)
        if result is None:
            return report
        if result["outcome"] == "failed":
            return report  # what it leaves behind when it fails is no second verdict
        if report.skipped:
            result.update(outcome="skipped")
        elif report.failed:
            error = call.excinfo.value if call.excinfo else None
            result.update(
                outcome="failed" if report.when == "call" else "error",
                by=failed_by(error) if error else "unknown",
                message=str(error).strip().splitlines()[:1],
            )
        elif report.when == "call" and result["outcome"] == "not run":
            result.update(outcome="passed")
        return report

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        """One of several streams ended: what it ran is added to what the others did."""
        told = getattr(node, "workeroutput", {}).get("capabilities")
        if error or told is None:
            self.broken += 1
            return
        self.broken += told["broken"]
        for result in told["results"]:
            known = self.results.setdefault(result["id"], result)
            if known["outcome"] == "not run":
                known.update(result)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        if self.config.option.collectonly:
            return
        stream = getattr(self.config, "workeroutput", None)
        if stream is not None:  # one of several streams: the session that started them writes
            stream["capabilities"] = {"results": list(self.results.values()), "broken": self.broken}
            return
        full = self.full() and not session.shouldstop and exitstatus in (0, 1)
        where = self.config.option.capability_results
        if not where:
            name = "capabilities.json" if full else "capabilities.partial.json"
            where = os.path.join(self.config.rootpath, "build", name)
        write(Path(where), full=full, exitstatus=int(exitstatus), results=self.results.values(), broken=self.broken)


def write(path: Path, *, full: bool, exitstatus: int, results: Iterable[dict[str, Any]], broken: int) -> None:
    """Writes whole or not at all: another process may be reading the last run's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    body = {"full": full, "exit": exitstatus, "uncollected": broken, "tests": list(results)}
    beside = path.with_name(f"{path.name}.{os.getpid()}")
    beside.write_text(json.dumps(body, indent=1) + "\n")
    beside.replace(path)
