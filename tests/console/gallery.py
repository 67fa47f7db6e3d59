"""The screenshots of docs/screenshots: every page in the state that says most about it. `make screenshots` renews them."""

from __future__ import annotations

from typing import Final

_SIX: Final = ("attention", "task", "approval", "invocation", "changes", "view")
PAGES: Final = frozenset(
    {f"{name}-light-1280" for name in _SIX}
    | {f"{name}-dark-1280" for name in ("attention", "task", "approval", "invocation")}
    | {f"{name}-light-390" for name in ("attention", "task", "invocation", "changes")}
    | {f"{name}-loading-light-1280" for name in ("attention",)}
    | {f"{name}-empty-light-1280" for name in ("attention", "tasks")}
    | {f"{name}-stale-light-1280" for name in ("attention", "task")}
    | {f"{name}-failed-dark-1280" for name in ("attention",)}
    | {"withdraw-light-390"}
    | {"palette-light-1280", "palette-dark-390", "new-rows-light-1280", "sign-in-link", "approval-confirm"}
)
