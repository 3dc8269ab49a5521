/** One step of a migration, and the pieces that steps are made of. */
import type { TableFacts } from './facts.ts';

/** One step. */
export interface MigrationStep {
  readonly title: string;
  /** shell: with SOURCE and CLUSTER in the environment; the others say where the SQL runs. */
  readonly where: 'shell' | 'source' | 'cluster' | 'each node';
  readonly run: readonly string[];
  /** What it takes, and what waits for it. */
  readonly locks: string;
  /** Whether rows are loaded meanwhile. */
  readonly loading: 'goes on' | 'paused';
  /** What to run afterwards, and what it has to say; null where the next step shows it. */
  readonly verify: { readonly run: readonly string[]; readonly expect: string } | null;
}

/** What a step locks that only looks at the cluster. */
export const NOTHING = 'nothing of the source';

/** Stands in SQL for the day that the shell's loop is at. */
export const WEEK = '{week}';

/** A psql command; what the shell would read in the SQL is escaped, but for {@link WEEK}. */
export const psql = (side: 'SOURCE' | 'CLUSTER', statement: string, options = '-Xqc'): string =>
  `psql "$${side}" ${options} "${statement.replaceAll(/["\\$`]/g, '\\$&').replaceAll(WEEK, '$week')}"`;

/** One COPY into the next, in the binary format: neither side parses text, and nothing is kept in between. */
export const pipe = (from: string, to: string): string =>
  `${psql('SOURCE', `copy (${from}) to stdout (format binary)`)} | ${psql('CLUSTER', `copy ${to} from stdin (format binary)`)}`;

/** Copies tables whole, in the place of what is there. */
export const copyWhole = (
  title: string,
  tables: readonly Pick<TableFacts, 'qualified' | 'name'>[],
  loading: MigrationStep['loading'],
): MigrationStep => ({
  title,
  where: 'shell',
  run: tables.flatMap(({ qualified, ...table }) => {
    const columns = 'columns' in table ? (table as TableFacts).columns.join(', ') : null;
    return [
      psql('CLUSTER', `delete from ${qualified}`),
      pipe(
        `select ${columns ?? '*'} from ${qualified}`,
        columns === null ? qualified : `${qualified} (${columns})`,
      ),
    ];
  }),
  locks: 'ACCESS SHARE on the source while it copies: neither readers nor writers wait',
  loading,
  verify: {
    run: tables.map(({ qualified }) => `select count(*) from ${qualified}`),
    expect: 'the same on both sides',
  },
});
