"""Views: what a workspace shows. In this version a *document view*: a named document with numbered revisions.

Every revision is written through one governed use case, `publish`, and leaves an audit entry. The text of a document
comes from packs and outside systems: it is kept as untrusted data (never as markup of ours), and whoever draws it
escapes it. This domain never fetches anything and never decides what may be published (`ctx.require` does).
"""
