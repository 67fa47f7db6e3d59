"""HTTP for workflows and tasks."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Query

from worka.kernel.context import Context
from worka.kernel.explanation import Explanation
from worka.kernel.http import Items, Page, Revision, context, gives, routes
from worka.workflows import service
from worka.workflows.answers import ListedTask, SavedWorkflow, Task, Workflow, WorkflowVersion
from worka.workflows.explain import explain
from worka.workflows.schema import CancelTask, CreateTask, ResolveTask, SaveWorkflow

router = routes(tags=["workflows"])
Ctx = Annotated[Context, Depends(context)]


@router.post("/v1/workspaces/{workspace_id}/workflows", **gives(SavedWorkflow, 201))
async def save_workflow(workspace_id: str, body: SaveWorkflow, ctx: Ctx) -> dict[str, Any]:
    """Saves the next version of a workflow definition (the same document again is the same version)."""
    return await service.save_definition(ctx, body.definition)


@router.get("/v1/workspaces/{workspace_id}/workflows", **gives(Items[WorkflowVersion]))
async def list_workflows(workspace_id: str, ctx: Ctx, page: Annotated[Page, Depends()]) -> dict[str, Any]:
    """Versions of workflow definitions, newest first."""
    return page.answer(await service.definitions(ctx, page.id, page.limit), "id")


@router.get("/v1/workspaces/{workspace_id}/workflows/{name}", **gives(Workflow))
async def get_workflow(workspace_id: str, name: str, ctx: Ctx, version: Revision = None) -> dict[str, Any]:
    """One version of a workflow definition, the newest by default."""
    return await service.definition(ctx, name, version)


@router.post("/v1/workspaces/{workspace_id}/tasks", **gives(Task, 201))
async def create_task(workspace_id: str, body: CreateTask, ctx: Ctx) -> dict[str, Any]:
    """Starts a task. Send an Idempotency-Key: the same key is the same task."""
    return await service.create(
        ctx, workflow=body.workflow, version=body.version, inputs=body.inputs, member_id=body.member_id
    )


@router.get("/v1/workspaces/{workspace_id}/tasks", **gives(Items[ListedTask]))
async def list_tasks(
    workspace_id: str, ctx: Ctx, page: Annotated[Page, Depends()], state: Annotated[list[str] | None, Query()] = None
) -> dict[str, Any]:
    """Tasks of the workspace, newest first, each with what it waits for."""
    return page.answer(await service.listing(ctx, page.id, page.limit, state), "id")


@router.get("/v1/tasks/{task_id}", **gives(Task))
async def get_task(task_id: str, ctx: Ctx) -> dict[str, Any]:
    """A task with its steps, waits, receipts and links."""
    return await service.get(ctx, task_id)


@router.get("/v1/tasks/{task_id}/why")
async def why_task(task_id: str, ctx: Ctx) -> Explanation:
    """Why this task is as it is."""
    return await explain(ctx, task_id)


@router.post("/v1/tasks/{task_id}/cancel", **gives(Task))
async def cancel_task(task_id: str, ctx: Ctx, body: CancelTask | None = None) -> dict[str, Any]:
    """Ends a task that is not finished."""
    return await service.cancel(ctx, task_id, body.reason if body else "")


@router.post("/v1/tasks/{task_id}/resolve", **gives(Task))
async def resolve_task(task_id: str, body: ResolveTask, ctx: Ctx) -> dict[str, Any]:
    """Says what became of a step whose outcome nobody recorded."""
    return await service.resolve(ctx, task_id, body.outcome, body.note)
