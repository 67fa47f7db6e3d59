"""Publishing: a release's artifact goes to a destination that policy allows, once somebody agreed, and is then listed.

Asked for, approved, carried, listed: each is a committed state, and a failure is one too, which is tried again by itself. The
same artifact put twice is one, so a publication is safe to run twice and after a crash.
"""

from worka.packs.registry.service.publishing.asking import approval_decided, approval_locking, publish
from worka.packs.registry.service.publishing.carrying import retry, run_publication
from worka.packs.registry.service.publishing.records import get, listing
from worka.packs.registry.service.publishing.signatures import carry_due
from worka.packs.registry.service.publishing.withdrawing import withdraw

__all__ = [
    "approval_decided",
    "approval_locking",
    "carry_due",
    "get",
    "listing",
    "publish",
    "retry",
    "run_publication",
    "withdraw",
]
