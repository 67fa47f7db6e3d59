"""The whole Internet in a network namespace, with the real broker in it: every address is local, live, and a canary.

    python internet.py '{"home": …, "ca": …, "environment": {…}}'

It is the Internet of the published suite (worka/cli/egress_suite/internet.py). The broker (`worka.workers.broker`) is a child,
so whatever it dials is dialled here. The database is reached through its socket, for which a network namespace is no border.

It says {"ready": true}, then answers a JSON command a line: {"do": "hits" | "dial" | "table" | "asked" | "send", …}.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from worka.cli.egress_suite.internet import EXPECTED, Internet, enter, failure


def main() -> None:
    told = json.loads(sys.argv[1])
    home = Path(told["home"])
    with tempfile.TemporaryDirectory(prefix="worka-net-", dir="/tmp") as scratch:
        enter(Path(scratch) / "resolv.conf")
        internet = Internet(Path(told["ca"]))
        internet.serve()
        with (home / "log" / "broker.log").open("ab") as log:
            broker = subprocess.Popen(
                [sys.executable, "-m", "worka.workers.broker"], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/",
                env={**told["environment"], "SSL_CERT_FILE": told["ca"]},
            )  # fmt: skip
        print(json.dumps({"ready": True, "broker": broker.pid}), flush=True)
        try:
            for line in sys.stdin:
                try:
                    said: dict[str, Any] = {"value": internet.command(json.loads(line))}
                except EXPECTED as error:
                    said = failure(error)
                print(json.dumps(said), flush=True)
        finally:
            broker.terminate()
            try:
                broker.wait(10)
            except subprocess.TimeoutExpired:
                broker.kill()


if __name__ == "__main__":
    main()
