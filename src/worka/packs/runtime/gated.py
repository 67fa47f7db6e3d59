"""Starts a command in a network of its own with one door: `python -m worka.packs.runtime.gated DESCRIPTOR COMMAND…`.

The door is a listener on the loopback there; its socket goes out over the descriptor, to whoever serves it. There is no other interface and
no route, so what the command does not get through the door it does not get.
"""

from __future__ import annotations

import os
import socket
import sys

from worka.packs.sandbox import netlink
from worka.packs.sandbox.namespaces import StepFailed, new_user_and_network

ADDRESS, PORT = "127.0.0.1", 3128
PATH = "PYTHONPATH"


def main() -> None:
    """Never returns."""
    control, command = socket.socket(fileno=int(sys.argv[1])), sys.argv[2:]
    try:
        new_user_and_network()
        netlink.loopback_up()
        with socket.create_server((ADDRESS, PORT), backlog=64) as door:
            socket.send_fds(control, [b"d"], [door.fileno()])
            if control.recv(1) != b"k":
                raise OSError("nobody serves the door")
    except (OSError, StepFailed) as error:
        sys.exit(f"an air-gapped build needs a network namespace: {error}")
    control.close()
    os.environ.pop(PATH, None)
    os.execvp(command[0], command)  # noqa: S606


if __name__ == "__main__":
    main()
