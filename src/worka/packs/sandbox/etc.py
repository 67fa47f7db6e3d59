"""The sandbox's /etc: a small folder of our own, made at the launcher's start, so that nothing of the host's shows."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from worka.packs.sandbox.spec import INSIDE_UID

_FILES = {
    "resolv.conf": "nameserver 127.0.0.1\noptions attempts:1 timeout:3\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n",
    "passwd": f"root:x:0:0:root:/:/bin/false\npack:x:{INSIDE_UID}:{INSIDE_UID}:pack:/tmp:/bin/sh\n",
    "group": f"root:x:0:\npack:x:{INSIDE_UID}:\n",
    "hosts": "127.0.0.1 localhost pack\n",
    "hostname": "pack\n",
    "gai.conf": "precedence ::ffff:0:0/96 100\n",
}
# Public and the same on every machine of this distribution: what dynamic linking, TLS and alternatives need.
_COPIES = ("ld.so.cache", "localtime", "services", "protocols", "mime.types", "ssl/openssl.cnf")
_ROOTS = "ssl/certs/ca-certificates.crt"


def make(home: Path) -> Path:
    """Writes `home/sandbox/etc` anew beside the old one and puts it in place. Returns its path."""
    folder = home / "sandbox" / "etc"
    fresh = folder.with_name(f"etc.{os.getpid()}")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    for name, content in _FILES.items():
        (fresh / name).write_text(content)
    for name in (*_COPIES, _ROOTS):
        with contextlib.suppress(OSError):
            (fresh / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(Path("/etc") / name, fresh / name)
    with contextlib.suppress(OSError):
        shutil.copytree("/etc/alternatives", fresh / "alternatives", symlinks=True)
    for parent, _folders, files in os.walk(fresh):
        os.chmod(parent, 0o755)
        for name in files:
            path = os.path.join(parent, name)
            if not os.path.islink(path):
                os.chmod(path, 0o444)
    os.chmod(folder.parent, 0o755)
    # Running sandboxes keep the old folder through their own mount.
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)
    return folder
