/** A server that streams the simulator's chain, and all that it and the line to it do wrong. */
import type { BlockRange } from '../../src/chain/range.ts';
import type { BlockWindow } from '../../src/chain/window.ts';
import { serveScript, transfersBatch, type Question, type Step } from '../jobs/scripted-server.ts';
import { startProxy, through, type Spoil } from '../proxy.ts';
import type { Dice, ModelChain } from './model-chain.ts';

/** What goes wrong during one run; 0 is never. */
export interface Mischief {
  /** One microbatch in so many comes twice, or an old one comes again. */
  readonly repeat: number;
  /** One in so many comes before the one it follows. */
  readonly reorder: number;
  /** The head moves or forks after one microbatch in so many, or one answer to a query of history. */
  readonly move: number;
  /** One message in so many is the last: the call fails, or ends as if all were well. */
  readonly cut: number;
  /** What becomes of the line of the run: slow, in crumbs, broken, or silent without a word. */
  readonly line: Spoil;
}

/** Nothing goes wrong. */
export const PEACE: Mischief = { repeat: 0, reorder: 0, move: 0, cut: 0, line: {} };

/** Mischief of some kinds, others not. */
export const drawMischief = (dice: Dice): Mischief => ({
  repeat: dice(2) * (2 + dice(5)),
  reorder: dice(4) === 0 ? 3 + dice(8) : 0,
  move: dice(2) * (2 + dice(6)),
  cut: dice(3) === 0 ? 2 + dice(30) : 0,
  line: drawLine(dice),
});

const drawLine = (dice: Dice): Spoil => {
  const after = { bytes: dice(30_000), what: (['cut', 'reset', 'silence'] as const)[dice(3)]! };
  switch (dice(12)) {
    case 0:
    case 1:
      return { after };
    case 2:
      return { pieceBytes: () => 1 + dice(7), after };
    case 3:
      return { latency_ms: 1, after };
    case 4:
      return { bytesPerSecond: 500_000, pieceBytes: () => 2000 };
    default:
      return {};
  }
};

/** Moves of the head during one run: behind them the chain stands still, so that every run ends. */
const MOVES_MAX = 20;

/** A server of one chain, reached through a line that can break. */
export interface SimulatedServer {
  readonly url: string;
  /** What goes wrong from now on. `onIdle` is called when a stream has been told all there is. */
  play(mischief: Mischief, onIdle?: () => void): void;
  stop(): Promise<void>;
}

const LOWER = /_block_num >= (?<block>\d+)/;
const UPPER = /_block_num < (?<block>\d+)/;

/** The blocks that a query asks for: what {@link wrapQuery} has put around it. */
const windowOf = (sql: string): BlockWindow => {
  const [from, to] = [LOWER, UPPER].map((bound) => bound.exec(sql)?.groups?.['block']);
  return { from: from === undefined ? null : Number(from), to: to === undefined ? null : Number(to) };
};

const isInside = (block: number, { from, to }: BlockWindow): boolean =>
  block >= (from ?? 0) && block < (to ?? Infinity);

/** The messages of a microbatch: its rows in pieces of any size, keep-alives anywhere, and the one that completes it. */
const messagesOf = (chain: ModelChain, range: BlockRange, asked: BlockWindow, dice: Dice): Step[] => {
  const transfers = chain.blocks
    .slice(range.start, range.end + 1)
    .flatMap((block) => (isInside(block.number, asked) ? block.transfers : []));
  const empty = (complete: boolean): Step => ({ batch: transfersBatch([]), ranges: [range], complete });
  const steps: Step[] = [];
  for (let at = 0; at < transfers.length;) {
    if (dice(5) === 0) steps.push(empty(false));
    const size = 1 + dice(transfers.length);
    steps.push({ batch: transfersBatch(transfers.slice(at, at + size)), ranges: [range] });
    at += size;
  }
  if (dice(5) === 0) steps.push(empty(false));
  return [...steps, empty(true)];
};

/**
 * Serves `chain`.
 *
 * @param flickers whether a branch that a fork has dropped may come back while somebody looks
 */
export const serveChain = async (
  chain: ModelChain,
  dice: Dice,
  flickers = false,
): Promise<SimulatedServer> => {
  let mischief = PEACE;
  let idle: () => void = () => undefined;
  let moves = 0;
  const oneIn = (chance: number): boolean => chance > 0 && dice(chance) === 0;
  const move = (): void => {
    if (moves++ >= MOVES_MAX) return;
    if (flickers && dice(2) === 0) chain.revive(dice(3));
    else if (dice(2) === 0) chain.grow(1 + dice(5));
    else chain.fork(1 + dice(dice(4) === 0 ? 64 : 6), dice(4));
  };

  /** Microbatches from behind `resume` to the head, in the order and as often as the mischief wants. */
  function* microbatches({ resume, sql }: Question): Generator<Step[], void, undefined> {
    const asked = windowOf(sql);
    const size = dice(5) === 0 ? 1 + dice(3) : 4 + dice(60);
    const sent: BlockRange[] = [];
    let position = resume?.[chain.network] ?? null;
    for (;;) {
      const start = chain.nextStart(position);
      if (start >= chain.blocks.length) {
        // All is told; live, the chain goes on.
        if (moves >= MOVES_MAX || mischief.move === 0 || dice(3) === 0) return;
        move();
        continue;
      }
      const range = chain.range(start, Math.min(start + dice(size), chain.blocks.length - 1));
      const next = range.end + 1;
      // The first of a fork, or of all, stays the first: swapped, it would tell of another fork, or of a chain that begins later.
      const isFirst = start <= (position?.number ?? 0);
      if (!isFirst && next < chain.blocks.length && oneIn(mischief.reorder)) {
        yield messagesOf(chain, chain.range(next, next), asked, dice);
      }
      yield messagesOf(chain, range, asked, dice);
      position = { number: range.end, hash: range.hash };
      sent.push(range);
      if (oneIn(mischief.move)) move();
      const old = sent[sent.length - 1 - dice(Math.min(3, sent.length))]!;
      if (oneIn(mischief.repeat) && chain.blocks[old.end]?.hash === old.hash)
        yield messagesOf(chain, chain.range(old.start, old.end), asked, dice);
    }
  }

  /** The ranges a batch query is answered with: all that is synced, only what was asked for, or that in pieces. */
  const rangesOf = ({ from, to }: BlockWindow): BlockRange[] => {
    const head = chain.blocks.length - 1;
    const [first, last] = [from ?? 0, Math.min((to ?? Infinity) - 1, head)];
    if (first > last || dice(2) === 0) return [chain.range(0, head)];
    const cuts = dice(2) === 0 ? [] : Array.from({ length: dice(3) }, () => first + dice(last - first + 1));
    const starts = [...new Set([first, ...cuts])].toSorted((a, b) => a - b);
    return starts.map((start, index) => chain.range(start, (starts[index + 1] ?? last + 1) - 1));
  };

  function* cutSomewhere(steps: Iterable<Step>): Generator<Step, boolean, undefined> {
    for (const step of steps) {
      if (oneIn(mischief.cut)) {
        if (dice(3) > 0) yield { fail: 'UNAVAILABLE' };
        return true;
      }
      yield step;
    }
    return false;
  }

  function* script(question: Question): Generator<Step, void, undefined> {
    for (const steps of microbatches(question)) if (yield* cutSomewhere(steps)) return;
    idle();
    yield { wait: 'for ever' };
  }

  function* answer({ sql }: Question): Generator<Step, void, undefined> {
    const asked = windowOf(sql);
    if (chain.blocks.length === 0) return;
    const steps = rangesOf(asked).flatMap((range) => messagesOf(chain, range, asked, dice));
    // Nobody can tell an answer that ends early from a server of which nothing is synced.
    if (steps.length > 1) yield* cutSomewhere(steps);
    else yield* steps;
    if (oneIn(mischief.move)) move();
  }

  const server = await serveScript([], script, { answer });
  const target = Number(new URL(server.url.replace('grpc:', 'http:')).port);
  const line = await startProxy({ port: () => target }, () => mischief.line);
  return {
    url: through(line, server.url),
    play: (next, onIdle = () => undefined) => {
      mischief = next;
      idle = onIdle;
      moves = 0;
    },
    stop: async () => {
      server.stop();
      await line.stop();
    },
  };
};
