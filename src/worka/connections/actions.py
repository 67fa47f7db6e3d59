"""What can be asked for in connections."""

from __future__ import annotations

from worka.kernel.actions import Action, register

CONNECTION_CREATE = "connection.create"
CONNECTION_REMOVE = "connection.remove"
CONNECTION_VIEW = "connection.view"

register(
    Action(
        CONNECTION_CREATE, "manage_connections", "connection", "Connect an outside system to the workspace.", waits=True
    ),
    Action(CONNECTION_REMOVE, "manage_connections", "connection", "End a connection and the grants behind it."),
    Action(CONNECTION_VIEW, "view", "connection", "See the workspace's connections.", records=False),
)
