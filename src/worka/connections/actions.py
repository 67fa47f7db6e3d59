"""What can be asked for in connections."""

from __future__ import annotations

from worka.kernel.actions import Action, register

CLIENT_REGISTER = "provider_client.register"
CLIENT_REMOVE = "provider_client.remove"
CONNECTION_AUTHORIZE = "connection.authorize"
CONNECTION_CREATE = "connection.create"
CONNECTION_OWN = "connection.own"
CONNECTION_REMOVE = "connection.remove"
CONNECTION_VIEW = "connection.view"
PROVIDER_RESTRICT = "provider.restrict"

register(
    Action(
        CLIENT_REGISTER, "manage_connections", "connection", "Register the workspace's client at an outside system."
    ),
    Action(CLIENT_REMOVE, "manage_connections", "connection", "Take back the workspace's client at an outside system."),
    Action(
        CONNECTION_AUTHORIZE, "manage_connections", "connection", "Consent at an outside system for a connection, or anew."
    ),
    Action(
        CONNECTION_CREATE, "manage_connections", "connection", "Connect an outside system to the workspace.", waits=True
    ),
    Action(
        CONNECTION_OWN, "change", "connection",
        "Connect an account of one's own: only calls that are made for its person use it.", waits=True,
    ),
    Action(CONNECTION_REMOVE, "manage_connections", "connection", "End a connection and the grants behind it."),
    Action(CONNECTION_VIEW, "view", "connection", "See the workspace's connections.", records=False),
    Action(PROVIDER_RESTRICT, "operate", "tenant", "Restrict which outside systems a tenant may connect."),
)  # fmt: skip
