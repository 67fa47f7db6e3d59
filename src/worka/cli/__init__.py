"""The operator's door from a terminal: a client of the API that owns no logic. Data on stdout, talk on stderr.

Exit codes: 0 ok, 1 failed, 2 usage, 3 not found, 4 needs login, 5 denied by policy, 6 waiting for approval, 7 conflict.
"""

from __future__ import annotations


def main() -> None:
    """Entry point of `worka`."""
    from worka.kernel.loading import loading

    with loading():
        from worka.cli.commands import run
    run()


__all__ = ["main"]
