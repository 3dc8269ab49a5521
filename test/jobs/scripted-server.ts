/** A Flight server that plays a script: any Arrow batches, any ranges, any ending; for all that a devnet is too honest for. */
import { createHash } from 'node:crypto';
import { status } from '@grpc/grpc-js';
import {
  RecordBatch,
  RecordBatchStreamWriter,
  Struct,
  TimestampNanosecond,
  FixedSizeBinary,
  Schema,
  Field,
  Uint64,
  Utf8,
  makeData,
  vectorFromArray,
} from 'apache-arrow';
import type { DataType } from 'apache-arrow';
import { encodeMetadata } from '../../src/chain/metadata.ts';
import type { BlockRange } from '../../src/chain/range.ts';
import {
  decodeDescriptor,
  decodeStatementQuery,
  encodeFlightData,
  encodeFlightInfo,
} from '../../src/flight/messages.ts';
import { endpoint, startFake } from '../flight/fake-server.ts';

const NONE = new Uint8Array(0);

/** One column: its type and its values, null for a null. */
export interface Column {
  readonly type: DataType;
  readonly values: readonly unknown[];
}

/** A record batch of these columns; a column is nullable where it holds a null. */
export const batchOf = (columns: Readonly<Record<string, Column>>): RecordBatch => {
  const vectors = Object.values(columns).map(({ type, values }) => vectorFromArray(values, type));
  const fields = Object.entries(columns).map(
    ([name, { type, values }]) => new Field(name, type, values.includes(null)),
  );
  const children = vectors.map((vector) => vector.data[0]!);
  const schema = new Schema(fields);
  return new RecordBatch(
    schema,
    makeData({ type: new Struct(schema.fields), length: vectors[0]?.length ?? 0, nullCount: 0, children }),
  );
};

/** A transfer as the scripted servers of these tests have it. */
export interface ScriptedTransfer {
  readonly block: number;
  readonly value?: string | null;
  /** Seconds since 1970. */
  readonly time?: number | null;
  readonly from?: number;
  readonly to?: number;
  readonly network?: string;
}

/** 2026-01-05 00:00 UTC, in seconds since 1970. */
export const SCRIPT_TIME = 1_767_571_200;

const address = (last: number): Uint8Array =>
  Uint8Array.from({ length: 20 }, (_, index) => (index === 19 ? last : 0xaa));

/** A batch of transfers; `extra` columns come behind the usual ones. */
export const transfersBatch = (
  transfers: readonly ScriptedTransfer[],
  extra: Readonly<Record<string, Column>> = {},
): RecordBatch => {
  const column = (type: DataType, valueOf: (transfer: ScriptedTransfer) => unknown): Column => ({
    type,
    values: transfers.map(valueOf),
  });
  return batchOf({
    _block_num: column(new Uint64(), ({ block }) => BigInt(block)),
    timestamp: column(new TimestampNanosecond('UTC'), ({ block, time = SCRIPT_TIME + block }) =>
      time === null ? null : time * 1000,
    ),
    token: column(new FixedSizeBinary(20), () => address(0xee)),
    from: column(new FixedSizeBinary(20), ({ from = 1 }) => address(from)),
    to: column(new FixedSizeBinary(20), ({ to = 2 }) => address(to)),
    value: column(new Utf8(), ({ value = '1' }) => value),
    network: column(new Utf8(), ({ network = 'scripted' }) => network),
    ...extra,
  });
};

/** The hash of a block on a fork. */
export const hashOf = (block: number, fork = 'a', network = 'scripted'): string =>
  `0x${createHash('sha256').update(`${network} ${fork} ${block}`).digest('hex')}`;

/** Blocks `start`..`end` as the server announces them. */
export const rangeOf = (
  start: number,
  end: number,
  fork = 'a',
  parentFork = fork,
  network = 'scripted',
): BlockRange => ({
  network,
  start,
  end,
  hash: hashOf(end, fork, network),
  prevHash: hashOf(start - 1, parentFork, network),
  timestamp: SCRIPT_TIME + end,
});

/** What a script does next: send a batch with its ranges, send raw bytes, wait for ever, fail. What comes last is a clean end. */
export type Step =
  | {
      readonly batch: RecordBatch;
      readonly ranges?: readonly BlockRange[];
      readonly complete?: boolean;
      readonly metadata?: Uint8Array;
    }
  | { readonly wait: 'for ever' | Promise<unknown> }
  | { readonly fail: keyof typeof status; readonly details?: string };

/** A whole microbatch: its rows, then the empty batch that completes it. */
export const microbatch = (ranges: readonly BlockRange[], ...batches: readonly RecordBatch[]): Step[] => [
  ...batches.map((batch): Step => ({ batch, ranges })),
  { batch: (batches[0] ?? transfersBatch([])).slice(0, 0), ranges, complete: true },
];

/** What the server is asked. */
export interface Question {
  readonly stream: boolean;
  readonly sql: string;
  /** The header amp-resume, parsed. */
  readonly resume: Readonly<Record<string, { readonly number: number; readonly hash: string }>> | null;
}

/** A running scripted server. */
export interface ScriptedServer {
  readonly url: string;
  /** All queries so far. */
  readonly asked: readonly Question[];
  readonly stop: () => void;
}

/** An Arrow IPC stream of one batch is schema message, batch message, body, end marker. */
const piecesOf = (
  batch: RecordBatch,
): { readonly schema: Buffer; readonly header: Buffer; readonly body: Buffer } => {
  const stream = Buffer.from(new RecordBatchStreamWriter().writeAll([batch]).toUint8Array(true));
  const schemaEnd = 8 + stream.readUInt32LE(4);
  const batchEnd = schemaEnd + 8 + stream.readUInt32LE(schemaEnd + 4);
  return {
    schema: stream.subarray(8, schemaEnd),
    header: stream.subarray(schemaEnd + 8, batchEnd),
    body: stream.subarray(batchEnd, -8),
  };
};

const metadataOf = (step: Extract<Step, { batch: RecordBatch }>): Uint8Array =>
  step.metadata ??
  (step.ranges === undefined
    ? NONE
    : encodeMetadata({ ranges: step.ranges, complete: step.complete ?? false }));

type FakeCall = Parameters<NonNullable<Parameters<typeof startFake>[0]['get']>>[0];

/** Waits until more fits, or nobody wants it any more. */
const roomIn = (call: FakeCall): Promise<void> =>
  new Promise((resolve) => {
    const go = (): void => {
      call.off('drain', go).off('cancelled', go);
      resolve();
    };
    call.on('drain', go).on('cancelled', go);
  });

const play = async (call: FakeCall, steps: Iterable<Step>): Promise<void> => {
  let told: string | null = null;
  for (const step of steps) {
    if ('fail' in step) {
      call.emit('error', { code: status[step.fail], details: step.details ?? 'as the script has it' });
      return;
    }
    if ('wait' in step) {
      if (step.wait === 'for ever') return;
      await step.wait;
      continue;
    }
    const { schema, header, body } = piecesOf(step.batch);
    const known: string = schema.toString('hex');
    if (told !== known) call.write(encodeFlightData({ header: schema, metadata: NONE, body: NONE }));
    told = known;
    // As a server does that is in order: whoever has heard enough is sent no more, and nobody more than fits into the line.
    const fits = call.write(encodeFlightData({ header, metadata: metadataOf(step), body }));
    if (!fits && !call.cancelled) await roomIn(call);
    if (call.cancelled) return;
  }
  call.end();
};

/**
 * Serves a script.
 *
 * @param head what a batch query says is synced, which is how ingestion finds the head
 * @param script what a stream query gets
 * @param options.answer what a batch query gets instead of the head alone
 */
export const serveScript = async (
  head: readonly BlockRange[],
  script: (question: Question) => Iterable<Step>,
  options: { readonly token?: string; readonly answer?: (question: Question) => Iterable<Step> } = {},
): Promise<ScriptedServer> => {
  const asked: Question[] = [];
  const server = await startFake({
    info: (reply, call) => {
      const [resume] = call.metadata.get('amp-resume');
      const [authorization] = call.metadata.get('authorization');
      if (options.token !== undefined && authorization !== `Bearer ${options.token}`) {
        reply({ code: status.UNAUTHENTICATED, details: `no entry with ${String(authorization)}` });
        return;
      }
      const { cmd } = decodeDescriptor(call.request);
      const question = {
        stream: call.metadata.get('amp-stream').length > 0,
        sql: decodeStatementQuery(cmd) ?? '',
        resume: resume === undefined ? null : (JSON.parse(String(resume)) as Question['resume']),
      };
      asked.push(question);
      reply(
        null,
        encodeFlightInfo({ schema: NONE, endpoints: [endpoint(JSON.stringify(question))], totalRecords: -1 }),
      );
    },
    get: (call, ticket) => {
      const question = JSON.parse(ticket) as Question;
      const steps = question.stream
        ? script(question)
        : (options.answer?.(question) ?? [{ batch: transfersBatch([]), ranges: head, complete: true }]);
      play(call, steps).catch((error: unknown) =>
        call.emit('error', { code: status.INTERNAL, details: `the script itself failed: ${String(error)}` }),
      );
    },
  });
  return { url: server.url, asked, stop: server.stop };
};

/** The stream that loads such transfers. */
export const SCRIPTED_TRANSFERS = {
  load: 'transfers',
  query: 'SELECT whatever the script says',
  rules: ['to:+value', 'from:-value'],
} as const;
