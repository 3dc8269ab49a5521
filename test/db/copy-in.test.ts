/** COPY IN: what arrives, and that every way it can fail leaves the source, the server and the connection in order. */
import { Client } from 'pg';
import type { ClientBase, PoolClient } from 'pg';
import { beforeAll, beforeEach, describe, expect, it } from 'vitest';

import { copyIn } from '../../src/db/copy-in.ts';
import { withClient } from '../../src/db/pool.ts';
import { WarehouseError } from '../../src/runtime/errors.ts';
import { useDatabase } from '../database.ts';
import { until } from './until.ts';

const database = useDatabase();
const COPY = 'copy public.numbers from stdin';
const GATE_KEY = 77;
/** More than the kernel ever buffers for one socket, so that a source which outruns the server is found out. */
const KERNEL_BYTES = 32 * 1024 * 1024;
/** What copyIn may hold beside that. */
const AHEAD_BYTES = 16 * 1024 * 1024;

const frameOf = (text: string): Buffer => {
  const frame = Buffer.alloc(5 + Buffer.byteLength(text));
  frame.write('d');
  frame.writeInt32BE(frame.length - 1, 1);
  frame.write(text, 5);
  return frame;
};

const rowsFrame = (count: number): Buffer => frameOf('1\n'.repeat(count));

/** Frames without end; tells how many were asked for and whether it was closed. */
const endless = (frame: Buffer, limit = Infinity) => {
  const seen = { pulled: 0, closed: false };
  const frames = (function* generate() {
    try {
      while (seen.pulled < limit) {
        seen.pulled += 1;
        yield frame;
      }
    } finally {
      seen.closed = true;
    }
  })();
  return { seen, frames };
};

const failureOf = (work: Promise<unknown>): Promise<WarehouseError> =>
  work.then(
    () => {
      throw new Error('it should have failed');
    },
    (error: unknown) => error as WarehouseError,
  );

const countRows = async (client: ClientBase): Promise<number> => {
  const { rows } = await client.query<{ count: number }>('select count(*) from public.numbers');
  return rows[0]?.count ?? -1;
};

const pidOf = async (client: ClientBase): Promise<number> => {
  const { rows } = await client.query<{ pid: number }>('select pg_backend_pid() as pid');
  return rows[0]?.pid ?? -1;
};

const waitsForLock = (pid: number) => async (): Promise<boolean> => {
  const { rowCount } = await database.pool.query('select from pg_locks where pid = $1 and not granted', [
    pid,
  ]);
  return rowCount === 1;
};

/** Runs `work` while every insert into `gated` waits: the server takes a row and then nothing more. */
const withGateShut = async (work: (open: () => Promise<void>) => Promise<void>): Promise<void> => {
  await withClient(database.pool, async (holder) => {
    await holder.query('select pg_advisory_lock($1)', [GATE_KEY]);
    let shut = true;
    const open = async (): Promise<void> => {
      if (shut) await holder.query('select pg_advisory_unlock($1)', [GATE_KEY]);
      shut = false;
    };
    try {
      await work(open);
    } finally {
      await open();
    }
  });
};

const GATED_COPY = 'copy public.gated from stdin';

beforeAll(async () => {
  await database.pool.query(`
    create table public.numbers (n int not null);
    create table public.gated (n int not null);
    create function public.wait_at_gate() returns trigger language plpgsql as
      $$ begin perform pg_advisory_xact_lock_shared(${GATE_KEY}); return new; end $$;
    create trigger gate before insert on public.gated for each row execute function public.wait_at_gate();`);
});

beforeEach(async () => {
  await database.pool.query('truncate public.numbers, public.gated');
});

const useClient = <T>(work: (client: PoolClient) => Promise<T>): Promise<T> =>
  withClient(database.pool, work);

describe('a COPY that succeeds', () => {
  it('counts the rows of frames of any size, from any iterable', async () => {
    await useClient(async (client) => {
      async function* later() {
        for (const count of [1, 70_000, 3]) yield await Promise.resolve(rowsFrame(count));
      }
      expect(await copyIn(client, COPY, later())).toBe(70_004);
      expect(await copyIn(client, COPY, [rowsFrame(2), frameOf(''), frameOf('5'), frameOf('5\n')])).toBe(3);
      expect(await copyIn(client, COPY, [])).toBe(0);
      expect(await countRows(client)).toBe(70_007);
    });
  });

  it('leaves room for other work while the socket takes everything at once', async () => {
    await useClient(async (client) => {
      let turns = 0;
      let busy = true;
      const turn = (): void => {
        turns += 1;
        if (busy) setImmediate(turn);
      };
      setImmediate(turn);
      const turnsSeen: number[] = [];
      const frame = rowsFrame(600_000); // 1.2 MB
      function* twenty() {
        for (let count = 0; count < 20; count++) {
          turnsSeen.push(turns);
          yield frame;
        }
      }
      await copyIn(client, COPY, twenty());
      busy = false;
      expect(turnsSeen.at(-1)).toBeGreaterThanOrEqual(15);
    });
  });
});

describe('a COPY that fails', () => {
  it('stops asking for frames when the server refuses a row, and names the row', async () => {
    await useClient(async (client) => {
      const { seen, frames } = endless(rowsFrame(10_000));
      const source = (function* withBadRow() {
        yield frameOf('1\n2\n');
        yield frameOf('nonsense\n');
        yield* frames;
      })();
      const error = await failureOf(copyIn(client, COPY, source));
      expect(error).toMatchObject({ kind: 'data', detail: { sqlstate: '22P02', row: 3, column: 'n' } });
      expect(seen.pulled * 20_000).toBeLessThan(KERNEL_BYTES);
      expect(seen.closed).toBe(true);
      expect(await countRows(client)).toBe(0);
    });
  });

  it('hears the server while the source is still thinking', async () => {
    await useClient(async (client) => {
      const never = Promise.withResolvers<Buffer>();
      async function* thinking() {
        yield frameOf('nonsense\n');
        yield await never.promise;
      }
      const error = await failureOf(copyIn(client, COPY, thinking()));
      expect(error.detail.sqlstate).toBe('22P02');
      never.resolve(frameOf('1\n'));
      expect(await countRows(client)).toBe(0);
    });
  });

  it('passes on what the source threw, undoes the COPY and keeps the connection', async () => {
    await useClient(async (client) => {
      const failure = new WarehouseError('data', 'no such amount');
      async function* broken() {
        yield await Promise.resolve(rowsFrame(1_000));
        throw failure;
      }
      await expect(copyIn(client, COPY, broken())).rejects.toBe(failure);
      expect(await countRows(client)).toBe(0);
      expect(await copyIn(client, COPY, [rowsFrame(1)])).toBe(1);
    });
  });

  it('refuses a frame that is not exactly one message before it harms the connection', async () => {
    await useClient(async (client) => {
      const error = await failureOf(copyIn(client, COPY, [Buffer.concat([rowsFrame(1), rowsFrame(1)])]));
      expect(error.kind).toBe('internal');
      expect(await countRows(client)).toBe(0);
    });
  });

  it('refuses statements that are no COPY FROM STDIN', async () => {
    await useClient(async (client) => {
      for (const sql of ['select 1', '', 'copy public.numbers to stdout']) {
        expect((await failureOf(copyIn(client, sql, [rowsFrame(1)]))).kind).toBe('internal');
      }
      expect((await failureOf(copyIn(client, 'copy nothing from stdin', []))).detail.sqlstate).toBe('42P01');
      expect(await countRows(client)).toBe(0);
    });
  });

  it('fails when its session is ended, without taking the process with it', async () => {
    await withGateShut(async () => {
      const client = new Client({ connectionString: database.url });
      client.on('error', () => undefined);
      await client.connect();
      const pid = await pidOf(client);
      const { seen, frames } = endless(rowsFrame(10_000));
      const failure = failureOf(copyIn(client, GATED_COPY, frames));
      await until('the COPY to wait at the gate', waitsForLock(pid));
      await database.pool.query('select pg_terminate_backend($1)', [pid]);
      expect((await failure).kind).toBe('connection');
      expect(seen.closed).toBe(true);
      await client.end();
    });
  });
});

describe('an abort', () => {
  it('before the start does nothing at all', async () => {
    await useClient(async (client) => {
      const { seen, frames } = endless(rowsFrame(1));
      const error = await failureOf(copyIn(client, COPY, frames, { signal: AbortSignal.abort() }));
      expect(error.kind).toBe('cancelled');
      expect(seen.pulled).toBe(0);
    });
  });

  it('in the middle undoes the statement; the transaction may go on from a savepoint', async () => {
    await useClient(async (client) => {
      await client.query('begin');
      await copyIn(client, COPY, [rowsFrame(5)]);
      await client.query('savepoint before');
      const controller = new AbortController();
      async function* until3() {
        for (let count = 0; ; count++) {
          if (count === 3) controller.abort(new Error('enough'));
          yield await Promise.resolve(rowsFrame(1_000));
        }
      }
      const error = await failureOf(copyIn(client, COPY, until3(), { signal: controller.signal }));
      expect(error).toMatchObject({ kind: 'cancelled', message: 'The COPY was stopped: enough' });
      await client.query('rollback to before');
      expect(await countRows(client)).toBe(5);
      await client.query('rollback');
    });
  });

  it('reaches a server that waits for a lock, before the first frame or between two', async () => {
    await withGateShut(async () => {
      await useClient(async (client) => {
        const pid = await pidOf(client);
        const controller = new AbortController();
        const failure = failureOf(
          copyIn(client, GATED_COPY, endless(rowsFrame(10_000)).frames, { signal: controller.signal }),
        );
        await until('the COPY to wait at the gate', waitsForLock(pid));
        controller.abort();
        expect((await failure).kind).toBe('cancelled');
        expect(await pidOf(client)).toBe(pid);
      });
    });
    await useClient(async (holder) => {
      await holder.query('begin; lock table public.numbers');
      await useClient(async (client) => {
        const pid = await pidOf(client);
        const controller = new AbortController();
        const failure = failureOf(copyIn(client, COPY, [rowsFrame(1)], { signal: controller.signal }));
        await until('the COPY to wait for the table', waitsForLock(pid));
        controller.abort();
        expect((await failure).kind).toBe('cancelled');
        expect(await pidOf(client)).toBe(pid);
      });
      await holder.query('rollback');
    });
  });
});

describe('a server that takes nothing', () => {
  it('holds the source back, and gets the rest when it goes on', async () => {
    await withGateShut(async (open) => {
      await useClient(async (client) => {
        const pid = await pidOf(client);
        const frame = frameOf(`${'1'.padStart(1_000)}\n`.repeat(500)); // few rows of many bytes
        const { seen, frames } = endless(frame, 200);
        const copied = copyIn(client, GATED_COPY, frames);
        await until('the COPY to wait at the gate', waitsForLock(pid));
        const { stream } = client.connection;
        let settled = -1;
        await until('the socket to be full', () => {
          const full = stream.writableLength > 0 && settled === seen.pulled;
          settled = seen.pulled;
          return full;
        });
        expect(stream.writableLength).toBeLessThanOrEqual(AHEAD_BYTES + frame.length);
        expect(seen.pulled * frame.length).toBeLessThan(KERNEL_BYTES);
        await open();
        expect(await copied).toBe(100_000);
        expect(seen.pulled).toBe(200);
      });
    });
  });

  it('is given up after the stall limit', async () => {
    await withGateShut(async () => {
      const client = new Client({ connectionString: database.url });
      client.on('error', () => undefined);
      await client.connect();
      const { frames } = endless(rowsFrame(1_000_000));
      const error = await failureOf(copyIn(client, GATED_COPY, frames, { stallMs: 100 }));
      expect(error).toMatchObject({
        kind: 'connection',
        message: 'The server took no data for 100 ms in a COPY.',
      });
    });
  });
});
