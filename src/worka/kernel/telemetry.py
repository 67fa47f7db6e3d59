"""One trace across all processes and packs: W3C trace context, spans as JSON lines, structured logs. No arguments, no results."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from worka.kernel.redact import redact, text

_TRACEPARENT = re.compile(r"^00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}$")
_file: Path | None = None
_role = "worka"


def configure(role: str, log_dir: Path | None) -> None:
    """Names this process and where its spans go; sets JSON logs on stderr."""
    global _file, _role
    _role = role
    _file = log_dir / "traces.jsonl" if log_dir is not None else None
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("httpx").setLevel(logging.WARNING)


class JsonFormatter(logging.Formatter):
    """One JSON object a line, redacted."""

    def format(self, record: logging.LogRecord) -> str:
        body: dict[str, Any] = {
            "at": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "role": _role,
            "logger": record.name,
            "message": text(record.getMessage()),
        }
        for key in ("trace_id", "tenant_id", "task_id", "invocation_id"):
            if hasattr(record, key):
                body[key] = getattr(record, key)
        if record.exc_info:
            body["error"] = text(self.formatException(record.exc_info))[-4000:]
        return json.dumps(body, ensure_ascii=False)


def parse(traceparent: str | None) -> tuple[str, str] | None:
    """(trace id, span id) of a W3C traceparent, or None when it is not one."""
    match = _TRACEPARENT.match(traceparent or "")
    return (match.group(1), match.group(2)) if match and set(match.group(1)) != {"0"} else None


@contextlib.contextmanager
def span(trace_id: str, name: str, parent: str | None = None, **attributes: Any) -> Iterator[str]:
    """Times a block as a span of a trace; yields the span id. An exception marks it as an error and goes on."""
    span_id = os.urandom(8).hex()
    started, clock = time.time(), time.perf_counter()
    error: str | None = None
    try:
        yield span_id
    except BaseException as problem:
        error = type(problem).__name__
        raise
    finally:
        if _file is not None:
            line = {
                "trace_id": trace_id,
                "span_id": span_id,
                "parent_id": parent,
                "role": _role,
                "name": name,
                "start": round(started, 6),
                "ms": round((time.perf_counter() - clock) * 1000, 3),
                "error": error,
                "attributes": redact(attributes),
            }
            # A span that cannot be written never stops the work it describes.
            with contextlib.suppress(OSError):
                fd = os.open(_file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
                try:
                    os.write(fd, (json.dumps(line) + "\n").encode())
                finally:
                    os.close(fd)
