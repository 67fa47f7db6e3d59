"""What can be asked for in the treasury."""

from __future__ import annotations

from worka.kernel.actions import Action, register

SECRET_CREATE = "secret.create"  # noqa: S105 - the name of an action
SECRET_GRANT = "secret.grant"  # noqa: S105 - the name of an action
SECRET_REVOKE = "secret.revoke"  # noqa: S105 - the name of an action
SECRET_ROTATE = "secret.rotate"  # noqa: S105 - the name of an action
SECRET_UNGRANT = "secret.ungrant"  # noqa: S105 - the name of an action
SECRET_USE = "secret.use"  # noqa: S105 - the name of an action
SECRET_VIEW = "secret.view"  # noqa: S105 - the name of an action

register(
    Action(SECRET_CREATE, "manage_connections", "secret", "Put a secret into the treasury; this grants nothing."),
    Action(SECRET_GRANT, "manage_connections", "secret", "Let one attachment use one secret on one endpoint."),
    Action(SECRET_REVOKE, "manage_connections", "secret", "End a secret, and every grant of it."),
    Action(SECRET_ROTATE, "manage_connections", "secret", "Give a secret a new value; its grants stay."),
    Action(SECRET_UNGRANT, "manage_connections", "secret", "Take a grant back."),
    Action(
        SECRET_USE, "invoke", "secret", "Place a secret on the wire for a call that runs: asked of policy for packs."
    ),
    Action(SECRET_VIEW, "view", "secret", "See names, purposes and grants; a value is never shown.", records=False),
)
