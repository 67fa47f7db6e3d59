"""Code that is loaded is never looked through for garbage, and what is made afterwards is collected as ever."""

from __future__ import annotations

import json
import subprocess
import sys

WATCHED = """
import gc, json
from worka.kernel.loading import loading

class Kept:
    pass

def ring():
    one = Kept()
    one.self = one

def kept():
    return sum(isinstance(found, Kept) for found in gc.get_objects())

told = []
gc.callbacks.append(lambda phase, info: told.append(phase))
try:
    with loading():
        for _ in range(5000):
            ring()
        found = {"meanwhile": len(told)}
        raise ImportError
except ImportError:
    found["frozen"] = gc.get_freeze_count() >= 5000
for _ in range(5000):
    ring()
gc.collect()
print(json.dumps({**found, "afterwards": len(told) > 0, "left": kept()}))
"""


def test_nothing_is_collected_while_code_is_loaded_and_all_that_comes_after_is() -> None:
    done = subprocess.run([sys.executable, "-c", WATCHED], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == {"meanwhile": 0, "frozen": True, "afterwards": True, "left": 0}
