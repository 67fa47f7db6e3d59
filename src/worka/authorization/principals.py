"""The kinds of principals (AUT-2, IDN-1): all that the schema knows, also those whose subjects come later."""

from __future__ import annotations

from worka.kernel.kinds import PrincipalKind, register

register(
    PrincipalKind("person", "per", "Somebody, with a role in each workspace.", "session or API token"),
    PrincipalKind("team_member", "tmb", "An AI team member: acts by its listed tools, owned by a person.", "API token"),
    PrincipalKind(
        "attachment",
        "att",
        "A pack, as it is attached to a workspace: calls the tools and host services that its manifest declares.",
        "its broker socket and its own pipe",
    ),
    PrincipalKind("platform", "", "Worka itself, for what nobody else began.", "none: it is no caller"),
    PrincipalKind(
        "service_account", "sva", "A program of the tenant's own, owned by a person and acting for them.", "API token",
    ),
    PrincipalKind("device", "dev", "A registered machine.", "device key", later="devices"),
    PrincipalKind("audience", "aud", "Whom a shared view is for.", "its link or sign-in", later="shared views"),
    PrincipalKind("service", "svc", "A long-running HTTP process of a pack.", "its own pipe", later="services"),
)  # fmt: skip
