"""`python -m worka.workers.role MODULE`: loads the code of a role and becomes it."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

from worka.kernel import memory
from worka.kernel.loading import loading


def load(name: str) -> ModuleType:
    """The module of a role; its `main` is the role."""
    memory.no_core_dumps()
    with loading():
        return importlib.import_module(name)


def main() -> None:
    """The process."""
    name = sys.argv[1]
    role = load(name)
    sys.argv = [name]
    sys.exit(role.main())


if __name__ == "__main__":
    main()
