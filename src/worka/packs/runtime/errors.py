"""Problems of building and running packs.

Problem
├── Invalid: EcosystemUnsupported, TreeRefused, EntryPointMissing, CodeAtInstall, SpecInvalid, ProbeFailed
├── Conflict: RecordMismatch, DigestMismatch
└── Unavailable: BuildFailed, SandboxUnavailable, NoRoom
"""

from __future__ import annotations

from worka.kernel import errors


class EcosystemUnsupported(errors.Invalid):
    code, title = "ecosystem_unsupported", "Packs of this ecosystem cannot be installed yet"
    default_remedy = "Publish the server as a Python package (`pypi`) or send its files (`path`)."


class TreeRefused(errors.Invalid):
    code, title = "tree_refused", "The pack's files cannot be taken as they are"
    default_remedy = "Send plain files and folders only: no links, no devices, no names that leave the folder."


class EntryPointMissing(errors.Invalid):
    code, title = "entry_point_missing", "Nobody says how this pack is started"
    default_remedy = "Give `runtime.command` in the manifest, or name a package with a console script."


class CodeAtInstall(errors.Invalid):
    code, title = "code_at_install", "The package runs code before its server is started"
    default_remedy = "Use a release of the package without an executable .pth file; wheels only."


class SpecInvalid(errors.Invalid):
    code, title = "session_spec_invalid", "The session cannot be read"


class RecordMismatch(errors.Conflict):
    code, title = "record_mismatch", "Installed files differ from the package's own record"
    default_remedy = "Do not use this package: what was installed is not what its record lists."


class DigestMismatch(errors.Conflict):
    code, title = "digest_mismatch", "The environment is not the one that was registered"
    default_remedy = "Register the release again; `worka doctor` names every environment that changed."


class BuildFailed(errors.Unavailable):
    code, title = "build_failed", "The environment could not be built"
    default_remedy = "Read the detail: it is the installer's own last words. Check the lock and the package index."


class SandboxUnavailable(errors.Unavailable):
    code, title = "sandbox_unavailable", "The sandbox is not available, and no pack runs without it"
    default_remedy = "Run `worka doctor`; it names the missing part and the command that installs it."


class NoRoom(errors.Unavailable):
    """It says nothing about the pack: every place was taken for as long as it waited."""

    code, title = "no_free_session", "No place is free to start the pack in"
    default_remedy = "Wait, or raise packs.sessions_per_tenant or packs.sessions."


class ProbeFailed(errors.Invalid):
    """Its code is the reason of the runtime (`handshake_failed`, `pack_crashed`, …); extras hold the output tail."""

    code, title = "probe_failed", "The server did not say what it offers"
    default_remedy = "Read the output tail; start the server alone, without network."
