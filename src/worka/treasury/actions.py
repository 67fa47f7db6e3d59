"""What can be asked for in the treasury."""

from __future__ import annotations

from worka.kernel.actions import Action, register

KEY_DESTROY = "key.destroy"
KEY_ROTATE = "key.rotate"
KEY_VIEW = "key.view"
TREASURY_OPERATE = "treasury.operate"
SECRET_READ = "secret.read"  # noqa: S105 - the name of an action
SECRET_DATE = "secret.date"  # noqa: S105 - the name of an action
SECRET_DESTROY = "secret.destroy"  # noqa: S105 - the name of an action
SECRET_CREATE = "secret.create"  # noqa: S105 - the name of an action
SECRET_GRANT = "secret.grant"  # noqa: S105 - the name of an action
SECRET_REVOKE = "secret.revoke"  # noqa: S105 - the name of an action
SECRET_ROTATE = "secret.rotate"  # noqa: S105 - the name of an action
SECRET_UNGRANT = "secret.ungrant"  # noqa: S105 - the name of an action
SECRET_USE = "secret.use"  # noqa: S105 - the name of an action
SECRET_VIEW = "secret.view"  # noqa: S105 - the name of an action

register(
    Action(
        KEY_DESTROY,
        "own",
        "tenant",
        "Destroy the tenant's data keys, and so all that is sealed under them.",
        waits=True,
    ),
    Action(KEY_ROTATE, "own", "tenant", "Give the tenant a new data key, and seal its secrets anew."),
    Action(KEY_VIEW, "view", "workspace", "See which data key is in force and how far a rotation is.", records=False),
    Action(TREASURY_OPERATE, "operate", "tenant", "Seal or unseal the treasury; rotate the master key."),
    Action(SECRET_READ, "own", "secret", "Read one value, once, with the consent of another owner.", waits=True),
    Action(SECRET_CREATE, "manage_connections", "secret", "Put a secret into the treasury; this grants nothing."),
    Action(SECRET_DATE, "manage_connections", "secret", "Say when a secret ends, or how often it is to be rotated."),
    Action(SECRET_DESTROY, "manage_connections", "secret", "Destroy the values of a revoked secret, for good."),
    Action(SECRET_GRANT, "manage_connections", "secret", "Let one attachment use one secret on one endpoint."),
    Action(SECRET_REVOKE, "manage_connections", "secret", "End a secret, and every grant of it."),
    Action(SECRET_ROTATE, "manage_connections", "secret", "Give a secret a new value; its grants stay."),
    Action(SECRET_UNGRANT, "manage_connections", "secret", "Take a grant back."),
    Action(
        SECRET_USE, "invoke", "secret", "Place a secret on the wire for a call that runs: asked of policy for packs."
    ),
    Action(SECRET_VIEW, "view", "secret", "See names, purposes and grants; a value is never shown.", records=False),
)
