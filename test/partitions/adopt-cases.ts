/** Tables that cannot be adopted as they are, what is said of each, and what helps. */
import type { AdoptRequest } from '../../src/warehouse/partitions/adopt/adoption.ts';

/** A table with which all is well. */
export const PLAIN = `create table public.t (id int primary key, at timestamptz not null, who text not null, note text);
  insert into public.t select n, timestamptz '2024-02-01' + interval '1 hour' * n, 'w' || n % 3, 'n' from generate_series(1, 20) n`;

/** One table. */
interface Case {
  readonly what: string;
  readonly table?: string;
  readonly more?: string;
  readonly request?: Partial<AdoptRequest>;
  readonly says: RegExp;
  readonly remedy: RegExp;
  /** Statements that do what the remedy says: afterwards it is adopted. */
  readonly cure?: string;
}

/** All of them. */
export const CASES: readonly Case[] = [
  {
    what: 'a time without a zone',
    table: PLAIN.replace('timestamptz not', 'timestamp not'),
    says: /time column at is timestamp without time zone/u,
    remedy: /ALTER COLUMN at TYPE timestamptz USING at AT TIME ZONE 'UTC'/u,
    cure: `alter table public.t alter column at type timestamptz using at at time zone 'UTC'`,
  },
  {
    what: 'a date',
    table: PLAIN.replace('at timestamptz', 'at date'),
    says: /time column at is date/u,
    remedy: /USING at::timestamp AT TIME ZONE 'UTC'/u,
    cure: `alter table public.t alter column at type timestamptz using at::timestamp at time zone 'UTC'`,
  },
  {
    what: 'a time that may be NULL',
    table: PLAIN.replace('at timestamptz not null', 'at timestamptz'),
    says: /column at may be NULL/u,
    remedy: /CHECK \(at IS NOT NULL\) NOT VALID; .* SET NOT NULL/u,
    cure: 'alter table public.t alter column at set not null',
  },
  {
    what: 'an account that may be NULL',
    table: PLAIN.replace('who text not null', 'who text'),
    says: /column who may be NULL/u,
    remedy: /ALTER COLUMN who SET NOT NULL/u,
    cure: 'alter table public.t alter column who set not null',
  },
  {
    what: 'a time at infinity',
    more: `insert into public.t values (99, 'infinity', 'w', 'n')`,
    says: /1 rows lie at infinity/u,
    remedy: /WHERE NOT isfinite/u,
    cure: 'delete from public.t where not isfinite(at)',
  },
  {
    what: 'no key',
    table: PLAIN.replace(' primary key', ' not null'),
    says: /no key to know its rows by/u,
    remedy: /CREATE UNIQUE INDEX CONCURRENTLY .* --key/u,
    cure: 'create unique index concurrently on public.t (id)',
  },
  {
    what: 'a named key that is not unique',
    table: PLAIN.replace(' primary key', ' not null') + ', (select) twice; create index on public.t (who)',
    request: { key: ['who'] },
    says: /keys of \(who\) are there more than once/u,
    remedy: /unique with --key/u,
  },
  {
    what: 'a named key without an index',
    table: PLAIN.replace(' primary key', ' not null'),
    request: { key: ['id'] },
    says: /no index finds a row .* by \("id"\)/u,
    remedy: /CREATE UNIQUE INDEX CONCURRENTLY/u,
    cure: 'create index on public.t (id)',
  },
  {
    what: 'a named key that may be NULL',
    request: { key: ['note'] },
    says: /key column note may be NULL/u,
    remedy: /ALTER COLUMN note SET NOT NULL/u,
  },
  {
    what: 'a unique index that partitions cannot keep',
    more: 'alter table public.t add constraint who_note unique (who, note, id)',
    says: /unique index "who_note" .* does not have both/u,
    remedy: /--relax-unique.* DROP CONSTRAINT "who_note"/u,
    cure: 'alter table public.t drop constraint who_note',
  },
  {
    what: 'a foreign key of another table',
    more: 'create table public.child (t int references public.t)',
    says: /foreign key child_t_fkey ties public.child to public.t/u,
    remedy: /ALTER TABLE public.child DROP CONSTRAINT child_t_fkey/u,
    cure: 'alter table public.child drop constraint child_t_fkey',
  },
  {
    what: 'a foreign key of its own',
    more: 'create table public.child (c text primary key); alter table public.t add foreign key (note) references public.child not valid',
    says: /foreign key t_note_fkey ties public.t to public.child/u,
    remedy: /ALTER TABLE public.t DROP CONSTRAINT t_note_fkey/u,
    cure: 'alter table public.t drop constraint t_note_fkey',
  },
  {
    what: 'an exclusion constraint',
    more: 'alter table public.t add constraint apart exclude using btree (id with =)',
    says: /exclusion constraint apart/u,
    remedy: /DROP CONSTRAINT apart/u,
    cure: 'alter table public.t drop constraint apart',
  },
  {
    what: 'inheritance',
    more: 'create table public.child () inherits (public.t)',
    says: /inherits from, or is inherited by/u,
    remedy: /ALTER TABLE public.child NO INHERIT public.t/u,
    cure: 'alter table public.child no inherit public.t',
  },
  {
    what: 'a materialized view',
    more: 'create materialized view public.child as select count(*) from public.t',
    says: /public.child is a materialized view of it/u,
    remedy: /DROP MATERIALIZED VIEW public.child/u,
    cure: 'drop materialized view public.child',
  },
  {
    what: 'a view that counts on the key',
    more: 'create view public.child as select id, who, count(*) from public.t group by id',
    says: /public.child counts on its primary key/u,
    remedy: /Group by all columns/u,
    cure: 'drop view public.child',
  },
  {
    what: 'a function of its row type',
    more: 'create function public.child(public.t) returns int language sql as $$ select 1 $$',
    says: /function public.child\(public.t\) uses the row type/u,
    remedy: /Drop it and create it again/u,
    cure: 'drop function public.child(public.t)',
  },
  {
    what: 'a policy that reads the table',
    more: 'create policy own on public.t using (id < (select max(id) from public.t))',
    says: /policy own reads the table itself/u,
    remedy: /DROP POLICY own/u,
    cure: 'drop policy own on public.t',
  },
  {
    what: 'a rule',
    more: 'create rule quiet as on delete to public.t do instead nothing',
    says: /rule quiet rewrites/u,
    remedy: /DROP RULE quiet/u,
    cure: 'drop rule quiet on public.t',
  },
  {
    what: 'a check without heirs',
    more: 'alter table public.t add constraint few check (id < 1000) no inherit',
    says: /constraint few is NO INHERIT/u,
    remedy: /DROP CONSTRAINT few/u,
    cure: 'alter table public.t drop constraint few',
  },
  {
    what: 'a row trigger with transition tables',
    more: 'create function public.child() returns trigger language plpgsql as $$ begin return null; end $$; create trigger many after update on public.t referencing old table as o for each row execute function public.child()',
    says: /row trigger many uses transition tables/u,
    remedy: /statement trigger/u,
    cure: 'drop trigger many on public.t',
  },
  {
    what: 'a publication of partitions',
    more: 'create publication all_of_t for table public.t where (id > 0)',
    says: /publication all_of_t would publish partitions/u,
    remedy: /publish_via_partition_root = true/u,
    cure: 'alter publication all_of_t set (publish_via_partition_root = true)',
  },
  {
    what: 'an index for replica identity',
    more: 'alter table public.t replica identity using index t_pkey',
    says: /replica identity of public.t is an index/u,
    remedy: /REPLICA IDENTITY FULL/u,
    cure: 'alter table public.t replica identity full',
  },
  {
    what: 'an unlogged table',
    table: PLAIN.replace('create table', 'create unlogged table'),
    says: /public.t is unlogged/u,
    remedy: /SET LOGGED/u,
    cure: 'alter table public.t set logged',
  },
  {
    what: 'a partitioned table',
    table:
      'create table public.t (id int, at timestamptz not null, who text not null, primary key (id, at)) partition by range (at)',
    says: /public.t is partitioned already/u,
    remedy: /strata.create_partition_set/u,
  },
  {
    what: 'a name that is taken',
    more: 'create table public.t_2024_02_04 ()',
    says: /there is a public.t_2024_02_04 already/u,
    remedy: /--set/u,
    cure: 'drop table public.t_2024_02_04',
  },
  {
    what: 'a column that is not there',
    request: { time: 'when' },
    says: /public.t has no column "when"/u,
    remedy: /Its columns are id, at, who, note/u,
  },
  {
    what: 'a column that cannot be hashed',
    more: `alter table public.t add j json not null default '1'`,
    request: { hash: 'j' },
    says: /hash column j is of type json/u,
    remedy: /another type/u,
  },
];
