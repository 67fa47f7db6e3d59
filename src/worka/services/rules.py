"""The decisions over a service's network policy. Pure: no clock, no database, no network.

Who asks is part of the question, so that a policy of one kind never decides for another: a pack is decided in `broker.rules`, and a
device neither there nor here, for what it can do locally takes its registration, enablement and consent.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from worka.broker.addresses import HostProblem, normalise_host
from worka.broker.rules import canonical_path, leniently
from worka.services.schema import EXPOSURES, METHODS, PUBLIC, Out, Route, ServicePolicy

Kind = Literal["service", "pack", "device"]


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks: its kind and id. For what comes in, `exposure` is how far away it stands: `workspace` a member of it, `tenant` one of
    another workspace, `public` everybody else; `signed_in`: whether it said who it is."""

    kind: Kind
    id: str
    exposure: Literal["workspace", "tenant", "public"] = "public"
    signed_in: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """The verdict, its reason code, the rule that decided (its place in the policy), and what would have to change."""

    allowed: bool
    reason: str
    rule: str | None = None
    remedy: str = ""


def outbound(
    asker: Asker, policy: ServicePolicy | None, host: str, port: int, method: str, *, websocket: bool = False
) -> Decision:
    """Whether a service may send this. The address behind the name is checked by the broker all the same, as for a pack."""
    refused = _not_a_service(asker, policy)
    if refused is not None:
        return refused
    assert policy is not None
    try:
        name = normalise_host(host)
    except HostProblem as problem:
        return Decision(False, problem.reason, remedy="Use the plain host name.")
    near: Decision | None = None
    # The refusal that is told is that of the rule that names the host most exactly.
    for number, rule in sorted(
        enumerate(policy.outbound), key=lambda item: (item[1].host[:1] == "*", -len(item[1].host))
    ):
        place = f"outbound[{number}]"
        if not _covers(rule, name) or port not in rule.ports:
            continue
        # CONNECT and TRACE are in no policy: the one opens a tunnel, the other sends a credential back.
        if method.upper() not in (METHODS if rule.methods is None else rule.methods):
            near = near or Decision(False, "method_not_allowed", place, f"Add {method.upper()} to {place}.methods.")
        elif websocket and not rule.websocket:
            near = near or Decision(False, "upgrade_refused", place, f"Set {place}.websocket, if it is meant.")
        else:
            return Decision(True, "allowed", place)
    return near or Decision(False, "undeclared_destination", None, f"Add {name}:{port} to outbound.")


def inbound(asker: Asker, policy: ServicePolicy | None, method: str, path: str) -> Decision:
    """Whether a request may come in: by the most exact route that names it, and by no other."""
    if policy is None:
        return Decision(False, "service_policy_missing", remedy="Give the service a network policy.")
    plain = canonical_path(path)
    if plain is None:
        return Decision(False, "path_not_allowed", remedy="Write the path without dot segments and escaped slashes.")
    found = _route(policy, method.upper(), plain)
    if found is None:
        return Decision(False, "route_not_declared", None, f"Add {method.upper()} {plain} to inbound.routes.")
    number, route = found
    place = f"inbound.routes[{number}]"
    others = [other for other in policy.inbound.routes if method.upper() in other.methods and _narrower(other, route)]
    if leniently((other.path for other in others), plain):
        return Decision(False, "path_not_allowed", place, "Write the path as its route is written.")
    if EXPOSURES.index(asker.exposure) > EXPOSURES.index(route.exposure):
        return Decision(False, "route_not_exposed", place, f"{place}.exposure is {route.exposure}; widening it asks.")
    if route.authentication == "session" and not asker.signed_in:
        return Decision(False, "unauthenticated", place, "Sign in first.")
    return Decision(True, "allowed", place)


def public_routes(policies: Iterable[tuple[str, ServicePolicy]]) -> list[dict[str, str | bool]]:
    """Every route that everybody can ask, with its service and names: [{service, domain, path, methods, signed_in}]."""
    return [
        {
            "service": service,
            "domain": domain.name,
            "path": route.path,
            "methods": ", ".join(sorted(route.methods)),
            "signed_in": route.authentication == "session",
        }
        for service, policy in policies
        for domain in policy.domains
        for route in policy.inbound.routes
        if route.exposure == "public"
    ]


def widened(before: ServicePolicy | None, after: ServicePolicy) -> list[str]:
    """What the new version lets that the old one did not, in words; empty where it only narrows. In doubt it is wider."""
    found = []
    old = {
        (route.path, method): route for route in (before.inbound.routes if before else ()) for method in route.methods
    }
    for route in after.inbound.routes:
        for method in sorted(route.methods):
            was = old.get((route.path, method))
            if was is None:
                if route.exposure != "private":
                    found.append(f"{method} {route.path} comes in ({route.exposure})")
            elif EXPOSURES.index(route.exposure) > EXPOSURES.index(was.exposure):
                found.append(f"{method} {route.path} is {route.exposure}, was {was.exposure}")
            elif (was.authentication, route.authentication) == ("session", "none"):
                found.append(f"{method} {route.path} needs no signing in any more")
    names = {domain.name for domain in before.domains} if before else set()
    found += [f"the name {domain.name}" for domain in after.domains if domain.name not in names]
    held = set(before.outbound) if before else set()
    found += [
        f"{rule.host} at {', '.join(map(str, sorted(rule.ports)))} goes out"
        for rule in after.outbound
        if rule not in held
    ]
    return found


def _not_a_service(asker: Asker, policy: ServicePolicy | None) -> Decision | None:
    if asker.kind == "device":
        return Decision(
            False, "device_not_through_broker", remedy="A device acts by its own registration, enablement and consent."
        )
    if asker.kind != "service":
        return Decision(False, "policy_of_another_kind", remedy="A pack goes out by its release's outbound_domains.")
    if policy is None:
        return Decision(False, "service_policy_missing", remedy="Give the service a network policy.")
    return None


def _covers(rule: Out, name: str) -> bool:
    if rule.host == PUBLIC:
        return True
    return name.endswith(rule.host[1:]) if rule.host.startswith("*.") else name == rule.host


def _route(policy: ServicePolicy, method: str, path: str) -> tuple[int, Route] | None:
    best: tuple[int, Route] | None = None
    for number, route in enumerate(policy.inbound.routes):
        prefix = route.path.endswith("*")
        hit = path.startswith(route.path[:-1]) if prefix else path == route.path
        if hit and method in route.methods and (best is None or _exactness(route) > _exactness(best[1])):
            best = number, route
    return best


def _narrower(other: Route, route: Route) -> bool:
    """Whether a more exact route asks for more: the service might read a path in another spelling as that one's."""
    asks = (-EXPOSURES.index(other.exposure), other.authentication == "session")
    return _exactness(other) > _exactness(route) and asks > (
        -EXPOSURES.index(route.exposure),
        route.authentication == "session",
    )


def _exactness(route: Route) -> tuple[bool, int]:
    return not route.path.endswith("*"), len(route.path)
