"""Problems of views.

Problem
├── NotFound: ViewNotFound, RevisionNotFound
└── Invalid: DocumentInvalid
"""

from __future__ import annotations

from worka.kernel import errors


class ViewNotFound(errors.NotFound):
    code, title = "view_not_found", "There is no such view here"
    default_remedy = "List them with `worka view list`."


class RevisionNotFound(errors.NotFound):
    code, title = "view_revision_not_found", "The view has no such revision"
    default_remedy = "Leave `revision` out for the newest one; the view names how many there are."


class DocumentInvalid(errors.Invalid):
    code, title = "view_document_invalid", "The document cannot be kept"
    default_remedy = "Shorten it, or publish it as several views."
