"""`worka registry`: look before building, publish, sign, trust, and review; with `worka pack sign` and `worka pack publish`."""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from worka.cli import output
from worka.cli.client import Client, Failed
from worka.cli.packs import ended, pack
from worka.cli.shell import ReleaseName, client, named_release, read_json, show

registry = typer.Typer(no_args_is_help=True, help="The registry: what there is, where it is published, who vouches.")
key = typer.Typer(no_args_is_help=True, help="Keys that publishers sign with.")
policy = typer.Typer(no_args_is_help=True, help="What may be published where, and how widely.")
root = typer.Typer(no_args_is_help=True, help="The operator's trust roots: whose signature counts for which publisher.")
destination = typer.Typer(no_args_is_help=True, help="Registries outside that releases may be published to.")
registry.add_typer(key, name="key")
registry.add_typer(policy, name="policy")
registry.add_typer(root, name="root")
registry.add_typer(destination, name="destination")
DryRun = Annotated[bool, typer.Option(help="say what it would do, and do nothing")]
REPORTS = ("publication_failures", "public_artifacts", "stale_private", "mismatches", "unreviewed")
RESTED = {"published": 0, "failed": 1, "refused": 1, "awaiting_approval": 6}


# looking ------------------------------------------------------------------------------------------------------------
@registry.command("search")
def search(
    words: Annotated[list[str] | None, typer.Argument(help="what it should do; without words: everything")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200)] = 20,
) -> None:
    """Find what is there before building: your releases, and what others listed for you."""
    api = client()
    value = api.get(api.ws("/marketplace"), q=" ".join(words or []), limit=limit)
    if not show(value):
        rows = [
            {**row, "trust": row["trust"]["state"], "installable": "yes" if row["installable"] else "no"}
            for row in value["items"]
        ]
        columns = ["release_id", "pack", "version", "visibility", "installable", "trust", "purpose"]
        output.table(rows, columns, "Nothing fits: worka pack register makes a new one.")


@registry.command("listing")
def listing(release_id: str) -> None:
    """One release of the marketplace: purpose, installable, trusted, publisher, dependencies."""
    api = client()
    value = api.get(api.ws(f"/marketplace/{release_id}"))
    if not show(value):
        output.record({**value, "trust": value["trust"]["sentence"]}, skip=("tools",))
        output.table(value["tools"], ["name", "side_effect", "description"], "It offers no tools.")


@registry.command("show")
def show_release(release_id: ReleaseName) -> None:
    """All the registry knows of a release: build, version, image, source, what is installable, visibility, trust."""
    api = client()
    value = api.get(f"/v1/releases/{named_release(api, release_id)}/registry")
    if not show(value):
        artifact = value["artifact"] or {"digest": "none yet", "size": 0}
        output.record(
            {
                "release": f"{value['pack']} {value['version']}",
                "built": f"{value['built']['state']}, {value['built']['packages']} packages",
                "artifact": f"{artifact['digest']}, {artifact['size']} bytes",
                "images": ", ".join(image["location"] for image in value["images"]) or "published nowhere",
                "source": f"{value['source']['repository'] or 'no repository is named'} {value['source']['revision']}".strip(),
                "origin": value["source"]["origin"],
                "like it": ", ".join(row["pack"] for row in value["source"]["similar"]) or "nothing",
                "installable": (value["installable"] or {}).get("release_id", "no release of it"),
                "visibility": f"{value['visibility']} ({value['listing']})",
                "trust": value["trust"]["sentence"],
                "signatures outside": "; ".join(map(_signed_there, value["images"])) or "published nowhere",
                "reviews": len(value["reviews"]),
            }
        )


def _signed_there(image: dict[str, Any]) -> str:
    told = image["signatures"]
    if told is None:
        return "local: all of them"
    said = f"{image['destination']}: {told['there']} of {told['of']}"
    if told["error"] is None:
        return said
    again = f"tried again at {told['next']}" if told["next"] else f"worka registry retry {image['publication_id']}"
    return f"{said}, {told['error']['code']}, {again}"


@registry.command("install")
def install(release_id: str, dry_run: DryRun = False) -> None:
    """Register a release of the marketplace here; it passes the same checks as every other."""
    api = client()
    value = api.change("POST", api.ws(f"/marketplace/{release_id}/install"), dry_run=dry_run)
    _followed(api, value, dry_run)


@registry.command("fetch")
def fetch(
    destination_name: Annotated[str, typer.Argument(help="the registry, by its name here")],
    digest: Annotated[str, typer.Argument(help="sha256:… of the artifact")],
    dry_run: DryRun = False,
) -> None:
    """Fetch an artifact by its digest from a registry outside, and register it here."""
    api = client()
    body = {"destination": destination_name, "digest": digest}
    _followed(api, api.change("POST", api.ws("/registry/fetch"), body, dry_run=dry_run), dry_run)


def _followed(api: Client, value: Any, dry_run: bool) -> None:
    while not dry_run and value["state"] not in ("released", "failed", "quarantined", "revoked"):
        time.sleep(0.2)
        value = api.get(f"/v1/releases/{value['id']}")
    if not dry_run:
        ended(value)
    if not show({"would": value}):
        output.text(f"dry run: {value['pack']} {value['version']} would be registered; nothing was done")


# publishing ---------------------------------------------------------------------------------------------------------
@pack.command("publish")
def publish(
    release_id: ReleaseName,
    to: Annotated[str, typer.Option(help="`local`, or a destination by its name")] = "local",
    visibility: Annotated[str, typer.Option(help="private, shared or public; default: what policy says")] = "",
    share: Annotated[
        list[str] | None, typer.Option("--with", help="a tenant's id, where it is shared; may be repeated")
    ] = None,
    dry_run: DryRun = False,
) -> None:
    """Publish a release: its artifact goes to a destination and is listed (6: an approval is waited for)."""
    if visibility not in ("", "private", "shared", "public"):
        raise typer.BadParameter(f"--visibility {visibility} is not one of private, shared, public")
    api = client()
    body: dict[str, Any] = {"release_id": named_release(api, release_id), "destination": to, "shared_with": share or []}
    if visibility:
        body["visibility"] = visibility
    value = api.change("POST", api.ws("/publications"), body, dry_run=dry_run)
    if dry_run:
        if not show({"would": value}):
            waits = "after an approval" if value["state"] == "awaiting_approval" else "at once"
            output.text(
                f"dry run: {value['pack']} {value['version']} would go to {value['destination']}, {value['visibility']},"
                f" {waits}; nothing was done"
            )
        return
    _rested(api, value)


@registry.command("retry")
def retry(publication_id: str, dry_run: DryRun = False) -> None:
    """Take up a failed publication again."""
    api = client()
    value = api.change("POST", f"/v1/publications/{publication_id}/retry", dry_run=dry_run)
    if dry_run:
        if not show({"would": value}):
            output.text(f"dry run: {publication_id} would be tried again; nothing was done")
        return
    _rested(api, value)


def _rested(api: Client, value: Any) -> None:
    while value["state"] in ("queued", "pushing"):
        time.sleep(0.2)
        value = api.get(f"/v1/publications/{value['id']}")
    if not show(value):
        output.explanation(api.get(f"/v1/publications/{value['id']}/why"))
    raise typer.Exit(RESTED[value["state"]])


@registry.command("publications")
def publications(state: str | None = None, limit: Annotated[int, typer.Option(min=1, max=200)] = 50) -> None:
    """The workspace's publications, newest first."""
    api = client()
    value = api.get(api.ws("/publications"), state=state, limit=limit)
    if not show(value):
        columns = ["id", "pack", "version", "destination", "visibility", "state", "reason"]
        output.table(value["items"], columns, "Nothing was published: worka pack publish.")


@registry.command("why")
def why(publication_id: str) -> None:
    """Why a publication is in its state."""
    value = client().get(f"/v1/publications/{publication_id}/why")
    if not show(value):
        output.explanation(value)


@registry.command("withdraw")
def withdraw(
    release_id: ReleaseName,
    reason: Annotated[str, typer.Option(help="why: who looks for it reads that")] = "",
    dry_run: DryRun = False,
) -> None:
    """Take a release from the marketplace. What was installed stays."""
    if not reason:
        raise typer.BadParameter("--reason is needed: who looks for it reads that")
    api = client()
    path = f"/v1/releases/{named_release(api, release_id)}/withdraw-listing"
    value = api.change("POST", path, {"reason": reason}, dry_run=dry_run)
    if not show({"would": value} if dry_run else value):
        output.text(
            "dry run: it would be withdrawn; nothing was done" if dry_run else f"{value['id']}  {value['state']}"
        )


@registry.command("review")
def review(
    release_id: ReleaseName,
    note: Annotated[str, typer.Option(help="what you looked at, and found")] = "",
    dry_run: DryRun = False,
) -> None:
    """Say that you looked at a release's artifact."""
    if not note:
        raise typer.BadParameter("--note is needed: what you looked at, and found")
    api = client()
    path = f"/v1/releases/{named_release(api, release_id)}/reviews"
    value = api.change("POST", path, {"note": note}, dry_run=dry_run)
    if not show({"would": value} if dry_run else value):
        output.text("dry run: nothing was recorded" if dry_run else f"{value['id']}  {value['digest']} is reviewed")


@registry.command("report")
def report(
    name: Annotated[str, typer.Argument(help=", ".join(REPORTS) + "; without it: all five")] = "",
    days: Annotated[int, typer.Option(min=0, max=3650, help="how far back failures count, and what is stale")] = 30,
    limit: Annotated[int, typer.Option(min=1, max=200)] = 50,
) -> None:
    """The reports to review publications by."""
    if name and name not in REPORTS:
        raise typer.BadParameter(f"{name} is not one of {', '.join(REPORTS)}")
    api = client()
    wanted = [name] if name else list(REPORTS)
    found = {one: api.get(api.ws(f"/registry/reports/{one}"), days=days, limit=limit) for one in wanted}
    if not show(found[name] if name else found):
        for one, page in found.items():
            output.text(f"{one.replace('_', ' ')}: {len(page['items'])}{'+' if page['next'] else ''}")
            output.table(page["items"], ["id", "pack", "version", "visibility", "said"], "  none")


# destinations -------------------------------------------------------------------------------------------------------
@destination.command("list")
def destination_list() -> None:
    """The registries that this workspace names."""
    api = client()
    value = api.get(api.ws("/destinations"))
    if not show(value):
        output.table(value["items"], ["id", "name", "place", "credential"], "None but the deployment's own: `local`.")


@destination.command("add")
def destination_add(
    name: str,
    host: str,
    repository: str,
    port: Annotated[int, typer.Option(min=1, max=65535)] = 443,
    username: str = "",
    password_file: Annotated[Path | None, typer.Option(help="file with the password", exists=True)] = None,
    token_service: Annotated[
        str,
        typer.Option(help="https://host/path?service=name that gives out its tokens; the password goes there alone"),
    ] = "",
    blobs: Annotated[
        list[str] | None, typer.Option(help="host:port that it redirects to for its blobs; may be repeated")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="do not ask, though the name is led elsewhere")] = False,
    dry_run: DryRun = False,
) -> None:
    """Name a registry. Whether anything may go there, the registry's policy says. Where its name is led elsewhere, or somebody
    vouches for it, that is said before a credential is kept."""
    api = client()
    password = password_file.read_text().strip("\r\n") if password_file else ""
    body = {
        "name": name,
        "host": host,
        "port": port,
        "repository": repository,
        "username": username,
        "password": password,
        "token_service": token_service,
        "blob_hosts": blobs or [],
    }
    if username and not yes and not dry_run:
        would = api.change("POST", api.ws("/destinations"), body, dry_run=True)
        for line in would["led"]:
            output.talk.print(output.escape(line))
        if would["led"]:
            typer.confirm("The credential would go there. Keep it all the same?", abort=True, err=True)
    value = api.change("POST", api.ws("/destinations"), body, dry_run=dry_run)
    if not show({"would": value} if dry_run else value):
        for line in value["led"]:
            output.text(line)
        output.text(
            f"dry run: {value['place']} would be added; nothing was done"
            if dry_run
            else f"{value['id']}  {value['place']}"
        )


@destination.command("remove")
def destination_remove(destination_id: str, dry_run: DryRun = False) -> None:
    """Take a registry away, with its credential."""
    value = client().change("DELETE", f"/v1/destinations/{destination_id}", dry_run=dry_run)
    if not show({"would": value} if dry_run else value):
        output.text(
            f"dry run: {value['place']} would be removed; nothing was done"
            if dry_run
            else f"{value['place']} is removed"
        )


# policy -------------------------------------------------------------------------------------------------------------
@policy.command("show")
def policy_show() -> None:
    """What may be published where, layer by layer, and all of them together."""
    api = client()
    value = api.get(api.ws("/registry/policy"))
    if not show(value):
        output.record(value["effective"])
        for layer in value["layers"]:
            said = {name: item for name, item in layer["settings"].items() if item not in (None, [], False)}
            output.text(f"  {layer['place']}: {json.dumps(said) if said else 'says nothing'}")


@policy.command("set")
def policy_set(
    settings: Annotated[str, typer.Argument(help="the whole layer as a JSON object, or @file")],
    tenant: Annotated[
        bool, typer.Option("--tenant", help="the layer of the whole tenant, not of this workspace")
    ] = False,
    note: str = "",
    dry_run: DryRun = False,
) -> None:
    """Set a layer of the registry's policy. A layer can only tighten what is above it."""
    api = client()
    body = {"scope": "tenant" if tenant else "workspace", "settings": read_json(settings), "note": note}
    value = api.change("POST", api.ws("/registry/policy"), body, dry_run=dry_run)
    if not show({"would": value} if dry_run else value):
        output.record(value["effective"])
        if dry_run:
            output.text("dry run: this would hold; nothing was done")


# who vouches --------------------------------------------------------------------------------------------------------
@pack.command("sign")
def sign(
    release_id: ReleaseName,
    envelope: Annotated[str, typer.Option(help="@file with a DSSE envelope that was signed elsewhere")] = "",
    dry_run: DryRun = False,
) -> None:
    """Vouch for a release with its publisher's key, which never leaves the treasury."""
    body = {"envelope": read_json(envelope)} if envelope else {}
    api = client()
    path = f"/v1/releases/{named_release(api, release_id)}/signatures"
    value = api.change("POST", path, body, dry_run=dry_run)
    if not show({"would": value} if dry_run else value):
        said = value["trust"]
        output.text(
            "dry run: it would be signed; nothing was done"
            if dry_run
            else f"{value['digest']}  {said['state']}: {said['sentence']}"
        )


@key.command("new")
def key_new(publisher: str, dry_run: DryRun = False) -> None:
    """Make a key for a publisher. Give its public half to the operator, for the trust root."""
    api = client()
    value = api.change("POST", api.ws("/publisher-keys"), {"publisher": publisher}, dry_run=dry_run)
    if not show({"would": value} if dry_run else value):
        output.text(
            f"dry run: {publisher} would get a key; nothing was done"
            if dry_run
            else f"{value['key_id']}  {value['public_key']}"
        )


@key.command("list")
def key_list() -> None:
    """The keys of this workspace's publishers: public halves."""
    api = client()
    value = api.get(api.ws("/publisher-keys"))
    if not show(value):
        output.table(value["items"], ["publisher", "key_id", "public_key", "state"], "None: worka registry key new.")


@root.command("show")
def root_show() -> None:
    """The trust root in force."""
    api = client()
    value = api.get(api.ws("/registry/trust-root"))
    if not show(value):
        output.record({name: value[name] for name in ("version", "state", "expires")})
        rows = [{"publisher": name, **role} for name, role in value["publishers"].items()]
        output.table(rows, ["publisher", "threshold", "keyids"], "It names no publisher.")


@root.command("list")
def root_list() -> None:
    """Every trust root that was set, newest first (operators only)."""
    value = client().get("/v1/deployment/trust-roots")
    if not show(value):
        output.table(value["items"], ["version", "state", "expires", "created_at"], "None was set.")


@root.command("set")
def root_set(
    document: Annotated[str, typer.Argument(help="@file with the signed document, or the JSON itself")],
    dry_run: DryRun = False,
) -> None:
    """Set the deployment's next trust root (operators only); it holds for the very next check."""
    body = {"document": read_json(document)}
    value = client().change("POST", "/v1/deployment/trust-roots", body, dry_run=dry_run)
    if not show({"would": value} if dry_run else value):
        output.text(f"{'dry run: would hold: ' if dry_run else ''}version {value['version']}, until {value['expires']}")


@root.command("key")
def root_key(
    file: Annotated[Path, typer.Argument(help="new file for the private key; keep it off this machine")],
    dry_run: DryRun = False,
) -> None:
    """Make a key that signs trust roots. Nothing of it goes to the server."""
    from worka.treasury import signing

    seed, public = signing.new_seed()
    if not dry_run:
        fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(fd, "w") as made:
            made.write(seed + "\n")
    value = {"file": str(file), "key_id": signing.key_id(public), "public_key": public}
    if not show({"would": value} if dry_run else value):
        output.text(f"dry run: {file} would be written" if dry_run else f"{value['key_id']}  {public}")


@root.command("new")
def root_new(
    file: Annotated[Path, typer.Argument(help="where the unsigned document is written")],
    root_keys: Annotated[list[str], typer.Option("--key", help="public key that signs roots; may be repeated")],
    publisher: Annotated[
        list[str] | None, typer.Option(help="NAME=PUBLIC_KEY that vouches for it; may be repeated")
    ] = None,
    threshold: Annotated[int, typer.Option(min=1, help="how many root keys must sign")] = 1,
    publisher_threshold: Annotated[int, typer.Option(min=1, help="how many keys of a publisher must vouch")] = 1,
    days: Annotated[int, typer.Option(min=1, max=3650, help="for how long it holds")] = 365,
    version: Annotated[int, typer.Option(min=1, help="one more than the one in force")] = 1,
    dry_run: DryRun = False,
) -> None:
    """Write the next trust root, for its keys to sign."""
    from worka.packs.registry import roots
    from worka.treasury import signing

    keys: dict[str, Any] = {}

    def known(public: str) -> str:
        try:
            name = signing.key_id(public)
        except ValueError as error:
            raise typer.BadParameter(f"{public[:60]} is no Ed25519 public key in base64") from error
        keys[name] = {"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": public}}
        return name

    vouching: dict[str, Any] = {}
    for item in publisher or []:
        if "=" not in item:
            raise typer.BadParameter(f"--publisher {item} is not NAME=PUBLIC_KEY")
        name, public = item.split("=", 1)
        vouching.setdefault(name, {"keyids": [], "threshold": publisher_threshold})["keyids"].append(known(public))
    expires = datetime.now(UTC).replace(microsecond=0) + timedelta(days=days)
    signed = {
        "_type": "root", "spec_version": roots.SPEC, "version": version, "expires": expires.isoformat().replace("+00:00", "Z"),
        "roles": {"root": {"keyids": [known(public) for public in root_keys], "threshold": threshold}},
        "publishers": vouching, "keys": keys,
    }  # fmt: skip
    document = {"signed": signed, "signatures": []}
    try:
        roots.read(document)
    except roots.RootProblem as problem:
        raise typer.BadParameter(str(problem)) from problem
    if not dry_run:
        file.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n")
    value = {"file": str(file), "version": version, "expires": signed["expires"], "publishers": sorted(vouching)}
    if not show({"would": value} if dry_run else value):
        output.text(f"dry run: {file} would be written" if dry_run else f"{file}: version {version}, to be signed")


@root.command("sign")
def root_sign(
    file: Annotated[Path, typer.Argument(help="the document", exists=True)],
    key_file: Annotated[Path, typer.Option("--key", help="file of a private key", exists=True)],
    after: Annotated[
        Path | None, typer.Option(help="the trust root in force, to see what this one changes", exists=True)
    ] = None,
    dry_run: DryRun = False,
) -> None:
    """Sign a trust root with a key on this machine, and see what it says; with --dry-run only see it."""
    from worka.packs.registry import roots
    from worka.treasury import signing

    document = read_json(f"@{file}")
    try:
        said = roots.summary(document)
        changes = roots.differences(read_json(f"@{after}"), document) if after is not None else []
        data = roots.signed_bytes(document)
        seed = key_file.read_text().strip()
        name = signing.key_id(signing.public_of(seed))
        signature = signing.sign_with(seed, data)
    except (ValueError, roots.RootProblem) as problem:
        raise Failed(
            {
                "code": "root_unsigned",
                "title": "The trust root cannot be signed",
                "detail": str(problem),
                "remedy": "Name a document of `root new` and a key file of `root key`.",
            },
            2,
        ) from problem
    others = [item for item in document.get("signatures", []) if item.get("keyid") != name]
    document["signatures"] = [*others, {"keyid": name, "sig": signature}]
    if not dry_run:
        file.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n")
    value = {
        "file": str(file), "key_id": name, "signatures": len(document["signatures"]),
        "key_signs_roots": name in said["root"]["keys"], "says": said, "changes": changes,
    }  # fmt: skip
    if not show({"would": value} if dry_run else value):
        output.text("\n".join(_root_words(said, changes)))
        if not value["key_signs_roots"]:
            output.text(f"key {name} is no root key of this document: it counts only if it is one of the root in force")
        output.text(f"{'dry run: would have ' if dry_run else ''}{value['signatures']} signatures")


def _root_words(said: dict[str, Any], changes: list[str]) -> list[str]:
    """What a trust root says, line by line."""

    def role(name: str, found: dict[str, Any]) -> str:
        return f"{name}: {found['threshold']} of {len(found['keys'])} keys: {', '.join(found['keys'])}"

    lines = [f"version {said['version']}, holds until {said['expires']}", role("root", said["root"])]
    lines += [role(f"publisher {name}", found) for name, found in said["publishers"].items()]
    return lines + [f"changes: {change}" for change in changes]
