"""What can be asked for in the treasury."""

from __future__ import annotations

from worka.kernel.actions import Action, register

CREATE = Action("secret.create", "manage_connections", "secret", "Put a secret into the treasury. It grants nothing.")
GRANT = Action("secret.grant", "manage_connections", "secret", "Let one attachment use a secret on one endpoint.")
REVOKE = Action("secret.revoke", "manage_connections", "secret", "End a secret; the very next call that needs it is refused.")
ROTATE = Action("secret.rotate", "manage_connections", "secret", "Give a secret its next value.")
UNGRANT = Action("secret.revoke_grant", "manage_connections", "secret", "End one grant; the very next call is refused.")
VIEW = Action("secret.view", "view", "secret", "Read what a secret is for and who may use it, never its value.", records=False)

register(CREATE, GRANT, REVOKE, ROTATE, UNGRANT, VIEW)
