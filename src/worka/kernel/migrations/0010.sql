-- Decisions are listed by workspace, newest first; and some are answers to a question, not to an attempt.
alter table worka.decision add column asked_by text;   -- who asked; null: the principal itself tried it
create index decision_listed on worka.decision (tenant_id, workspace_id, id);
