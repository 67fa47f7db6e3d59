"""The hostile egress suite: every known way around "only declared places, only through the broker", tried for real.

`vectors.py` is the suite as data; `docs/reference/egress-suite.md` is made from it. `attacker.py` is the pack that tries
each vector in a real sandbox, through a proxy and around it. `internet.py` is an Internet in a network namespace in which every
address is a canary that counts; a whole Worka of this build, with its own database, stands in it (`range.py`). `suite.py` runs the
vectors there and judges by the canaries, never by our own rows. `worka doctor --egress` and tests/hostile run the same suite.
Nothing of a running instance is touched, and no packet leaves the machine.
"""

from worka.cli.egress_suite.suite import Found, RangeFailed, run
from worka.cli.egress_suite.vectors import VECTORS, Vector

__all__ = ["VECTORS", "Found", "RangeFailed", "Vector", "run"]
