-- Sign-in: tries are counted here, so that the limit holds over all processes, and places from which somebody signed in
-- well are remembered, so that strangers who guess elsewhere do not lock them out. Keys are keyed hashes: no address.
create table worka.sign_in_try (
  key bytea primary key,
  began timestamptz not null,
  tries integer not null
);
create index on worka.sign_in_try (began);
create table worka.sign_in_place (
  key bytea primary key,
  at timestamptz not null
);
create index on worka.sign_in_place (at);
-- Counts a try; 0, or the seconds until the next may be made. The window begins with the first try in it.
create function worka.sign_in_take(what bytea, most integer, span interval) returns double precision
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  r record;
begin
  delete from worka.sign_in_try where key in (select key from worka.sign_in_try where began < now() - interval '1 day' limit 50);
  insert into worka.sign_in_try as t (key, began, tries) values (what, clock_timestamp(), 1)
  on conflict (key) do update set
    tries = case when t.began < clock_timestamp() - span then 1 else t.tries + 1 end,
    began = case when t.began < clock_timestamp() - span then clock_timestamp() else t.began end
  returning t.began, t.tries into r;
  if r.tries <= most then
    return 0;
  end if;
  return greatest(extract(epoch from r.began + span - clock_timestamp()), 0.001);
end $$;
create function worka.sign_in_known(place bytea) returns boolean
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select exists (select 1 from worka.sign_in_place where key = place and at > now() - interval '30 days')
$$;
-- Only failures use the limits up: what a success took is given back.
create function worka.sign_in_went_well(what bytea, place bytea, shared bytea[]) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  delete from worka.sign_in_try where key = what;
  update worka.sign_in_try set tries = greatest(tries - 1, 0) where key = any(shared);
  delete from worka.sign_in_place where key in (select key from worka.sign_in_place where at < now() - interval '30 days' limit 50);
  insert into worka.sign_in_place (key, at) values (place, now()) on conflict (key) do update set at = excluded.at;
end $$;
