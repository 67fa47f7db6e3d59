"""The launcher: `python -m worka.packs.sandbox.launcher`, the only process that keeps root. One verb: start a pack.

`run/launcher.sock` is SOCK_SEQPACKET, one connection per session. The host sends one JSON message with three
descriptors (stdin, stdout, stderr) and gets `{"started": pid, "isolation": {…}}`, then `{"exited", "signal", "oom",
"set_up"}`; or `{"refused": reason, "message", "remedy"}`. Closing the connection kills everything the session started.
`{"op": "check"}` answers with what isolation is in force here. Single-threaded on purpose: it forks.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import select
import selectors
import shutil
import signal
import socket
import struct
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from worka.kernel import memory
from worka.packs.sandbox import etc, gvisor, oci, seccomp, spares, status, tiers
from worka.packs.sandbox.cgroups import Cgroups, Group
from worka.packs.sandbox.namespaces import StepFailed
from worka.packs.sandbox.spares import Box, Spare
from worka.packs.sandbox.spec import Allowed, LaunchSpec, SpecRefused, read, usr_merge

MAX_MESSAGE = 256 * 1024
# MiB and processes that each driver takes of the group itself; of bubblewrap its outer process and its pid 1.
OWN = {
    tiers.FILTERED: (0, 2),
    tiers.KERNEL: (gvisor.OWN_MEMORY, gvisor.OWN_PROCESSES),
    tiers.CONTAINER: (oci.OWN_MEMORY, oci.OWN_PROCESSES),
}
# Ready before they are asked for. More would only help several starts within a few milliseconds.
SPARES = 2
_BURY_SECONDS = 0.05
_INSTALL = "apt-get install -y bubblewrap"
_KERNEL = "apt-get install -y runsc"
_CONTAINER = "apt-get install -y runc"
WEAK = "isolation_too_weak"
# Of the host's kernel, by driver. gVisor's own kernel numbers processes and shows no group; its platform cannot be in a pid
# namespace of its own.
NAMESPACES = {
    tiers.FILTERED: ["user", "pid", "network", "mount", "ipc", "uts", "cgroup"],
    tiers.KERNEL: ["user", "network", "mount", "ipc", "uts"],
    tiers.CONTAINER: ["user", "pid", "network", "mount", "ipc", "uts", "cgroup"],
}


@dataclass(eq=False)
class Session:
    """One connection of the host and what was started for it."""

    conn: socket.socket
    pid: int = 0
    pidfd: int = -1
    status: int = -1
    group: Group | None = None
    spec: LaunchSpec | None = None
    said: bytes = b""
    started: bool = False
    killed: bool = False
    driver: str = tiers.FILTERED


@dataclass
class Remains:
    """A process that was killed but is not reaped (0: it is), and a group that still has somebody in it."""

    pid: int
    group: Group | None
    until: float


class Launcher:
    """Owns every sandbox of one home. `serve` runs until SIGTERM."""

    def __init__(self, allowed: Allowed, socket_path: Path, net_socket: Path, *, peer_uid: int) -> None:
        self.allowed = allowed
        self.socket_path = socket_path
        self.net_socket = net_socket
        self.peer_uid = peer_uid
        self.cgroups = Cgroups()
        self.cgroups.sweep()
        self.box = Box(
            bwrap=shutil.which("bwrap", path="/usr/bin:/bin:/usr/local/bin:/usr/sbin:/sbin") or "",
            etc=etc.make(allowed.home),
            filter_program=seccomp.assemble() if seccomp.supported() else b"",
            separate_uid=os.geteuid() == 0,
            runsc=shutil.which("runsc", path="/usr/bin:/bin:/usr/local/bin:/usr/sbin:/sbin") or "",
            runc=shutil.which(oci.PROGRAM, path="/usr/bin:/bin:/usr/local/bin:/usr/sbin:/sbin") or "",
        )
        self.selector = selectors.DefaultSelector()
        self.sessions: set[Session] = set()
        self.dying: list[Remains] = []
        self.spares: list[Spare] = []
        self.refill = True
        self.counter = 0
        self.buried = 0.0
        self.stopping = False

    def isolation(self, driver: str = tiers.FILTERED) -> dict[str, Any]:
        """What is in force for every pack that this driver starts here."""
        installed = {
            tiers.FILTERED: self.box.bwrap, tiers.KERNEL: self.box.runsc, tiers.CONTAINER: self.box.runc
        }[driver]  # fmt: skip
        found = {
            "driver": driver if installed else "none",
            "cgroup": self.cgroups.describe,
            "uid_separated": self.box.separate_uid,
            # Ours lies over the pack itself; gVisor lays its own over the process that is the pack's kernel.
            "seccomp": bool(installed) if driver == tiers.KERNEL else bool(self.box.filter_program),
            "filter": "gvisor" if driver == tiers.KERNEL else "worka",
            "namespaces": NAMESPACES[driver],
            "kernel": "gvisor" if driver == tiers.KERNEL else "host",
        }
        return {**found, "tier": tiers.tier_of(found)}

    @property
    def tiers(self) -> list[str]:
        """The tiers that can be had here, the strongest first."""
        best = [self.isolation(driver)["tier"] for driver in (tiers.KERNEL, tiers.FILTERED)]
        return [tier for tier in tiers.TIERS if any(tiers.meets(found, tier) for found in best)]

    def serve(self) -> None:
        """Listens until told to stop; then kills what is left and returns."""
        with contextlib.suppress(FileNotFoundError):
            self.socket_path.unlink()
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # The name appears once it is served, and by whom it may be.
        beside = self.socket_path.with_name(f"{self.socket_path.name}~")
        beside.unlink(missing_ok=True)
        listener.bind(str(beside))
        os.chmod(beside, 0o600)
        if self.box.separate_uid:
            os.chown(beside, self.peer_uid, -1)
        listener.listen(128)
        beside.rename(self.socket_path)
        listener.setblocking(False)
        wake_read, wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        self._watch(wake_read, lambda: os.read(wake_read, 512))
        usr_merge()  # read once, here and not in every child
        # What is here stays: a child that touches no reference counts of it copies no page of it.
        gc.collect()
        gc.freeze()
        self._watch(listener, lambda: self._accept(listener))
        try:
            while not self.stopping:
                short = self.refill and len(self.spares) < SPARES
                events = self.selector.select(0 if short else 0.01 if self.dying else None)
                for key, _ in events:
                    self._act(key.data)
                # What nobody waits for comes when there is nothing else to do, but not never.
                if not events or time.monotonic() > self.buried + _BURY_SECONDS:
                    self._bury()
                if short and not events:
                    self._prepare()
        finally:
            listener.close()
            for spare in list(self.spares):
                self._dismiss(spare)
            for session in list(self.sessions):
                self._kill(session)
            self._drain()
            with contextlib.suppress(OSError):
                self.socket_path.unlink()

    def _stop(self, _number: int, _frame: Any) -> None:
        self.stopping = True

    def _watch(self, what: Any, act: Callable[[], Any], session: Session | None = None) -> None:
        self.selector.register(what, selectors.EVENT_READ, (act, session))

    def _act(self, watched: tuple[Callable[[], Any], Session | None]) -> None:
        """One event. A surprise ends the session it is about; the others must not lose their launcher to it."""
        act, session = watched
        if session is not None and session not in self.sessions:
            # Closed by an earlier event of the same round: its pid and descriptors are not its own any more.
            return
        try:
            act()
        except Exception:
            if session is None:
                raise
            traceback.print_exc()
            self._close(session)

    def _unwatch(self, what: Any) -> None:
        with contextlib.suppress(KeyError, ValueError):
            self.selector.unregister(what)

    def _accept(self, listener: socket.socket) -> None:
        try:
            conn, _ = listener.accept()
        except OSError:
            return
        _pid, uid, _gid = struct.unpack("3i", conn.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        if uid != self.peer_uid:
            conn.close()
            return
        conn.setblocking(False)
        session = Session(conn)
        self.sessions.add(session)
        self._watch(conn, lambda: self._heard(session), session)

    def _heard(self, session: Session) -> None:
        """The first message starts a pack; after it, silence is all that is expected, and the end means the end."""
        descriptors: list[int] = []
        try:
            message, descriptors, flags, _ = socket.recv_fds(session.conn, MAX_MESSAGE, 8)
        except BlockingIOError:
            return
        except OSError:
            message, flags = b"", 0
        try:
            if not message or session.spec is not None or session.pid:
                if not message:
                    self._close(session)
                return
            if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
                raise SpecRefused("the request is too long")
            try:
                asked = json.loads(message)
            except ValueError as error:
                raise SpecRefused("the request is not JSON") from error
            if isinstance(asked, dict) and asked.get("op") == "check":
                running = sum(1 for other in self.sessions if other.pid)
                told = {"tiers": self.tiers, "sessions": running, "refused": self.cgroups.refused}
                self._tell(session, self.isolation() | told)
                return
            if len(descriptors) != 3:
                raise SpecRefused("three descriptors are needed: stdin, stdout, stderr")
            self._start(session, read(asked, self.allowed), descriptors)
        except SpecRefused as error:
            self._refuse(session, "spec_refused", f"The launcher refuses this: {error}.", "")
        except StepFailed as error:
            self._refuse(session, error.reason, error.message, error.remedy)
        except OSError as error:
            self._refuse(session, "sandbox_unavailable", f"The sandbox could not be made: {error}.", "worka doctor")
        finally:
            for fd in descriptors:
                os.close(fd)

    def _start(self, session: Session, spec: LaunchSpec, standard: list[int]) -> None:
        if not self.box.bwrap:
            raise StepFailed("bubblewrap is not installed, and nothing is started without it.", _INSTALL)
        if not self.box.filter_program:
            raise StepFailed(f"There is no system-call filter for {os.uname().machine}.", "Use x86_64 or aarch64.")
        session.spec = spec
        strong = spec.isolation == tiers.TIERS[0]
        container = not strong and spec.runtime == tiers.RUNTIMES[1]
        session.driver = tiers.KERNEL if strong else tiers.CONTAINER if container else tiers.FILTERED
        if container and not self.box.runc:
            raise StepFailed(
                "Packs are to be started by a container engine, and its runc is not installed.", _CONTAINER
            )
        # Without a group nothing would take the container along with its runtime.
        self._isolated_enough(replace(spec, isolation=tiers.TIERS[1]) if container else spec, session.driver)
        own_memory, own_processes = OWN[session.driver]
        broker = self._broker() if spec.network else None
        status_read = status_write = -1
        spare = self._spare()
        try:
            self.cgroups.limit(
                spare.group,
                memory_mb=spec.limits.memory_mb + own_memory,
                processes=spec.limits.processes + own_processes,
                cpus=spec.limits.cpus,
            )
            status_read, status_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
            os.set_blocking(status_write, True)
            spare.hand_over(spec, standard, status_write, broker)
            session.pid, session.pidfd, session.group = spare.pid, spare.pidfd, spare.group
            session.status, status_read = status_read, -1
            # First this one gets the processor.
            self.refill = False
        except BaseException:
            self._dismiss(spare)
            raise
        finally:
            if broker is not None:
                broker.close()
            for fd in (status_read, status_write):
                if fd >= 0:
                    os.close(fd)
        self._watch(session.status, lambda: self._status(session), session)
        self._watch(session.pidfd, lambda: self._ended(session), session)

    def _isolated_enough(self, spec: LaunchSpec, driver: str) -> None:
        """Refuses before anything is started: what was asked for is in force, or nothing runs. Raises StepFailed."""
        found = self.isolation(driver)
        if tiers.meets(found["tier"], spec.isolation):
            return
        if driver == tiers.KERNEL and not self.box.runsc:
            raise StepFailed("A kernel of its own is required, and gVisor's runsc is not installed.", _KERNEL, WEAK)
        lacks = [] if found["uid_separated"] else ["a uid of its own (the launcher does not run as root)"]
        missing = [name for name in tiers.CONTROLLERS if name not in found["cgroup"].partition(":")[2].split(",")]
        lacks += [f"the control group {name}" for name in missing]
        raise StepFailed(
            f"The isolation {spec.isolation} is required, and here it lacks {' and '.join(lacks)}.",
            "worka doctor",
            WEAK,
        )

    def _spare(self) -> Spare:
        """One that lives: made beforehand, or now."""
        while self.spares:
            spare = self.spares.pop(0)
            self._unwatch(spare.pidfd)
            if not select.select([spare.pidfd], [], [], 0)[0]:
                return spare
            self._dismiss(spare)
        return self._fork()

    def _fork(self) -> Spare:
        self.counter += 1
        group = self.cgroups.make(f"{os.getpid()}-{self.counter}")
        try:
            return spares.make(self.box, group)
        except BaseException:
            group.remove()
            raise

    def _prepare(self) -> None:
        """One more spare. Where none can be made, the next start says why."""
        try:
            spare = self._fork()
        except OSError:
            self.refill = False
            return
        self.spares.append(spare)
        self._watch(spare.pidfd, lambda: self._dismiss(spare) if spare in self.spares else None)

    def _dismiss(self, spare: Spare) -> None:
        if spare in self.spares:
            self.spares.remove(spare)
            self._unwatch(spare.pidfd)
            # What ended by itself may do so again: the next start looks further.
            self.refill = False
        spare.conn.close()
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(spare.pidfd, signal.SIGKILL)
        os.close(spare.pidfd)
        self.dying.append(Remains(spare.pid, spare.group, time.monotonic() + 30))

    def _broker(self) -> socket.socket:
        """Connected before the fork, as this process: the pack's uid never needs to reach the socket."""
        conn = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            conn.settimeout(1)
            conn.connect(str(self.net_socket))
        except OSError as error:
            conn.close()
            raise StepFailed(f"The broker does not answer: {error}.", "worka doctor", "broker_unavailable") from error
        return conn

    def _status(self, session: Session) -> None:
        """Lines of the child: our failure, or bubblewrap's own `child-pid` and `exit-code` (see bwrap(1))."""
        try:
            chunk = os.read(session.status, 4096)
        except BlockingIOError:
            return
        except OSError:
            chunk = b""
        if not chunk:
            self._unwatch(session.status)
            self._begun(session)
            return
        session.said = (session.said + chunk)[-16_384:]
        # gVisor's runtime cannot say that it is there: this pipe's end does, and a failure comes before it.
        if session.driver != tiers.KERNEL:
            self._begun(session)

    def _begun(self, session: Session) -> None:
        """Tells the start, once, if the child has said that there was one and no failure came after it."""
        if session.started or b'"child-pid"' not in session.said or status.failure(session.said) is not None:
            return
        session.started = True
        assert session.spec is not None
        limits = session.spec.limits.as_dict()
        uid = session.spec.uid if self.box.separate_uid else os.geteuid()
        own = {"limits": limits, "uid": uid, "network": "broker" if session.spec.network else "none"}
        self._tell(session, {"started": session.pid, "isolation": self.isolation(session.driver) | own})
        # The rest is read at the end: bubblewrap writes word by word, and each would wake this process.
        self._unwatch(session.status)
        self.refill = True

    def _ended(self, session: Session) -> None:
        self._unwatch(session.pidfd)
        with contextlib.suppress(BlockingIOError, OSError):
            while chunk := os.read(session.status, 4096):
                session.said = (session.said + chunk)[-16_384:]
        _, code = os.waitpid(session.pid, 0)
        oom = session.group.out_of_memory() if session.group else False
        session.pid = 0
        failure = status.failure(session.said)
        if failure is not None:
            self._refuse(session, failure["failed"], str(failure.get("message")), str(failure.get("remedy")))
            return
        if session.driver == tiers.KERNEL:
            self._begun(session)  # the end may be seen before the pipe's
        killed = session.killed or oom
        told = status.ending(code, session.said, started=session.started, killed=killed, driver=session.driver)
        self._tell(session, told | {"oom": oom})
        self._close(session)

    def _refuse(self, session: Session, reason: str, message: str, remedy: str) -> None:
        self._tell(session, {"refused": reason, "message": message, "remedy": remedy})
        self._close(session)

    def _tell(self, session: Session, what: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):
            session.conn.send(json.dumps(what).encode())

    def _kill(self, session: Session) -> None:
        session.killed = True
        if session.pidfd >= 0 and session.pid:
            # By descriptor: a pid could have been given to somebody else.
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(session.pidfd, signal.SIGKILL)
        if session.group is not None:
            session.group.kill()

    def _close(self, session: Session) -> None:
        """Ends the session: kills the group, reaps, gives every descriptor back."""
        if session not in self.sessions:
            return
        self._kill(session)
        self.sessions.discard(session)
        self.refill = True
        for fd in (session.status, session.pidfd):
            if fd >= 0:
                self._unwatch(fd)
                os.close(fd)
        session.status = session.pidfd = -1
        self._unwatch(session.conn)
        session.conn.close()
        self.dying.append(Remains(session.pid, session.group, time.monotonic() + 30))
        session.pid = 0

    def _bury(self) -> None:
        """Reaps what was killed and removes its group, without waiting: the kernel may take its time with a big one."""
        left = []
        self.buried = time.monotonic()
        for remains in self.dying:
            if remains.pid and os.waitpid(remains.pid, os.WNOHANG)[0]:
                remains.pid = 0
            if remains.group is not None:
                remains.group.kill()
                if remains.group.remove():
                    remains.group = None
            if remains.pid or (remains.group is not None and time.monotonic() < remains.until):
                left.append(remains)
        self.dying = left

    def _drain(self) -> None:
        for session in list(self.sessions):
            self._close(session)
        until = time.monotonic() + 3
        while self.dying and time.monotonic() < until:
            self._bury()
            time.sleep(0.01)


def main(arguments: list[str] | None = None) -> int:
    """`--home`, `--uid` (who may ask), `--uid-base`, `--mount-root` (more folders that may be bound)."""
    memory.no_core_dumps()
    parser = argparse.ArgumentParser(prog="worka.packs.sandbox.launcher", description=__doc__)
    parser.add_argument(
        "--home", type=Path, default=os.environ.get("WORKA_HOME"), required="WORKA_HOME" not in os.environ
    )
    parser.add_argument("--uid", type=int, default=os.geteuid(), help="the only uid that may ask")
    parser.add_argument("--uid-base", type=int, default=int(os.environ.get("WORKA_PACKS__UID_BASE") or 200_000))
    parser.add_argument("--mount-root", type=Path, action="append", default=[])
    options = parser.parse_args(arguments)
    home = Path(os.path.realpath(options.home))
    run = home / "run"
    run.mkdir(parents=True, exist_ok=True)
    prefix = Path(os.path.realpath(sys.base_prefix))
    runtime = (prefix,) if prefix != Path("/usr") and len(prefix.parts) > 2 else ()
    allowed = Allowed(home, options.uid_base, tuple(options.mount_root), runtime)
    launcher = Launcher(allowed, run / "launcher.sock", run / "broker-net.sock", peer_uid=options.uid)
    launcher.serve()
    return 0


if __name__ == "__main__":
    sys.exit(main())
