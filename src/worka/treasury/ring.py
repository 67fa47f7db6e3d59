"""The master keys that this process can use: the one in force, the one that comes after it, and those that were before.

Where they come from: a setting (`treasury.master_key`), a key-management service that unseals `keys/master.sealed`, or the file
`keys/master.key`, which is made at the first start. A key that is not known yet is looked for again where keys lie: so a rotation
needs no restart."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Protocol

from worka.kernel.paths import Paths
from worka.kernel.settings import Settings
from worka.treasury.errors import MasterKeyMismatch, MasterKeyUnreadable, NextKeyMissing
from worka.treasury.keys import MasterKey, create_once, new_key, read_key

FILE, NEXT, RETIRED, SEALED = "master.key", "master.next", "retired", "master.sealed"
SETTING, NEXT_SETTING = "WORKA_TREASURY__MASTER_KEY", "WORKA_TREASURY__NEXT_MASTER_KEY"


class KeyService(Protocol):
    """A key-management service: it wraps our key under one that never leaves it. Raises MasterKeyUnreadable."""

    def seal(self, plain: str) -> str: ...

    def unseal(self, sealed: str) -> str: ...


class Ring:
    """Keys by id. Reading a file is cheap beside what it opens, so nothing is watched: it is read again when it is needed."""

    def __init__(self, settings: Settings, service: KeyService | None = None) -> None:
        self._settings = settings.treasury
        self._folder = Paths(settings.home).keys
        self._service = service if service is not None else key_service(settings)
        self._known: dict[str, MasterKey] = {}
        self._current: MasterKey | None = None

    @property
    def current(self) -> MasterKey:
        """The key in force, as it was first read here. Raises MasterKeyUnreadable."""
        if self._current is None:
            self._current = self._read()
        return self._current

    def newest(self) -> MasterKey:
        """What new keys are wrapped under, read now: the one that comes after, while a rotation is under way."""
        following = self.following()
        return following if following is not None else self._read()

    def by_id(self, key_id: str) -> MasterKey:
        """The key of this id. Raises MasterKeyMismatch, MasterKeyUnreadable."""
        if key_id == self.current.id:
            return self.current
        if key_id not in self._known:
            found = [self.current, self._read(), *self._others()]
            self._known = {key.id: key for key in found}
        if key_id not in self._known:
            raise MasterKeyMismatch(f"It needs {key_id}; the one that is set is {self.current.id}.")
        return self._known[key_id]

    def ids(self) -> list[str]:
        """The ids of all keys that lie here."""
        return sorted({key.id for key in (self._read(), *self._others())})

    def following(self) -> MasterKey | None:
        """The key that a rotation goes to; None where none is under way."""
        configured = self._settings.next_master_key
        if configured is not None:
            key = read_key(configured.get_secret_value(), NEXT_SETTING)
            following = key if key.same_root(self.current) else self.current.followed_by(_raw(key))
            return following if following.id != self._read().id else None
        path = self._folder / NEXT
        return self._opened(path) if path.exists() else None

    def begin(self) -> MasterKey:
        """The key that comes after, made now unless there is one. Raises NextKeyMissing where keys come from a setting."""
        following = self.following()
        if following is not None:
            return following
        if self._settings.master_key is not None:
            raise NextKeyMissing(f"The master key comes from {SETTING}, and {NEXT_SETTING} is not set.")
        made = self._read().followed_by(new_key())
        create_once(self._folder / NEXT, self._closed(made).encode() + b"\n")
        found = self.following()
        assert found is not None
        return found

    def finish(self) -> str:
        """The key that comes after is the one in force; the one before is kept in `retired`, for what was sealed under it
        elsewhere (a backup). Where keys come from a setting, it is the operator who sets it; then what belongs behind it there is
        returned."""
        following = self.following()
        assert following is not None
        if self._settings.master_key is not None:
            return following.written().partition(" ")[2]
        here = self._folder / self._name
        retired = self._folder / RETIRED
        retired.mkdir(mode=0o700, exist_ok=True)
        before = self._opened(here)
        create_once(retired / f"{before.id}.key", here.read_bytes())
        os.replace(self._folder / NEXT, here)
        self._current = following
        return ""

    @property
    def _name(self) -> str:
        return SEALED if self._service is not None else FILE

    def _read(self) -> MasterKey:
        """The key in force, read now."""
        configured = self._settings.master_key
        if configured is not None:
            return read_key(configured.get_secret_value(), SETTING)
        path = self._folder / self._name
        try:
            if not path.exists():
                self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                plain = self._folder / FILE
                text = plain.read_text().strip() if plain.exists() else base64.b64encode(new_key()).decode()
                create_once(path, self._closed(read_key(text, f"keys/{FILE}")).encode() + b"\n")
            return self._opened(path)
        except OSError as error:
            raise MasterKeyUnreadable(f"keys/{self._name}: {type(error).__name__}.") from error

    def _others(self) -> list[MasterKey]:
        following = self.following()
        retired = sorted((self._folder / RETIRED).glob("*.key")) if (self._folder / RETIRED).is_dir() else []
        return [*([following] if following is not None else []), *(self._opened(path) for path in retired)]

    def _closed(self, key: MasterKey) -> str:
        return self._service.seal(key.written()) if self._service is not None else key.written()

    def _opened(self, path: Path) -> MasterKey:
        place = f"keys/{path.relative_to(self._folder)}"
        try:
            if path.stat().st_mode & 0o077:
                raise MasterKeyUnreadable(
                    f"{place} can be read by others.", remedy=f"chmod 600 {place} under WORKA_HOME."
                )
            text = path.read_text()
        except OSError as error:
            raise MasterKeyUnreadable(f"{place}: {type(error).__name__}.") from error
        return read_key(self._service.unseal(text.strip()) if self._service is not None else text, place)


def _raw(key: MasterKey) -> bytes:
    return base64.b64decode(key.written().split()[0])


def key_service(settings: Settings) -> KeyService | None:
    """The key-management service that the settings name; None: keys lie in a file or a setting."""
    if not settings.treasury.transit_url:
        return None
    from worka.treasury.adapters.transit import Transit

    return Transit(settings.treasury, settings.network.gap)


def ensure_keys(settings: Settings) -> MasterKey:
    """The master key in force; the file is made (0600) at the first start. Raises MasterKeyUnreadable."""
    return Ring(settings).current


def known_ring(settings: Settings) -> Ring | None:
    """The keys as they are, without making one; None where there is none yet. Raises MasterKeyUnreadable."""
    folder = Paths(settings.home).keys
    if settings.treasury.master_key is None and not any((folder / name).exists() for name in (FILE, SEALED)):
        return None
    ring = Ring(settings)
    _ = ring.current
    return ring
