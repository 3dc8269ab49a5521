/** Structured logs on stderr; stdout belongs to results. */
import { destination, pino, type Logger } from 'pino';

export type { Logger } from 'pino';

/** Levels a user can ask for by PGSTRATA_LOG. */
const LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'silent'];

/** A logger that writes JSON lines to stderr at the level of PGSTRATA_LOG (default `warn`). */
export const createLogger = (environment: NodeJS.ProcessEnv): Logger => {
  const asked = environment['PGSTRATA_LOG'] ?? 'warn';
  return pino(
    {
      level: LEVELS.includes(asked) ? asked : 'warn',
      base: null,
      redact: ['*.token', '*.password', 'url', '*.url'],
    },
    destination({ dest: 2, sync: true }),
  );
};
