/** Starts a devnet: a chain behind a real Flight server that speaks as Amp servers do. */
import { status } from '@grpc/grpc-js';
import type { Server } from '@grpc/grpc-js';
import type { Watermark } from '../chain/range.ts';
import { encapsulate } from '../flight/messages.ts';
import { WarehouseError, messageOf } from '../runtime/errors.ts';
import { answerBatch, answerStream } from './answer.ts';
import type { AnswerContext } from './answer.ts';
import { createResultEncoder } from './encode.ts';
import type { PieceCache, ResultEncoder } from './encode.ts';
import { createService, serverCredentials } from './service.ts';
import type { GrpcFailure, InfoRequest, ServerTls, ServiceHandlers } from './service.ts';
import type { Chain } from './source.ts';
import { parseQuery } from './sql.ts';
import type { Query } from './sql.ts';
import { badQuery } from './tokens.ts';

/** A query whose messages are to be made before the first client asks. */
interface Preload {
  readonly sql: string;
  /** First block; default the chain's first. */
  readonly from?: number | undefined;
  /** Last block; default the head at the time of the start. */
  readonly to?: number | undefined;
}

/** How a chain is served. */
export interface DevnetOptions<C extends Chain = Chain> {
  readonly chain: C;
  /** Default 127.0.0.1. */
  readonly host?: string | undefined;
  /** Default 0: any free port. */
  readonly port?: number | undefined;
  /** Needed as `authorization: Bearer …` when given. */
  readonly token?: string | undefined;
  readonly tls?: ServerTls | undefined;
  /** Blocks in a microbatch at most, 1 to 1000; default 1000. */
  readonly microbatchBlocks?: number | undefined;
  /** Rows in a message, about: messages hold whole blocks. Default 32,768. */
  readonly rowsPerMessage?: number | undefined;
  /** Share (0 to 1) of messages with an empty keep-alive batch before them; default 0. */
  readonly keepAliveRate?: number | undefined;
  /** Wait before each call is answered, in milliseconds, as of a server far away; default 0. */
  readonly latency_ms?: number | undefined;
  /** Whether GetFlightInfo tells the schema; default true. */
  readonly schemaInInfo?: boolean | undefined;
  readonly preload?: readonly Preload[] | undefined;
}

/** A failure that the next DoGet shall have. */
interface PlannedFailure {
  /** Messages that still get through, the schema's included. */
  readonly afterMessages: number;
  /** Name of a gRPC status; default UNAVAILABLE. */
  readonly grpcStatus?: keyof typeof status | undefined;
}

/** A running devnet. */
export interface Devnet<C extends Chain = Chain> {
  /** What to give a Flight client as its url. */
  readonly url: string;
  readonly port: number;
  readonly chain: C;
  /** DoGet calls running now. */
  readonly activeStreams: () => number;
  /** Makes the next DoGet fail; several wait their turn. */
  readonly failNext: (failure: PlannedFailure) => void;
  /** Fails all running DoGet calls with UNAVAILABLE. */
  readonly disconnect: () => void;
  readonly stop: () => Promise<void>;
}

/** Microbatches of Amp servers have at most this many blocks. */
const MAX_MICROBATCH_BLOCKS = 1000;
const DEFAULT_ROWS_PER_MESSAGE = 32_768;
/** Time that a stopping server gives its calls to end. */
const GOODBYE_MS = 500;

/** What a ticket says; opaque to clients. */
interface Ticket {
  readonly sql: string;
  readonly stream: boolean;
  readonly resume: Watermark | null;
}

/** A header that is not exactly what it should be counts as none, as with Amp: the stream starts from the beginning. */
const resumeOf = (header: string | null, network: string): Watermark | null => {
  try {
    const parsed: unknown = JSON.parse(header ?? 'null');
    const position: unknown = Object(parsed)[network];
    const { number, hash }: { number?: unknown; hash?: unknown } = Object(position);
    if (typeof number !== 'number' || !Number.isSafeInteger(number) || typeof hash !== 'string') return null;
    return { network, number, hash: hash.toLowerCase() };
  } catch {
    return null;
  }
};

const isStream = (query: Query, header: string | null): boolean =>
  header === null ? query.stream === true : header.toLowerCase() === 'true';

const ticketFor = (chain: Chain, query: Query, { sql, header }: InfoRequest): Ticket => {
  const stream = isStream(query, header('amp-stream'));
  if (stream && query.batchOnly.length > 0)
    throw badQuery(`A stream cannot have ${query.batchOnly.join(' or ')}.`);
  return { sql, stream, resume: stream ? resumeOf(header('amp-resume'), chain.network) : null };
};

const readTicket = (bytes: Uint8Array): Ticket => {
  try {
    return JSON.parse(Buffer.from(bytes).toString('utf8'));
  } catch {
    throw new WarehouseError('usage', 'The ticket is not one of this server.');
  }
};

/** Understands queries and keeps what was made ahead for them. */
const createCompiler = (options: DevnetOptions) => {
  const { chain, rowsPerMessage = DEFAULT_ROWS_PER_MESSAGE } = options;
  const cache: PieceCache = new Map();
  const compile = (sql: string): { readonly query: Query; readonly encoder: ResultEncoder } => {
    const query = parseQuery(sql, chain.tables);
    const shape = chain.tables.get(query.table);
    if (shape === undefined) throw badQuery(`There is no table ${query.table}.`);
    return { query, encoder: createResultEncoder(shape, query, rowsPerMessage, cache) };
  };
  const preload = ({ sql, from = chain.earliest, to }: Preload): void => {
    const view = chain.view();
    const last = to ?? view.head;
    if (last !== null) compile(sql).encoder.preload(view, from, last);
  };
  return { compile, preload };
};

/** The faults that tests ask for, and how many calls run. */
const createFaults = () => {
  const planned: PlannedFailure[] = [];
  const running = new Set<(failure: GrpcFailure) => void>();
  const onGet: ServiceHandlers['onGet'] = (fail, signal) => {
    const failure = planned.shift();
    let sent = 0;
    running.add(fail);
    signal.addEventListener('abort', () => running.delete(fail));
    return () => {
      if (failure !== undefined && sent >= failure.afterMessages) {
        const code = status[failure.grpcStatus ?? 'UNAVAILABLE'];
        throw Object.assign(new Error('planned'), { code, details: 'the devnet was told to fail here' });
      }
      sent += 1;
    };
  };
  const disconnect = (): void => {
    for (const fail of running)
      fail({ code: status.UNAVAILABLE, details: 'the devnet was told to disconnect' });
  };
  return { onGet, disconnect, failNext: (failure: PlannedFailure) => void planned.push(failure), running };
};

const listen = (server: Server, address: string, tls: ServerTls | undefined): Promise<number> =>
  new Promise((resolve, reject) => {
    server.bindAsync(address, serverCredentials(tls), (error, port) => {
      if (error === null) resolve(port);
      else {
        reject(
          new WarehouseError('connection', `The devnet cannot listen on ${address}: ${messageOf(error)}`, {
            remedy: 'Choose another port, or end what listens there.',
          }),
        );
      }
    });
  });

/** Lets running calls say how they end; connections still open after that are cut. */
const shutDown = (server: Server): Promise<void> =>
  new Promise((resolve) => {
    const cut = setTimeout(() => server.forceShutdown(), GOODBYE_MS);
    server.tryShutdown(() => {
      clearTimeout(cut);
      resolve();
    });
  });

const isCount = (value: number, most: number): boolean =>
  Number.isInteger(value) && value >= 1 && value <= most;

const checkOptions = ({
  microbatchBlocks = 1,
  rowsPerMessage = 1,
  keepAliveRate = 0,
}: DevnetOptions): void => {
  if (!isCount(microbatchBlocks, MAX_MICROBATCH_BLOCKS)) {
    throw new WarehouseError('usage', `microbatchBlocks must be 1 to ${MAX_MICROBATCH_BLOCKS}.`);
  }
  if (!isCount(rowsPerMessage, Number.MAX_SAFE_INTEGER))
    throw new WarehouseError('usage', 'rowsPerMessage must be 1 or more.');
  if (!(keepAliveRate >= 0 && keepAliveRate <= 1))
    throw new WarehouseError('usage', 'keepAliveRate must be 0 to 1.');
};

const createHandlers = (
  options: DevnetOptions,
  compile: ReturnType<typeof createCompiler>['compile'],
  onGet: ServiceHandlers['onGet'],
): ServiceHandlers => {
  const { chain, microbatchBlocks = MAX_MICROBATCH_BLOCKS, keepAliveRate = 0, schemaInInfo = true } = options;
  return {
    token: options.token ?? null,
    latency_ms: options.latency_ms ?? 0,
    info: (request) => {
      const { query, encoder } = compile(request.sql);
      const ticket = Buffer.from(JSON.stringify(ticketFor(chain, query, request)));
      return { schema: schemaInInfo ? encapsulate(encoder.schema.header) : new Uint8Array(0), ticket };
    },
    get: (bytes, signal) => {
      const ticket = readTicket(bytes);
      const { query, encoder } = compile(ticket.sql);
      const context: AnswerContext = { chain, encoder, microbatchBlocks, keepAliveRate, signal };
      return ticket.stream ? answerStream(context, ticket.resume) : answerBatch(context, query.limit);
    },
    onGet,
  };
};

/**
 * Serves `options.chain` until stopped. The chain may advance and reorg meanwhile; streams follow.
 *
 * @throws WarehouseError `usage` for impossible options or a preload that cannot be understood, `connection` when the
 * port cannot be had.
 */
export const startDevnet = async <C extends Chain>(options: DevnetOptions<C>): Promise<Devnet<C>> => {
  checkOptions(options);
  const { chain, host = '127.0.0.1' } = options;
  const { compile, preload } = createCompiler(options);
  for (const wanted of options.preload ?? []) preload(wanted);
  const { onGet, disconnect, failNext, running } = createFaults();
  const stopping = new AbortController();
  const server = createService(createHandlers(options, compile, onGet), stopping.signal);
  const shownHost = host.includes(':') ? `[${host}]` : host;
  const port = await listen(server, `${shownHost}:${options.port ?? 0}`, options.tls);
  return {
    url: `${options.tls === undefined ? 'grpc' : 'grpc+tls'}://${shownHost}:${port}`,
    port,
    chain,
    activeStreams: () => running.size,
    failNext,
    disconnect,
    stop: () => {
      stopping.abort();
      return shutDown(server);
    },
  };
};
