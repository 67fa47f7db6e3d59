"""Why a publication, a signature or an artifact is as it is: every reason code of the registry."""

from __future__ import annotations

from worka.kernel.reasons import Reason, register

_OF = "`worka registry why pub_…`: the destination, the error, who must act."
_SIGNED = "`worka registry show REL_ID`: the signatures and what the trust root in force says of them."


def _pub(code: str, meaning: str, causes: str, remedy: str, layer: str = "publication") -> Reason:
    return Reason(code, "packs", layer, meaning, causes, _OF, remedy)


def _signature(code: str, meaning: str, causes: str, remedy: str) -> Reason:
    return Reason(code, "packs", "publication", meaning, causes, _SIGNED, remedy)


REASONS = (
    _pub("publication_waiting", "The publication is about to begin.", "It was asked for, or approved, just now.",
         "Wait; if it stays, see that the worker runs (`worka doctor`)."),
    _pub("publication_under_way", "The artifact is being checked and carried to its destination.",
         "A worker took it up.",
         "Wait; if it stays, see that the worker and the broker run (`worka doctor`); after 15 minutes it can be retried."),
    _pub("publication_done", "The artifact lies at its destination, was read back, and is listed.",
         "Every part was taken, and what came back has the same digest.", "Nothing to do."),
    _pub("publication_rejected", "Who was asked said no, or did not say anything in time.",
         "An approver rejected it, it was withdrawn, or it expired.", "Ask again when what they objected to has changed."),
    _pub("publication_superseded", "The publication that was approved is not what would happen now.",
         "The release, its artifact or policy changed since it was asked for, or who may have the release was decided by a"
         " publication that was asked for later.", "Ask for it again."),
    _pub("publication_not_allowed", "Policy does not let it be published there, or so widely, any more.",
         "The policy of the registry was tightened after it was asked for, or whoever asked lost the right, or a kill switch"
         " holds.",
         "Publish to a destination that policy names (`worka registry policy show`), or have policy changed."),
    _pub("publication_withdrawn", "The release was withdrawn from the marketplace after the publication was asked for.",
         "Somebody withdrew it while the publication waited, was under way, or stood failed.",
         "If it is to be listed after all, ask for it again: that is another publication."),
    _pub("publication_lost", "The publication was not carried to its end.",
         "Its worker died and nobody took it up again, or it met something that no other reason names.",
         "See that the worker and the broker run (`worka doctor`); then retry.", "platform"),
    _pub("release_not_publishable", "The release was revoked, quarantined or failed meanwhile.",
         "Somebody took it away after the publication was asked for.", "Publish another release."),
    _pub("artifact_damaged", "The artifact on this machine is not what its digest says.",
         "A file of the layout was lost or changed on the disk.",
         "Restore objects/oci from a backup, or register the same release again; then retry.", "platform"),
    _pub("registry_unreachable", "The registry could not be reached, or the way there is refused.",
         "Its name, its port, its certificate, a kill switch, or a private address without a network exception.",
         "Read the error; for a registry inside, an operator records a network exception. Then retry.", "upstream"),
    _pub("registry_answered_late", "The registry did not answer in time.", "It is slow, or drips its answer.",
         "Retry when it is well again.", "upstream"),
    _pub("registry_refused", "The registry answered that it will not.",
         "A missing or wrong credential, no right to push, a full or read-only registry.",
         "Read the status in the error; correct the destination's credential; then retry.", "upstream"),
    _pub("registry_redirected", "The registry sent us to a host that its destination does not name.",
         "It keeps its blobs at another host, or means to have us call an inside address.",
         "If that host is to be trusted, name it: `worka registry destination add … --blobs HOST:PORT`, after taking the"
         " destination away. Uploads, manifests and tokens are never followed elsewhere.", "upstream"),
    _pub("registry_wants_token", "The registry wants a token from a service that its destination does not name, or none came.",
         "It has its tokens given out by another server, or names another one, or another registry, than it did.",
         "If that service is to be trusted with the credential, name it: `worka registry destination add … --token-service"
         " URL`, after taking the destination away.", "upstream"),
    _pub("registry_lied", "What the registry gave is not what was asked for.",
         "Its content does not have the digest that names it: a broken cache, or a registry that cannot be trusted.",
         "Do not use what came. Have its operator look; then retry.", "upstream"),
    _signature("signature_trusted", "Enough keys vouch that the operator trusts for this publisher.",
               "The release was signed, and the trust root names the keys.", "Nothing to do."),
    _signature("signature_missing", "Nobody signed the release.", "It was registered and not signed.",
               "Sign it with `worka pack sign`, and have the operator trust the key."),
    _signature("signature_invalid", "No signature by a trusted key of this publisher holds.",
               "Another key signed, the key was rotated away, or the envelope was changed.",
               "Sign it with a key of the publisher that the trust root names."),
    _signature("signature_of_another", "The signature that holds is about another artifact.",
               "An envelope of another release was handed in.", "Sign this release."),
    _signature("signature_below_threshold", "Fewer keys vouch than the operator wants for this publisher.",
               "Not everybody who must sign has signed.", "Have the other keys of the publisher sign too."),
    _signature("publisher_not_trusted", "The operator's trust root names no key for this publisher.",
               "The publisher is new to this deployment.", "Have the operator add its keys: `worka registry root set`."),
    _signature("root_missing", "The operator has set no trust root.", "A new deployment.",
               "The operator makes one: `worka registry root new`, `sign`, `set`."),
    _signature("root_expired", "The operator's trust root has expired; it vouches for nobody.",
               "No newer version was set in time.", "The operator sets the next version: `worka registry root set`."),
)  # fmt: skip
register(*REASONS)
