"""A registry outside, as the OCI distribution specification has it: push by digest, fetch by digest, and trust nothing that
comes. Every call goes through the broker as the platform's own; what a registry says leads nowhere but to the token service
and the hosts of blobs that its destination names. A credential goes to the one host that it is for, and follows nothing.
"""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urljoin, urlsplit

from worka.broker.addresses import HostProblem, normalise_host
from worka.kernel import canonical, ipc, redact, strict_json
from worka.kernel.context import Context
from worka.kernel.errors import Problem
from worka.kernel.paths import Paths
from worka.packs.registry import oci, tokens
from worka.packs.registry.dsse import MOST_BYTES

PURPOSE = "registry"
"""The purpose of the broker's rules for these calls; a rule's subject is the destination."""
METHODS = "GET,HEAD,POST,PUT"
LIES = frozenset({"registry_lied", "artifact_malformed", "artifact_too_large"})
"""Reasons that say that what came is not what was asked for."""
REDIRECTS = frozenset({301, 302, 303, 307, 308})
MOST_SIGNATURES = 64
"""Envelopes beside one artifact: those of ours before those of others."""
SECONDS = 50.0
ENVELOPE_TYPE = "application/vnd.dsse.envelope.v1+json"
SIGNATURES_TYPE = "application/vnd.worka.pack.signatures.v1"
Row = dict[str, Any]


class RemoteProblem(Exception):
    """The registry did not do: `reason` is a code, the text says what was met."""

    def __init__(self, reason: str, text: str, **more: Any) -> None:
        super().__init__(text)
        self.reason = reason
        self.more = more


class Post(Protocol):
    """The broker's `platform_http`."""

    async def __call__(self, args: Row) -> Row: ...


def through_broker(ctx: Context) -> Post:
    """The broker of this instance."""

    async def post(args: Row) -> Row:
        path = Paths(ctx.settings.home).broker_socket
        found = await ipc.call_unix(path, "platform_http", args, timeout=SECONDS, traceparent=ctx.traceparent)
        return dict(found)

    return post


@dataclass(frozen=True)
class Answered:
    """An answer of the registry."""

    status: int
    body: bytes
    headers: Mapping[str, str]


class Remote:
    """One destination. `credential` is `name:password`, or None. Every method raises RemoteProblem, and what `unsealed` raises:
    it is asked before each call that has the credential on it, or a token that was given for it."""

    def __init__(
        self,
        post: Post,
        destination: Row,
        credential: str | None,
        unsealed: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._post, self._unsealed = post, unsealed
        self._at = destination
        port = "" if destination["port"] == 443 else f":{destination['port']}"
        self.base = f"https://{destination['host']}{port}/v2/{destination['repository']}/"
        self._service = tokens.read(destination["token_service"]) if destination["token_service"] else None
        self._blob_hosts = frozenset(destination["blob_hosts"])
        self._pushes = False
        # By the beginning of the addresses that it is for: nothing else is ever sent it.
        self._authorization: dict[str, str] = {}
        if credential is not None:
            coded = base64.b64encode(credential.encode()).decode()
            redact.remember(coded)
            self._authorization[self._service.address + "?" if self._service else self.base] = f"Basic {coded}"

    async def push(self, artifact: oci.Artifact) -> str:
        """Puts every part there, then the manifest, and reads all of it back by digest. Returns where it lies."""
        self._pushes = True
        for part in oci.descriptors(artifact.manifest, artifact.digest):
            await self._put_blob(part["digest"], artifact.blobs[part["digest"]])
        await self._put_manifest(artifact.digest, artifact.manifest)
        await self.fetch(artifact.digest)
        return f"{self.base.removeprefix('https://').replace('/v2/', '/', 1).rstrip('/')}@{artifact.digest}"

    async def push_signatures(self, digest: str, envelopes: list[bytes]) -> None:
        """Puts the envelopes beside the artifact, under the tag that stands for its digest, with those that lie there already,
        and reads them back. What is there is not sent again."""
        self._pushes = True
        envelopes = envelopes[:MOST_SIGNATURES]
        try:
            there = [canonical.dumps(item) for item in await self.fetch_signatures(digest)]
        except RemoteProblem as problem:
            if problem.reason not in LIES:
                raise
            there = []  # what cannot be read is nobody's signature
        if set(envelopes) <= set(there):
            return
        together = list(dict.fromkeys([*envelopes, *there]))[:MOST_SIGNATURES]
        config = {"mediaType": oci.EMPTY_TYPE, "digest": oci.digest_of(oci.EMPTY), "size": len(oci.EMPTY)}
        layers = [{"mediaType": ENVELOPE_TYPE, "digest": oci.digest_of(data), "size": len(data)} for data in together]
        document = {
            "schemaVersion": 2, "mediaType": oci.MANIFEST_TYPE, "artifactType": SIGNATURES_TYPE, "config": config,
            "layers": layers, "annotations": {"worka.about": digest},
        }  # fmt: skip
        for data in (oci.EMPTY, *together):
            await self._put_blob(oci.digest_of(data), data)
        await self._put_manifest(_tag(digest), canonical.dumps(document))
        back = {canonical.dumps(item) for item in await self.fetch_signatures(digest)}
        if not set(envelopes) <= back:
            raise RemoteProblem("registry_lied", "the signatures that were put there did not come back")

    async def fetch(self, digest: str) -> oci.Artifact:
        """The artifact of a digest, every byte of it checked."""
        try:
            manifest = await self._manifest(digest)
            parts = oci.descriptors(manifest, digest)
            blobs = {part["digest"]: oci.check(part, await self._blob(part["digest"], part["size"])) for part in parts}
        except oci.ArtifactProblem as problem:
            raise RemoteProblem(problem.reason, str(problem)) from problem
        return oci.Artifact(manifest, blobs)

    async def fetch_signatures(self, digest: str) -> list[Row]:
        """The envelopes that lie beside an artifact; none is fine. They are checked where they count."""
        found = await self._call("GET", f"manifests/{_tag(digest)}", accept=oci.MANIFEST_TYPE)
        if found.status == 404:
            return []
        self._expect(found, 200)
        try:
            document = oci.document(found.body)
            layers = [part for part in document["layers"] if part["mediaType"] == ENVELOPE_TYPE][:MOST_SIGNATURES]
            envelopes = []
            for part in layers:
                if not oci.DIGEST.match(part["digest"]) or not 0 < part["size"] <= 2 * MOST_BYTES:
                    raise ValueError("a layer without digest or of a wrong size")
                data = oci.check(part, await self._blob(part["digest"], part["size"]))
                envelopes.append(dict(strict_json.loads(data)))
        except oci.ArtifactProblem as problem:
            raise RemoteProblem(problem.reason, str(problem)) from problem
        except (KeyError, TypeError, ValueError, Problem) as error:
            raise RemoteProblem("registry_lied", f"its signatures cannot be read: {str(error)[:100]}") from error
        return envelopes

    # one call -------------------------------------------------------------------------------------------------------
    async def _put_blob(self, digest: str, data: bytes) -> None:
        there = await self._call("HEAD", f"blobs/{digest}")
        if there.status == 200:
            return  # whether it really is, the reading back shows
        if there.status != 404:
            self._expect(there, 200)
        begun = await self._call("POST", "blobs/uploads/")
        self._expect(begun, 202)
        place = self._inside(begun.headers.get("location", ""))
        joined = f"{place}{'&' if '?' in place else '?'}digest={digest}"
        self._expect(await self._call("PUT", joined, data, "application/octet-stream"), 201)

    async def _put_manifest(self, reference: str, data: bytes) -> None:
        self._expect(await self._call("PUT", f"manifests/{reference}", data, oci.MANIFEST_TYPE), 201)

    async def _manifest(self, digest: str) -> bytes:
        found = await self._call("GET", f"manifests/{digest}", accept=oci.MANIFEST_TYPE)
        self._expect(found, 200)
        if len(found.body) > oci.MOST_MANIFEST:
            raise RemoteProblem("artifact_too_large", f"its manifest has more than {oci.MOST_MANIFEST} bytes")
        return found.body

    async def _blob(self, digest: str, size: int) -> bytes:
        found = await self._call("GET", f"blobs/{digest}")
        self._expect(found, 200)
        if len(found.body) > size:
            raise RemoteProblem("registry_lied", f"what came for {digest} has more than {size} bytes")
        return found.body

    async def _call(
        self, method: str, path: str, body: bytes = b"", kind: str | None = None, accept: str | None = None
    ) -> Answered:
        headers = {name: value for name, value in (("Content-Type", kind), ("Accept", accept)) if value is not None}
        url = path if path.startswith("https://") else self.base + path
        found = await self._send(method, url, headers, body)
        if found.status == 401 and (asked := tokens.challenge(found.headers.get("www-authenticate", ""))) is not None:
            await self._take_token(asked)
            found = await self._send(method, url, headers, body)
        if found.status in REDIRECTS and path.startswith("blobs/sha256:"):
            place = self._elsewhere(found)
            # Whether it is there, the registry says; whether it really is, reading it shows.
            return await self._send("GET", place, {}, b"") if method == "GET" else Answered(200, b"", {})
        return found

    async def _take_token(self, asked: tokens.Challenge) -> None:
        """A token for this repository, from the service that the destination names: it goes to the registry alone."""
        if why := tokens.refusal(asked, self._service, f"{self._at['host']}:{self._at['port']}"):
            raise RemoteProblem("registry_wants_token", why)
        assert self._service is not None
        url = tokens.request(self._service, asked, self._at["repository"], push=self._pushes)
        found = await self._send("GET", url, {}, b"")
        self._expect(found, 200, "its token service ")
        try:
            token = tokens.token_of(found.body)
        except tokens.TokenProblem as problem:
            raise RemoteProblem(
                "registry_wants_token", f"no token came from {self._service.address}: {problem}"
            ) from problem
        redact.remember(token)
        self._authorization[self.base] = f"Bearer {token}"

    def _elsewhere(self, found: Answered) -> str:
        """Where a blob lies, if its destination names that host. Raises RemoteProblem."""
        location = found.headers.get("location", "")
        try:
            parts = urlsplit(location)
            place = f"{normalise_host(parts.hostname or '')}:{parts.port or 443}"
        except (ValueError, HostProblem):
            parts, place = urlsplit(""), "no host by its name"
        plain = parts.scheme == "https" and "@" not in parts.netloc and not parts.fragment
        if not plain or not location.isascii() or not location.isprintable() or " " in location:
            raise RemoteProblem("registry_redirected", f"it answered {found.status} and sends us to {place}")
        if place not in self._blob_hosts:
            raise RemoteProblem(
                "registry_redirected",
                f"it answered {found.status} and sends us to {place}, which the destination does not name; if you trust"
                f" it, name it with the destination: --blobs {place}",
            )
        return location

    async def _send(self, method: str, url: str, headers: Row, body: bytes) -> Answered:
        for beginning, value in self._authorization.items():
            if url.startswith(beginning):
                headers = {**headers, "Authorization": value}
                if self._unsealed is not None:
                    await self._unsealed()
        args = {
            "tenant_id": self._at["tenant_id"], "workspace_id": self._at["workspace_id"], "purpose": PURPOSE,
            "subject_id": self._at["id"], "url": url, "headers": headers, "body": base64.b64encode(body).decode(),
            "method": method,
        }  # fmt: skip
        # What stands behind the ? can be a credential of its own.
        what = f"{method} {url.partition('?')[0].removeprefix(self.base)[:80]}"
        try:
            found = await self._post(args)
        except Problem as problem:
            raise RemoteProblem("broker_unavailable", problem.detail) from problem
        egress = {"egress_id": found["egress_id"]}
        if found["reason"] == "upstream_timeout":
            raise RemoteProblem("registry_answered_late", f"{what}: {found['detail']}", **egress)
        if found["reason"] != "allowed":
            raise RemoteProblem(
                "registry_unreachable", f"{found['reason']}: {found['detail']}", **egress, cause=found["reason"]
            )
        if found["cut"]:
            raise RemoteProblem("artifact_too_large", f"{what}: the answer does not end in time", **egress)
        return Answered(int(found["status"]), base64.b64decode(found["answer"]), found["headers"])

    def _expect(self, found: Answered, status: int, whose: str = "it ") -> None:
        if found.status == status:
            return
        if 300 <= found.status < 400:
            try:
                host = urlsplit(found.headers.get("location", "")).hostname or "elsewhere"
            except ValueError:
                host = "no address"
            raise RemoteProblem("registry_redirected", f"{whose}answered {found.status} and sends us to {host[:100]}")
        said = redact.text("".join(char for char in found.body[:300].decode("utf-8", "replace") if char.isprintable()))
        told = f"{whose}answered {found.status}: {said}".rstrip(": ")
        raise RemoteProblem("registry_refused", told, status=found.status)

    def _inside(self, location: str) -> str:
        """The address of an upload, if it lies in this repository of this registry: another is never called."""
        try:
            whole = urljoin(self.base, location)
        except ValueError:
            raise RemoteProblem("registry_redirected", f"it would have the upload go to {location[:200]}") from None
        if not location or not whole.startswith(self.base + "blobs/uploads/") or "#" in whole:
            raise RemoteProblem("registry_redirected", f"it would have the upload go to {whole[:200]}")
        return whole


def _tag(digest: str) -> str:
    return digest.replace(":", "-") + ".sig"
