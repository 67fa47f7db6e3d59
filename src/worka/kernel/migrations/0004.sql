-- How long workers have worked on a task, counted by their steady clocks: a clock that is set forth uses up no task's time.
alter table worka.task add column ran_seconds double precision not null default 0;
