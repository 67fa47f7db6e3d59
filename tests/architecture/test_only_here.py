"""Only here: the few places that may dial, spawn, encrypt or hold SQL. Everywhere else has to ask them.

The places are patterns of paths below src/worka. To add one is a decision: write why beside it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch

import pytest

from tests.architecture.reading import Finding, methods_called, modules, names_used, strings

Finder = Callable[[ast.Module], Iterator[tuple[int, str]]]


@dataclass(frozen=True)
class Rule:
    """What is looked for, where it is at home, and code that must be found (or else the rule sees nothing)."""

    finder: Finder
    homes: tuple[str, ...]
    guilty: tuple[str, ...]
    innocent: tuple[str, ...]

    def findings(self, trees: Iterable[tuple[str, ast.Module]]) -> list[Finding]:
        return sorted(
            {
                Finding(path, line, what)
                for path, tree in trees
                if not any(fnmatch(path, home) for home in self.homes)
                for line, what in self.finder(tree)
            },
            key=str,
        )


def _names(*patterns: str, methods: tuple[str, ...] = ()) -> Finder:
    wanted = re.compile("|".join(f"(?:{pattern})" for pattern in patterns))

    def find(tree: ast.Module) -> Iterator[tuple[int, str]]:
        yield from ((line, name) for line, name in names_used(tree) if wanted.fullmatch(name))
        yield from ((line, f".{name}()") for line, name in methods_called(tree) if name in methods)

    return find


def _operators(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            for given in node.keywords:
                if given.arg == "operator" and isinstance(given.value, ast.Constant) and given.value.value is True:
                    yield node.lineno, "operator=True"


SQL = re.compile(
    r"\bSELECT\s.+\sFROM\s|^\s*SELECT\s|\bINSERT\s+INTO\s|\bUPDATE\s+[\w.{}\"]+\s+SET\s|\bDELETE\s+FROM\s"
    r"|^\s*(?:CREATE|ALTER|DROP|GRANT|REVOKE|TRUNCATE)\s+(?:TABLE|ROLE|SCHEMA|INDEX|POLICY|FUNCTION|ALL|DATABASE)\b"
    r"|^\s*(?:LISTEN|NOTIFY|LOCK TABLE|SET LOCAL)\s",
    re.DOTALL,
)


def _sql(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for line, text in strings(tree):
        if SQL.search(text):
            yield line, f"SQL: {' '.join(text.split())[:60]}"


RULES = {
    "network clients": Rule(
        _names(
            r"(httpx|requests|aiohttp|urllib3|websockets|httpcore|niquests)(\..+)?",
            r"urllib\.request(\..+)?",
            r"(http\.client|smtplib|ftplib|imaplib|telnetlib|xmlrpc\.client)(\..+)?",
            r"socket\.create_connection",
            r"asyncio\.(open_connection|streams\.open_connection)",
            methods=("create_connection", "sock_connect", "create_datagram_endpoint"),
        ),
        homes=(
            "broker/*",
            "*/adapters/*",
            "cli/*",  # a client of the API; the demo's canary and tracker live beside it
            "workers/supervisor*",  # asks its own door, on this machine, whether it is ready
        ),
        guilty=(
            "import httpx",
            "from urllib.request import urlopen",
            "import urllib.request",
            "import socket as s\ns.create_connection(('a', 1))",
            "from asyncio import open_connection as dial\ndial('a', 1)",
            "async def f(loop): await loop.create_connection(None, 'a', 1)",
        ),
        innocent=(
            "import urllib.parse",
            "import socket\nsocket.socket(socket.AF_UNIX)",
            "import asyncio\nasyncio.sleep(1)",
        ),
    ),
    "processes": Rule(
        _names(
            r"(subprocess|multiprocessing|pty)(\..+)?",
            r"os\.(exec\w*|fork\w*|posix_spawn\w*|spawn\w*|system|popen)",
            r"asyncio\.create_subprocess_\w+",
            r"concurrent\.futures\.ProcessPoolExecutor",
        ),
        homes=(
            "packs/runtime/*",  # environments are built, clones made, servers started
            "packs/runtime.py",
            "packs/sandbox/*",  # the launcher
            "packs/sandbox.py",
            "kernel/postgres*",  # the embedded PostgreSQL
            "kernel/db/*",
            "workers/supervisor*",  # our own roles
            "cli/demo*",  # its tracker and canary are somebody else's systems, so processes of their own
            "cli/egress_suite/*",  # its Internet and the Worka in it are apart from the one that is examined
        ),
        guilty=(
            "import subprocess",
            "from os import execv",
            "import os\nos.fork()",
            "import asyncio\nasyncio.create_subprocess_exec('ls')",
        ),
        innocent=("import os\nos.kill(1, 9)", "import asyncio\nasyncio.to_thread(print)"),
    ),
    "ciphers": Rule(
        _names(r"(cryptography|nacl|Crypto|Cryptodome)(\..+)?"),
        homes=(
            "treasury/*",
            "broker/ca.py",  # signs the attachments' certificates
            "audit/sign.py",  # signs checkpoints; also in the offline verifier
            "kernel/*",
            "cli/demo*",  # the tracker's own certificate, which is not ours
        ),
        guilty=("from cryptography.fernet import Fernet", "import cryptography.x509 as x509"),
        innocent=("import hashlib", "import hmac", "import ssl"),
    ),
    "operators": Rule(
        _operators,
        homes=("identity/service.py",),  # the first set-up: a second operator would have to be asked too (0030)
        guilty=("create_person(c, 'a', 'b', 'c', operator=True)", "s.create_person(operator=True)"),
        innocent=("create_person(c, operator=False)", "Principal(operator=row['operator'])"),
    ),
    "changes of views": Rule(
        _names(r"worka\.views\.store\.(insert|revise)"),
        homes=("views/service.py",),  # publish, which asks and records
        guilty=("from worka.views import store\nstore.insert(c, {})", "from worka.views.store import revise"),
        innocent=("from worka.views import store\nstore.view(c, 'v')",),
    ),
    "SQL": Rule(
        _sql,
        homes=("store.py", "*/store.py", "*/store/*", "kernel/*", "*/migrations/*"),
        guilty=(
            "c.execute('SELECT 1')",
            'Q = """\n  SELECT a\n  FROM b\n"""',
            "c.execute(f'UPDATE {t} SET a = 1')",
            "x = 'DELETE FROM task WHERE id = %s'",
            "c.execute('SET LOCAL worka.tenant = 1')",
        ),
        innocent=(
            "'''SELECT a FROM b'''",
            "title = 'Select one from the list'",
            "x = 'Update the policy, then SET it'",
        ),
    ),
}


@pytest.mark.parametrize("name", RULES)
def test_this_is_done_only_where_it_is_at_home(name: str) -> None:
    found = RULES[name].findings(modules().items())
    assert not found, f"{name} outside {', '.join(RULES[name].homes)}:\n" + "\n".join(map(str, found))


@pytest.mark.parametrize(("name", "code"), [(name, code) for name, rule in RULES.items() for code in rule.guilty])
def test_the_rule_sees_a_guilty_module(name: str, code: str) -> None:
    assert RULES[name].findings([("workspaces/service.py", ast.parse(code))])


@pytest.mark.parametrize(("name", "code"), [(name, code) for name, rule in RULES.items() for code in rule.innocent])
def test_the_rule_leaves_an_innocent_module_alone(name: str, code: str) -> None:
    assert RULES[name].findings([("workspaces/service.py", ast.parse(code))]) == []
