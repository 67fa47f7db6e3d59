-- `committed`: the change of the request is committed, its answer is not kept (yet). Its body names what was changed.
alter table worka.idempotency drop constraint idempotency_state_check;
alter table worka.idempotency add constraint idempotency_state_check check (state in ('in_flight', 'committed', 'done'));
