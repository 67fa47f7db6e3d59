"""Builds take turns between tenants, and one that nobody waits for any more takes nobody's turn."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.packs.running import Instance, instance
from worka.kernel.errors import Unavailable


class Index:
    """A package index that answers when it is told to, with nothing; in the order in which it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.gone: list[str] = []
        self.answered: set[str] = set()
        self.changed = asyncio.Condition()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            name = head.split()[1].strip("/").rpartition("/")[2]
            async with self.changed:
                self.asked.append(name)
                self.changed.notify_all()
            ends = asyncio.create_task(reader.read())
            waits = asyncio.create_task(self.until(lambda: name in self.answered, 60))
            await asyncio.wait({ends, waits}, return_when=asyncio.FIRST_COMPLETED)
            if ends.done():
                async with self.changed:
                    self.gone.append(name)
                    self.changed.notify_all()
            for task in (ends, waits):
                task.cancel()
            await asyncio.gather(ends, waits, return_exceptions=True)
            writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()

    async def until(self, holds: Any, seconds: float = 10) -> None:
        try:
            async with asyncio.timeout(seconds), self.changed:
                await self.changed.wait_for(holds)
        except TimeoutError:
            raise AssertionError(f"nothing came of it: asked for {self.asked}, gone {self.gone}") from None

    async def answer(self, name: str) -> None:
        async with self.changed:
            self.answered.add(name)
            self.changed.notify_all()


@pytest.fixture
async def index() -> AsyncIterator[tuple[Index, str]]:
    found = Index()
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0)
    yield found, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/simple"
    server.close()


def build(packs: Instance, tenant_id: str, name: str) -> asyncio.Task[Any]:
    lock = f"{name}==1.0 \\\n    --hash=sha256:{hashlib.sha256(name.encode()).hexdigest()}\n"
    package = {"ecosystem": "pypi", "name": name, "version": "1.0"}
    return asyncio.create_task(
        packs.client.build(release_id=name, package=package, lock_text=lock, tenant_id=tenant_id)
    )


@pytest.mark.capability("RUN-7", "DEP-11")
async def test_another_tenants_build_is_the_second_however_many_were_asked_for_before(index: tuple[Index, str]) -> None:
    shelf, url = index
    with instance(environment={"UV_DEFAULT_INDEX": url, "UV_HTTP_RETRIES": "0"}) as packs:
        first = build(packs, "ten_loud", "loud-0")
        await shelf.until(lambda: shelf.asked)
        mine = [first, *(build(packs, "ten_loud", f"loud-{number}") for number in range(1, 5))]
        theirs = build(packs, "ten_quiet", "quiet")
        while not theirs.done():
            await shelf.until(lambda: set(shelf.asked) - shelf.answered)
            for name in set(shelf.asked) - shelf.answered:
                await shelf.answer(name)
            await asyncio.wait(
                {theirs, *(task for task in mine if not task.done())}, return_when=asyncio.FIRST_COMPLETED
            )
        with pytest.raises(Unavailable):
            await theirs
        assert list(dict.fromkeys(shelf.asked))[:2] == ["loud-0", "quiet"], "it stood behind the other tenant's"
        for number in range(5):
            await shelf.answer(f"loud-{number}")
        failed = await asyncio.gather(*mine, return_exceptions=True)
        assert all(isinstance(one, Unavailable) for one in failed), "the control: each had its turn"
        assert len(set(shelf.asked)) == 6


@pytest.mark.capability("RUN-7")
async def test_a_build_that_nobody_waits_for_any_more_ends_and_the_next_one_begins(index: tuple[Index, str]) -> None:
    shelf, url = index
    with instance(environment={"UV_DEFAULT_INDEX": url, "UV_HTTP_RETRIES": "0"}) as packs:
        first = build(packs, "ten_loud", "loud-0")
        await shelf.until(lambda: shelf.asked)
        second = build(packs, "ten_quiet", "quiet")
        await packs.client.status()
        assert shelf.asked == ["loud-0"], "the control: while its caller waits, so do the others"
        assert not shelf.gone
        first.cancel()
        await shelf.until(lambda: "quiet" in shelf.asked)
        assert shelf.gone == ["loud-0"], "the installer was still at it"
        await shelf.answer("quiet")
        with pytest.raises(Unavailable):
            await second
        assert not list((packs.home / "envs").glob("*/")), "nothing of it is left"
