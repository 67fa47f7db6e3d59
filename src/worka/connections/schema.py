"""API shapes of connections."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class CreateConnection(BaseModel):
    """Body of POST /v1/workspaces/{workspace_id}/connections."""

    model_config = ConfigDict(extra="forbid")
    provider: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$", description="what packs ask for in their manifest")
    name: str = Field(min_length=1, max_length=100)
    host: str = Field(max_length=253, description="the one host the credential may be used on")
    port: int = Field(443, ge=1, le=65535)
    access: str = Field(min_length=1, max_length=300, description="what it is allowed to do there, in words")
    why: str = Field(min_length=1, max_length=500, description="why the workspace needs it")
    secret_id: str | None = Field(None, max_length=60)
    metadata: dict[str, str] = Field(default_factory=dict, max_length=20)


class RemoveConnection(BaseModel):
    """Body of DELETE /v1/connections/{connection_id}."""

    model_config = ConfigDict(extra="forbid")
    reason: str = Field("", max_length=500)
