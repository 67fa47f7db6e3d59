"""A hostile pack looks for secrets in every place it can think of and reports what it found: nothing.

Two controls in the same tests: the same search outside finds each planted secret, and inside it finds what the pack
itself planted in its own world, so that "nothing" means that nothing is there.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.hostile.conftest import HERE, HOST_CANARY, TOKEN, TRACKER, Site, Tenant, settle
from tests.support.database import reachable_directory
from worka.kernel.db import Database

pytestmark = [pytest.mark.timeout(300), pytest.mark.capability("RUN-1")]
VICTIM = "canary-victim-40c1d7"  # held by a process of the host that has the pack's own uid
SIBLING = "canary-sibling-b82e63"  # held by another tenant's pack
FILE = "canary-file-91ad5e"  # in files of the instance and of the machine
PLACES = {"environment", "arguments", "memory", "files", "descriptors", "roots", "sockets", "abstract", "ports", "shared",
          "cores"}  # fmt: skip

# Holds a secret in every way at once. SECRET and FOLDER are put in front of it.
HOLD = """
import ctypes, os, socket, sys, threading, time
open(FOLDER + '/notes.txt', 'w').write(SECRET)
open(FOLDER + '/core.77', 'w').write('ELF' + SECRET)
opened = open(FOLDER + '/gone', 'w+'); opened.write(SECRET); opened.flush(); os.unlink(FOLDER + '/gone')
os.makedirs(FOLDER + '/there', exist_ok=True); open(FOLDER + '/there/rooted', 'w').write(SECRET)
libc = ctypes.CDLL(None, use_errno=True); libc.shmat.restype = ctypes.c_void_p
shm = libc.shmget(0, 4096, 0o1666)
ctypes.memmove(libc.shmat(shm, None, 0), SECRET.encode(), len(SECRET))
def serve(family, address):
    server = socket.socket(family); server.bind(address); server.listen()
    def answer():
        while True:
            conn, _ = server.accept(); conn.sendall(SECRET.encode()); conn.close()
    threading.Thread(target=answer, daemon=True).start()
    return server
named = serve(socket.AF_UNIX, FOLDER + '/door.sock')
hidden = serve(socket.AF_UNIX, '\\0' + 'worka-hostile-' + str(os.getpid()))
port = serve(socket.AF_INET, ('127.0.0.1', PORT))
"""
OWN = """
import os, subprocess, sys, time, json
FOLDER = '/tmp/planted'; os.makedirs(FOLDER, exist_ok=True)
secret = '-'.join(['planted', 'inside', '5d7f'])
hold = 'SECRET = %r; FOLDER = %r; PORT = 8080\\n' % (secret, FOLDER) + arguments['hold']
hold += "\\nos.chdir(FOLDER + '/there'); print('ready', flush=True); time.sleep(60)"
process = subprocess.Popen([sys.executable, '-c', hold, secret], env={'PLANTED': secret}, stdout=subprocess.PIPE)
process.stdout.readline()
import search
value = search.run(['[p]lanted-inside-5d7f'])
process.kill(); process.wait()
value = sorted({place for place, where in value['found']})
"""


def masked(*secrets: str) -> list[str]:
    """Patterns that do not match themselves, in plain, hex and base64."""
    found = []
    for text in secrets:
        for form in (text, text.encode().hex(), base64.b64encode(text.encode()).decode()[:-4]):
            found.append(f"[{form[0]}]" + "".join(f"\\{c}" if c in "+/.=" else c for c in form[1:]))
    return found


@pytest.fixture
def victim(settled: Tenant) -> Iterator[tuple[int, int, Path]]:
    """A process of the machine under the hostile pack's own uid, holding a secret in every way: (pid, port, folder)."""
    folder = reachable_directory("test-victim-")
    folder.chmod(0o777)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    code = (
        f"SECRET = {VICTIM!r}; FOLDER = {str(folder)!r}; PORT = {port}\n{HOLD}"
        "os.chdir(FOLDER + '/there'); print(shm, flush=True); sys.stdin.read(); libc.shmctl(shm, 0, None)\n"
    )
    uid = {"user": settled.attachment["uid"], "group": settled.attachment["uid"]} if os.geteuid() == 0 else {}
    process = subprocess.Popen(
        ["/usr/bin/python3", "-c", code, VICTIM], env={"VICTIM": VICTIM}, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        cwd=folder, **uid,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdin is not None
    assert process.stdout.readline()
    yield process.pid, port, folder
    process.stdin.close()
    process.wait(10)
    process.stdout.close()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
async def sibling(site: Site, db: Database, repository: Path) -> AsyncIterator[Tenant]:
    """Another tenant, whose pack holds a secret in every way while its call runs."""
    other = await settle(db, site.home, repository, token=SIBLING)
    held = (
        f"import time\nSECRET = {SIBLING!r}; FOLDER = '/tmp/mine'; PORT = 8080\nimport os; os.makedirs(FOLDER)\n"
        f"os.environ['HELD'] = SECRET\n{HOLD}\nopen('/tmp/ready', 'w').close(); time.sleep(25); value = 1\n"
    )
    running = asyncio.create_task(other.answer("run", {"code": held}))
    await asyncio.sleep(1.5)
    assert not running.done()
    yield other
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_pack_that_searches_everywhere_finds_no_secret_and_tells_nobody(
    tenant: Tenant, site: Site, victim: tuple[int, int, Path], sibling: Tenant
) -> None:
    pid, port, _folder = victim
    for path in (site.home / "secret.txt", Path("/var/tmp/worka-hostile-secret.txt")):
        path.write_text(FILE)
        path.chmod(0o644)
    # The tracker's token is on the wire of this very session.
    assert (await tenant.wire({"do": "fetch", "url": f"https://{TRACKER}/issues"}))[0]["status"] == 200
    site.internet.hits()
    site.internet.do("asked")
    try:
        secrets = masked(TOKEN, HOST_CANARY, VICTIM, SIBLING, FILE)
        report = await tenant.call(
            "search", patterns=secrets, ports=[port, 22, 80, 443, 5432, 8080], zone="exfil.worka.test"
        )
        outside = subprocess.run(
            [
                sys.executable, str(HERE / "pack" / "search.py"),
                json.dumps({
                    "patterns": secrets, "ports": [port], "roots": [str(victim[2]), str(site.home), "/var/tmp"],
                    "pids": [pid, site.processes["host"].pid, *packs_of(sibling.attachment["uid"])],
                }),
            ],
            capture_output=True, text=True, check=True, timeout=120,
        )  # fmt: skip
    finally:
        for path in (site.home / "secret.txt", Path("/var/tmp/worka-hostile-secret.txt")):
            path.unlink()
    assert report["found"] == [], "it found something"
    assert set(report["looked"]) >= (PLACES | {"kernel", "names"}) - {"roots", "sockets", "shared"}, report["looked"]
    assert site.internet.hits() == []
    assert site.internet.do("asked") == [], "and what it says by name lookups, nobody hears"
    found = json.loads(outside.stdout)["found"]
    assert {place for place, _ in found} >= PLACES, "the control: outside the same search finds all of them"
    where = " ".join(where for _, where in found)
    assert f"{site.home}/secret.txt" in where
    assert f"{site.processes['host'].pid}/environ" in where


def packs_of(uid: int) -> list[int]:
    """The live processes of an attachment, as the machine sees them."""
    found = []
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if folder.name.isdigit() and folder.stat().st_uid == uid:
                found.append(int(folder.name))
    return found


async def test_the_same_search_inside_finds_what_the_pack_itself_has_hidden(tenant: Tenant) -> None:
    found = await tenant.call("run", code=OWN, hold=HOLD)
    assert set(found) >= PLACES - {"roots"}, "inside as well it can look in every place"


@pytest.mark.capability("TRE-3")
async def test_the_token_is_not_in_the_sandbox_while_the_broker_sends_it(tenant: Tenant, site: Site) -> None:
    """Searched again and again by a thread, during the requests that carry it."""
    code = (
        "import threading, search, box, os\nfound = []\ndone = []\n"
        "def look():\n    while not done: found.extend(search.run(arguments['patterns'], roots=['/tmp'], ports=[])['found'])\n"
        "thread = threading.Thread(target=look); thread.start()\n"
        "ask = {'do': 'fetch', 'url': 'https://tracker.worka.test/issues'}\n"
        "told = [box.run(ask, os.environ['SSL_CERT_FILE']).get('status') for _ in range(20)]\n"
        "done.append(1); thread.join(); value = [told, found]\n"
    )
    told, found = await tenant.call("run", code=code, patterns=masked(TOKEN))
    assert told == [200] * 20
    assert found == []
    heads = [head for hit in site.internet.hits() for head in hit["requests"]]
    assert len([head for head in heads if f"authorization: Bearer {TOKEN}" in head]) == 20, "the control: it was sent"
