"""The HTTP door: builds the Context of every request, mounts every domain's routes, answers problems as problem+json.

It owns no rule: authentication is identity's, membership is workspaces', permission is `ctx.require`'s.
"""
