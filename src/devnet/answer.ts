/** What a query is answered with: Flight messages in the order and shape in which an Amp server sends them. */
import { encodeMetadata } from '../chain/metadata.ts';
import type { BlockRange, Watermark } from '../chain/range.ts';
import { encodeFlightData } from '../flight/messages.ts';
import type { Piece, ResultEncoder } from './encode.ts';
import { nextMicrobatch, rangeOf } from './microbatch.ts';
import type { Position } from './microbatch.ts';
import { createRandom, seedWords } from './random.ts';
import type { Chain, ChainView } from './source.ts';

/** What an answer is made from. */
export interface AnswerContext {
  readonly chain: Chain;
  readonly encoder: ResultEncoder;
  /** Blocks a microbatch has at most. */
  readonly microbatchBlocks: number;
  /** Share (0 to 1) of messages before which an empty keep-alive batch is sent. */
  readonly keepAliveRate: number;
  readonly signal: AbortSignal;
}

const NO_METADATA = new Uint8Array(0);

const schemaMessage = ({ schema }: ResultEncoder): Buffer =>
  encodeFlightData({ ...schema, metadata: NO_METADATA });

const message = (piece: Piece, metadata: Uint8Array): Buffer => encodeFlightData({ ...piece, metadata });

/** Data messages with `ranges_complete: false`, some keep-alives among them, then one empty batch with `true`. */
function* sendRanges(
  context: AnswerContext,
  ranges: readonly BlockRange[],
  pieces: Iterable<Piece>,
): Generator<Buffer, void, undefined> {
  const { encoder, keepAliveRate, chain } = context;
  const running = encodeMetadata({ ranges, complete: false });
  const { next } = createRandom(seedWords(`keep-alive ${chain.network} ${ranges[0]?.hash}`));
  for (const piece of pieces) {
    if (next() / 0x1_0000_0000 < keepAliveRate) yield message(encoder.empty, running);
    yield message(piece, running);
  }
  yield message(encoder.empty, encodeMetadata({ ranges, complete: true }));
}

/** The answer while nothing is synced: schema, no ranges, complete. */
function* sendNothing({ encoder }: AnswerContext): Generator<Buffer, void, undefined> {
  yield schemaMessage(encoder);
  yield message(encoder.empty, encodeMetadata({ ranges: [], complete: true }));
}

/** A batch query: everything synced now, with the synced snapshot as its ranges. */
export function* answerBatch(
  context: AnswerContext,
  limit: number | null,
): Generator<Buffer, void, undefined> {
  const { chain, encoder } = context;
  const view = chain.view();
  const { head } = view;
  if (head === null) {
    yield* sendNothing(context);
    return;
  }
  yield schemaMessage(encoder);
  const pieces =
    limit === null
      ? encoder.pieces(view, chain.earliest, head)
      : encoder.limited(view, chain.earliest, head, limit);
  yield* sendRanges(context, [rangeOf(chain, view, chain.earliest, head)], pieces);
}

/** Resolves at the next change of the chain, or when the signal aborts. */
const nextChange = (chain: Chain, signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    const done = (): void => {
      unsubscribe();
      signal.removeEventListener('abort', done);
      resolve();
    };
    const unsubscribe = chain.subscribe(done);
    signal.addEventListener('abort', done);
  });

const sendMicrobatch = (context: AnswerContext, view: ChainView, range: BlockRange): Iterable<Buffer> =>
  sendRanges(context, [range], context.encoder.pieces(view, range.start, range.end));

/**
 * A stream query: microbatch after microbatch from the chain's first block, or from behind `resume`, on and on until
 * the signal aborts. The schema comes with the first microbatch only.
 */
export async function* answerStream(
  context: AnswerContext,
  resume: Watermark | null,
): AsyncGenerator<Buffer, void, undefined> {
  const { chain, encoder, microbatchBlocks, signal } = context;
  let position: Position | null = resume;
  let hasBegun = false;
  while (!signal.aborted) {
    const view = chain.view();
    const range = nextMicrobatch(chain, view, position, microbatchBlocks);
    if (range !== null) {
      if (!hasBegun) yield schemaMessage(encoder);
      hasBegun = true;
      yield* sendMicrobatch(context, view, range);
      position = { number: range.end, hash: range.hash };
    } else if (view.head === null && !hasBegun) {
      yield* sendNothing(context);
      return;
    } else {
      await nextChange(chain, signal);
    }
  }
}
