"""Builds of an air-gapped deployment: the installer has one door, and no other way out of its network."""

from __future__ import annotations

import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.packs.test_build import FILES, NAME, PACKAGE, Shelf
from worka.kernel.airgap import AirGap, parse
from worka.packs.runtime.build import Builder
from worka.packs.runtime.errors import BuildFailed


class Index:
    """A package index over HTTP on this machine, which counts what it is asked for."""

    def __init__(self, folder: Path) -> None:
        self.asked: list[str] = []
        outer = self

        class Handler(http.server.SimpleHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                super().do_GET()

            def log_message(self, format: str, *args: object) -> None:
                pass

        handler = functools.partial(Handler, directory=str(folder))
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def place(self) -> str:
        """host:port"""
        return f"127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def shelf(open_path: Path) -> tuple[str, Path]:
    """(the lock of the one wheel, the folder of an index that has it)"""
    wheels = Shelf(open_path / "wheels")
    lock = wheels.wheel(FILES)
    page = open_path / "index" / "simple" / NAME
    page.mkdir(parents=True)
    (wheel,) = wheels.folder.glob("*.whl")
    (page / wheel.name).write_bytes(wheel.read_bytes())
    (page / "index.html").write_text(f'<a href="{wheel.name}">{wheel.name}</a>')
    return lock, open_path / "index"


@pytest.fixture
def index(shelf: tuple[str, Path]) -> Iterator[Index]:
    found = Index(shelf[1])
    yield found
    found.server.shutdown()
    found.server.server_close()


def builder(home: Path, index: Index, allowed: list[str] | None, **environment: str) -> Builder:
    (home / "envs").mkdir(parents=True, exist_ok=True)
    gap = AirGap() if allowed is None else AirGap(True, parse(allowed))
    told = {"UV_DEFAULT_INDEX": f"http://{index.place}/simple", "UV_HTTP_RETRIES": "0", **environment}
    return Builder(home, told, gap=gap)


@pytest.mark.capability("RUN-5")
async def test_a_package_of_a_listed_index_is_installed_and_of_another_nothing_is_asked(
    open_path: Path, shelf: tuple[str, Path], index: Index
) -> None:
    lock, _ = shelf
    made = await builder(open_path / "listed", index, [index.place]).build(package=PACKAGE, lock_text=lock)
    assert made["installed"] == [{"name": NAME, "version": "1.0"}]
    assert len(index.asked) >= 2, "the page and the wheel"
    index.asked.clear()
    with pytest.raises(BuildFailed) as refused:
        await builder(open_path / "unlisted", index, ["127.0.0.1:1"]).build(package=PACKAGE, lock_text=lock)
    assert refused.value.problem_code == "air_gapped"
    assert index.place in refused.value.detail
    assert "network.allowed" in refused.value.remedy
    assert index.asked == []
    assert list((open_path / "unlisted" / "envs").glob("*")) == [], "nothing half-built is left"


@pytest.mark.capability("RUN-5")
async def test_an_installer_that_ignores_its_door_reaches_nothing(
    open_path: Path, index: Index, tmp_path: Path
) -> None:
    """No proxy variable is needed to keep it in: there is no route."""
    asks = f"import urllib.request as r; print(r.build_opener(r.ProxyHandler({{}})).open('http://{index.place}/simple/', timeout=3).status)"
    command = ["/usr/bin/python3", "-c", asks]
    (open_path / "home" / "cache" / "uv").mkdir(parents=True)
    with pytest.raises(BuildFailed, match="refused"):
        await builder(open_path / "home", index, [index.place])._run(command, watched=tmp_path)
    assert index.asked == []
    assert (await builder(open_path / "home", index, None)._run(command, watched=tmp_path)).strip() == "200", (
        "the control"
    )
    asks = f"import urllib.request as r; print(r.urlopen('http://{index.place}/simple/', timeout=3).status)"
    assert (
        await builder(open_path / "home", index, [index.place])._run([*command[:2], asks], watched=tmp_path)
    ).strip() == "200"
