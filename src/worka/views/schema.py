"""API shapes of views."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from worka.kernel.http import Answer


class View(Answer):
    """A view of the workspace."""

    id: str
    workspace_id: str
    name: str
    title: str
    kind: str
    revision: int
    created_by: str
    created_at: datetime
    updated_at: datetime


class RevisionEntry(Answer):
    """A revision, without its document."""

    revision: int
    task_id: str | None
    invocation_id: str | None
    created_by: str
    created_at: datetime


class ShownRevision(RevisionEntry):
    """A revision with its document; the text in it is untrusted data."""

    document: dict[str, Any]


class ViewWithDocument(View):
    """A view with the document of one revision and the history."""

    shown: ShownRevision | None
    history: list[RevisionEntry]
