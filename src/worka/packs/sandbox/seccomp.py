"""The system-call filter of a pack, assembled by hand: classic BPF for x86_64 and aarch64, loaded by bubblewrap.

A deny list on top of namespaces, no capabilities and a read-only root: it removes the kernel's widest attack surfaces
and everything that could open a door around the network namespace. Sources: seccomp(2), linux/filter.h, linux/audit.h.
"""

from __future__ import annotations

import errno
import platform
import struct

# name -> (x86_64, aarch64); None where the architecture has no such call.
DENIED: dict[str, tuple[int | None, int | None]] = {
    "_sysctl": (156, None),
    "acct": (163, 89),
    "add_key": (248, 217),
    "adjtimex": (159, 171),
    "bpf": (321, 280),
    "chroot": (161, 51),
    "clock_adjtime": (305, 266),
    "clock_settime": (227, 112),
    "delete_module": (176, 106),
    "fanotify_init": (300, 262),
    "finit_module": (313, 273),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fsopen": (430, 430),
    "fspick": (433, 433),
    "init_module": (175, 105),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "io_uring_setup": (425, 425),
    "ioperm": (173, None),
    "iopl": (172, None),
    "kcmp": (312, 272),
    "kexec_file_load": (320, 294),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "lookup_dcookie": (212, 18),
    "migrate_pages": (256, 238),
    "modify_ldt": (154, None),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "move_pages": (279, 239),
    "name_to_handle_at": (303, 264),
    "nfsservctl": (180, 42),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "perf_event_open": (298, 241),
    "pidfd_getfd": (438, 438),
    "pivot_root": (155, 41),
    "process_madvise": (440, 440),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "ptrace": (101, 117),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "reboot": (169, 142),
    "request_key": (249, 218),
    "setdomainname": (171, 162),
    "sethostname": (170, 161),
    "setns": (308, 268),
    "settimeofday": (164, 170),
    "swapoff": (168, 225),
    "swapon": (167, 224),
    "sysfs": (139, None),
    "syslog": (103, 116),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "uselib": (134, None),
    "userfaultfd": (323, 282),
    "ustat": (136, None),
    "vhangup": (153, 58),
}
_CLONE = (56, 220)
_CLONE3 = (435, 435)
_IOCTL = (16, 29)
_SOCKET = (41, 198)

_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
_X32_BIT = 0x40000000
_NEW_NAMESPACES = 0x7E020000 | 0x00000080  # every CLONE_NEW* flag, CLONE_NEWTIME included
_TERMINAL_INJECTION = (0x5412, 0x541C)  # TIOCSTI, TIOCLINUX
# AF_UNIX, AF_INET, AF_INET6, AF_NETLINK. The rest is refused because vsock, for one, knows no network namespace.
_FAMILIES = (1, 2, 10, 16)

_LOAD, _EQ, _GE, _SET, _RET = 0x20, 0x15, 0x35, 0x45, 0x06  # LD|W|ABS, JMP|JEQ, JMP|JGE, JMP|JSET, RET (constants)
_NR, _ARCH, _ARG0, _ARG1 = 0, 4, 16, 24  # offsets in struct seccomp_data; low halves of the arguments (little endian)
_ALLOW = 0x7FFF0000
_KILL = 0x80000000


def _refuse(number: int) -> int:
    return 0x00050000 | number


def _op(code: int, k: int, yes: int = 0, no: int = 0) -> bytes:
    return struct.pack("=HBBI", code, yes, no, k & 0xFFFFFFFF)


def supported(machine: str | None = None) -> bool:
    """Whether there is a filter for this machine."""
    return (machine or platform.machine()) in _ARCHITECTURES


def assemble(machine: str | None = None) -> bytes:
    """The filter as an array of `struct sock_filter`, as bubblewrap's `--seccomp` reads it.

    Raises KeyError for another architecture: without a filter nothing is started.
    """
    column, audit_arch = _ARCHITECTURES[machine or platform.machine()]
    program = [
        _op(_LOAD, _ARCH),
        _op(_EQ, audit_arch, 1, 0),
        _op(_RET, _KILL),  # 32-bit calls have other numbers: no second table to get wrong
        _op(_LOAD, _NR),
    ]
    if column == 0:
        program += [_op(_GE, _X32_BIT, 0, 1), _op(_RET, _refuse(errno.ENOSYS))]
    # glibc falls back to clone when clone3 is missing; its flags sit behind a pointer that a filter cannot read.
    program += [_op(_EQ, _CLONE3[column], 0, 1), _op(_RET, _refuse(errno.ENOSYS))]
    for numbers in DENIED.values():
        number = numbers[column]
        if number is not None:
            program += [_op(_EQ, number, 0, 1), _op(_RET, _refuse(errno.EPERM))]
    program += [
        _op(_EQ, _CLONE[column], 0, 4),
        _op(_LOAD, _ARG0),
        # In clone the low byte is the exit signal, so CLONE_NEWTIME cannot be asked for there.
        _op(_SET, _NEW_NAMESPACES & ~0xFF, 0, 1),
        _op(_RET, _refuse(errno.EPERM)),
        _op(_RET, _ALLOW),
    ]
    program += [_op(_EQ, _IOCTL[column], 0, 2 + 2 * len(_TERMINAL_INJECTION)), _op(_LOAD, _ARG1)]
    for request in _TERMINAL_INJECTION:
        program += [_op(_EQ, request, 0, 1), _op(_RET, _refuse(errno.EPERM))]
    program += [_op(_RET, _ALLOW)]
    program += [_op(_EQ, _SOCKET[column], 0, 2 + len(_FAMILIES)), _op(_LOAD, _ARG0)]
    for left, family in enumerate(_FAMILIES):
        # Jump to the closing "allow", over the families still to be compared and the refusal.
        program += [_op(_EQ, family, len(_FAMILIES) - left, 0)]
    program += [_op(_RET, _refuse(errno.EAFNOSUPPORT)), _op(_RET, _ALLOW)]
    return b"".join(program)


# The same rules in the words of libseccomp, as an OCI runtime is told them.
def rules(machine: str | None = None) -> dict[str, object]:
    """The filter as `linux.seccomp` of an OCI configuration. Arguments are compared by the half that the kernel looks at.

    Raises KeyError for another architecture."""
    column, _ = _ARCHITECTURES[machine or platform.machine()]
    refused = sorted(name for name, numbers in DENIED.items() if numbers[column] is not None)
    bits = [1 << bit for bit in range(8, 32) if _NEW_NAMESPACES >> bit & 1]
    families = [family for family in range(max(_FAMILIES)) if family not in _FAMILIES]
    return {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64" if column == 0 else "SCMP_ARCH_AARCH64"],
        "syscalls": [
            _rule(refused, errno.EPERM),
            _rule(["clone3"], errno.ENOSYS),
            *(_rule(["clone"], errno.EPERM, 0, "SCMP_CMP_MASKED_EQ", bit, bit) for bit in bits),
            *(
                _rule(["ioctl"], errno.EPERM, 1, "SCMP_CMP_MASKED_EQ", 0xFFFFFFFF, request)
                for request in _TERMINAL_INJECTION
            ),
            *(
                _rule(["socket"], errno.EAFNOSUPPORT, 0, "SCMP_CMP_MASKED_EQ", 0xFFFFFFFF, family)
                for family in families
            ),
            _rule(["socket"], errno.EAFNOSUPPORT, 0, "SCMP_CMP_GT", max(_FAMILIES), 0),
        ],
    }


def _rule(
    names: list[str], number: int, index: int = 0, op: str = "", value: int = 0, two: int = 0
) -> dict[str, object]:
    args = [{"index": index, "value": value, "valueTwo": two, "op": op}] if op else []
    return {"names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": number, "args": args}
