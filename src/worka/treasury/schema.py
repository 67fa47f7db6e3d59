"""API shapes of the treasury. A value is only ever taken, never given."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, SecretStr

NAME = r"^[a-z0-9][a-z0-9._-]{0,62}$"


class CreateSecret(BaseModel):
    """Body of POST /v1/workspaces/{workspace_id}/secrets."""

    model_config = ConfigDict(extra="forbid")
    name: str = Field(pattern=NAME)
    purpose: str = Field(min_length=1, max_length=300)
    kind: str = Field("api_token", pattern=r"^[a-z_]{1,40}$")
    value: SecretStr = Field(min_length=8, max_length=16_384, description="kept sealed; no route gives it back")


class RotateSecret(BaseModel):
    """Body of POST /v1/secrets/{secret_id}/rotate."""

    model_config = ConfigDict(extra="forbid")
    value: SecretStr = Field(min_length=8, max_length=16_384)


class CreateGrant(BaseModel):
    """Body of POST /v1/secrets/{secret_id}/grants."""

    model_config = ConfigDict(extra="forbid")
    grantee_id: str = Field(description="the attachment", max_length=60)
    endpoint: str = Field(pattern=r"^[A-Za-z0-9.-]{1,253}:[0-9]{1,5}$", description="host:port")
