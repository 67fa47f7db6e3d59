"""What can be asked for in workflows."""

from __future__ import annotations

from worka.kernel.actions import Action, register

CANCEL = Action("task.cancel", "change", "task", "End a task that is not finished.")
CREATE = Action("task.create", "change", "workflow", "Start a task from a workflow definition.")
RESOLVE = Action("task.resolve", "change", "task", "Say what became of a step whose outcome is unknown.")
SAVE = Action("workflow.save", "change", "workflow", "Save a version of a workflow definition.")
TASK_VIEW = Action("task.view", "view", "task", "Read a task, its steps, its waits and its explanation.", records=False)
WORKFLOW_VIEW = Action("workflow.view", "view", "workflow", "Read workflow definitions.", records=False)

register(CANCEL, CREATE, RESOLVE, SAVE, TASK_VIEW, WORKFLOW_VIEW)
