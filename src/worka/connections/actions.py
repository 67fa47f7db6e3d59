"""What can be asked for in connections."""

from __future__ import annotations

from worka.kernel.actions import Action, register

CREATE = Action("connection.create", "manage_connections", "connection", "Connect an outside system to a workspace.")
REMOVE = Action("connection.remove", "manage_connections", "connection", "Remove a connection and the grants that came with it.")
VIEW = Action("connection.view", "view", "connection", "Read the connections of a workspace.", records=False)

register(CREATE, REMOVE, VIEW)
