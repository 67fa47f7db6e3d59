"""What can be asked for in views."""

from __future__ import annotations

from worka.kernel.actions import Action, register

PUBLISH = Action("view.publish", "change", "view", "Write the next revision of a view.")
READ = Action("view.read", "view", "view", "Read a view and its revisions.", records=False)

register(PUBLISH, READ)
