/** Queries that string surgery would break, over a table `logs (block_num, kind, note)`: plain SQL that every engine takes. */

/** By what is awkward about them. */
export const WRAPPED_QUERIES: Readonly<Record<string, string>> = {
  'an OR': `SELECT block_num, kind FROM logs WHERE kind = 'a' OR kind = 'b'`,
  'no WHERE, and a semicolon': 'SELECT block_num, kind FROM logs ;',
  'a newline before WHERE': `SELECT block_num, kind\nFROM logs\nWHERE\nkind <> 'c'\n`,
  'a UNION': `SELECT block_num, kind FROM logs WHERE kind = 'a' UNION ALL SELECT block_num, note FROM logs WHERE kind = 'b'`,
  'a WITH': `WITH a AS (SELECT * FROM logs WHERE kind = 'a'), b AS (SELECT * FROM a) SELECT block_num, note FROM b`,
  'a WITH of our own name':
    'WITH strata_partition AS (SELECT * FROM logs) SELECT block_num, kind FROM strata_partition AS q',
  'comments, the last without an end of line': `-- WHERE 1 = 0;\nSELECT block_num, /* kind; */ note FROM logs -- all of them; really`,
  'a semicolon before a comment': `SELECT block_num, kind FROM logs; -- thus ended /* it`,
  'keywords and semicolons in strings': `SELECT block_num, 'WHERE ; ORDER BY ''x'' -- ' || note AS note FROM logs WHERE note LIKE '%; com%'`,
  'words that look like settings': `SELECT block_num, kind AS settings FROM logs WHERE kind = 'a' ORDER BY settings`,
  'ORDER BY, GROUP BY and HAVING':
    'SELECT block_num, count(*) AS rows_in FROM logs GROUP BY block_num HAVING count(*) > 2 ORDER BY block_num DESC',
  'a sub-query with ORDER BY and LIMIT':
    'SELECT block_num, kind FROM (SELECT * FROM logs ORDER BY block_num DESC, kind LIMIT 20) AS newest',
  'a join of its own alias q': `SELECT q.block_num, r.kind FROM logs AS q JOIN logs AS r ON r.block_num = q.block_num AND r.kind = 'a'`,
  'a window function':
    'SELECT block_num, row_number() OVER (PARTITION BY kind ORDER BY block_num) AS place FROM logs',
  'quoted names': `SELECT block_num, kind AS "where; ""--""" FROM "logs"`,
};
