/** The stream protocol, on hand-made ranges: each invariant of the state machine's doc comment under its number. */
import { describe, expect, it, test } from 'vitest';
import { cutTail, LEDGER_HORIZON, type LedgerTails } from '../../src/chain/ledger-tail.ts';
import {
  protocolStart,
  protocolStep,
  TRANSITIONS,
  type Phase,
  type ProtocolEvent,
  type ProtocolState,
} from '../../src/chain/protocol.ts';
import type { BlockRange, Watermark } from '../../src/chain/range.ts';

const range = (start: number, end: number, fork = 'a', parentFork = fork, network = 'net'): BlockRange => ({
  network,
  start,
  end,
  hash: `0x${fork}${end}`,
  prevHash: start === 0 ? null : `0x${parentFork}${start - 1}`,
  timestamp: null,
});

const behind = (...tail: BlockRange[]): ProtocolState =>
  protocolStart(Map.groupBy(tail, ({ network }) => network));
const resumed = (position: number | null, ...tail: BlockRange[]): ProtocolState => {
  const at = (number: number): Watermark => ({ network: 'net', number, hash: `0xa${number}` });
  return protocolStart(new Map([['net', tail]]), position === null ? [] : [at(position)]);
};
const take = (state: ProtocolState, complete: boolean, ...ranges: BlockRange[]) =>
  protocolStep(state, { ranges, complete });
const whole = (state: ProtocolState, ...ranges: BlockRange[]) => take(state, true, ...ranges);
const tailOf = ({ tails }: { readonly tails: LedgerTails }) => tails.get('net');

describe('1: nothing is committed before its microbatch is complete', () => {
  it('rows are loaded by each message, the watermark comes with the last', () => {
    const first = take(behind(), false, range(0, 9));
    expect(first).toMatchObject({ load: true, watermark: null, reorgs: [], notReady: false });
    expect(tailOf(first.state)).toBeUndefined();
    const last = take(first.state, true, range(0, 9));
    expect(last.watermark).toEqual([range(0, 9)]);
    expect(tailOf(last.state)).toEqual([range(0, 9)]);
  });
});

describe('2: a microbatch keeps its ranges', () => {
  it.each([
    ['the next ones', [range(10, 19)]],
    ['another end', [range(0, 8)]],
    ['another fork', [range(0, 9, 'b')]],
    ['one network more', [range(0, 9), range(0, 9, 'a', 'a', 'other')]],
  ])('and is refused with %s', (_, ranges) => {
    const first = take(behind(), false, range(0, 9));
    expect(() => take(first.state, false, ...ranges)).toThrow(/changes its ranges from net 0–9/);
  });
});

describe('3: ranges follow each other', () => {
  it('each behind its parent', () => {
    expect(whole(behind(range(0, 9)), range(10, 19)).watermark).toEqual([range(10, 19)]);
  });

  it.each([
    ['a gap', range(11, 19), /gap: block 9 is the last/],
    ['another parent', range(10, 19, 'b'), /does not follow block 9/],
    ['the head as the parent of a block before it', { ...range(5, 12), prevHash: '0xa9' }, /goes back/],
    ['an end before its start', { ...range(5, 9), end: 4 }, /ends before/],
  ])('and are refused with %s', (_, odd, says) => {
    expect(() => whole(behind(range(0, 9)), odd)).toThrow(says);
  });

  it('and are refused where a server begins in the middle, behind the block it was asked to go on from', () => {
    const state = resumed(9, range(0, 9), range(10, 29));
    expect(() => whole(state, range(15, 30, 'b', 'a'))).toThrow(/in the middle of what is loaded/);
  });

  it('and are refused where a server knows the block it goes on from, yet names another as the parent', () => {
    const state = resumed(9, range(0, 9), range(10, 29));
    expect(() => whole(state, range(10, 30, 'b'))).toThrow(/does not follow block 9/);
  });
});

describe('4: no block is loaded twice', () => {
  it('a microbatch that comes again is known by all its messages', () => {
    const first = take(behind(range(0, 9)), false, range(0, 9));
    expect(first).toMatchObject({ load: false, watermark: null });
    const last = take(first.state, true, range(0, 9));
    expect(last).toMatchObject({ load: false, watermark: null });
    expect(tailOf(last.state)).toEqual([range(0, 9)]);
  });

  it('however it was cut', () => {
    expect(whole(behind(range(0, 3), range(4, 9)), range(0, 9)).load).toBe(false);
    expect(whole(behind(range(0, 9)), range(4, 9)).load).toBe(false);
  });
});

describe('5: a reorg takes back exactly the blocks from its start on', () => {
  it('whole ranges', () => {
    const step = whole(behind(range(0, 9), range(10, 19)), range(10, 20, 'b', 'a'));
    expect(step).toMatchObject({ reorgs: [range(10, 20, 'b', 'a')], load: true });
    expect(tailOf(step.state)).toEqual([range(0, 9), range(10, 20, 'b', 'a')]);
  });

  it('a part of a range, whose blocks before it stay', () => {
    const step = whole(behind(range(0, 9)), range(4, 11, 'b', 'a'));
    expect(step.reorgs).toEqual([range(4, 11, 'b', 'a')]);
    expect(tailOf(step.state)).toEqual([{ ...range(0, 3), hash: '' }, range(4, 11, 'b', 'a')]);
  });

  it('as the first message after a restart, and by every message of a microbatch in parts just once', () => {
    const first = take(behind(range(0, 9), range(10, 10)), false, range(10, 10, 'b', 'a'));
    expect(first).toMatchObject({ reorgs: [range(10, 10, 'b', 'a')], load: true });
    expect(take(first.state, false, range(10, 10, 'b', 'a'))).toMatchObject({ reorgs: [], load: true });
    expect(take(first.state, true, range(10, 10, 'b', 'a'))).toMatchObject({ reorgs: [], load: true });
  });

  it('and what the server says of the block before it proves nothing: that block is loaded when it comes', () => {
    const { state } = whole(behind(range(0, 9)), range(6, 7, 'b'));
    expect(whole(state, range(5, 5, 'b', 'a'))).toMatchObject({
      reorgs: [range(5, 5, 'b', 'a')],
      load: true,
    });
  });

  it('and the batch after it is loaded', () => {
    const { state } = whole(behind(range(0, 9)), range(4, 11, 'b', 'a'));
    expect(whole(state, range(12, 13, 'b'))).toMatchObject({ load: true, reorgs: [] });
  });

  it('and a tail is cut at its start', () => {
    expect(cutTail([range(0, 9), range(10, 19), range(20, 29)], 15)).toEqual([
      range(0, 9),
      { ...range(10, 14), hash: '' },
    ]);
  });
});

describe('6: a fork is believed only where the block before it is proved', () => {
  const long = [range(0, 9), range(10, 19), range(20, 20), range(21, 21)];
  const nothing = { reorgs: [], rereads: [], load: false, watermark: null };

  it('by its stored hash, else the stream goes back behind the block before', () => {
    const state = behind(...long);
    const step = take(state, false, range(21, 21, 'b'));
    expect(step).toMatchObject({
      ...nothing,
      rewind: { network: 'net', to: { network: 'net', number: 20, hash: '0xa20' } },
    });
    expect(step.state).toBe(state);
  });

  it('or by a server that goes back further than one block, for that one knows the block', () => {
    expect(whole(behind(range(0, 9)), range(8, 9, 'b', 'a')).reorgs).toHaveLength(1);
    expect(whole(behind(range(0, 9), range(10, 19)), range(19, 19, 'b', 'a'))).toMatchObject({
      ...nothing,
      rewind: { to: { number: 9 } },
    });
  });

  it('or where nothing before it is loaded', () => {
    expect(whole(behind(range(5, 5)), range(5, 5, 'b')).reorgs).toHaveLength(1);
    expect(whole(resumed(null, range(0, 9)), range(0, 4, 'b')).reorgs).toHaveLength(1);
  });

  it('and not where the server does not say its parent', () => {
    const step = whole(behind(...long), { ...range(21, 21, 'b'), prevHash: null });
    expect(step.rewind?.to?.number).toBe(20);
    const again = whole(resumed(20, ...long), { ...range(21, 21, 'b'), prevHash: null });
    expect(again.reorgs).toHaveLength(1);
  });
});

describe('7: going back ends', () => {
  const ledger = Array.from({ length: 100 }, (_, block) => range(block, block));

  it('each step goes twice as far as the one before, down to the first block, before which nothing is loaded', () => {
    const positions: (number | null)[] = [99];
    for (let position: number | null = 99; position !== null;) {
      const { rewind } = whole(resumed(position, ...ledger), range(position, position, 'b'));
      position = rewind?.to?.number ?? null;
      positions.push(position);
    }
    expect(positions).toEqual([99, 98, 97, 95, 91, 83, 67, 35, 0, null]);
  });

  it('behind the oldest stored hash it is refused, and says that nothing was erased', () => {
    const full = Array.from({ length: LEDGER_HORIZON }, (_, index) => range(1000 + index, 1000 + index));
    const error = catchFrom(() => whole(resumed(1000, ...full), range(1000, 1000, 'b')));
    expect(error.message).toMatch(
      /further back than the stored hashes reach, the oldest of which is of block 1000/,
    );
    expect(error).toMatchObject({
      kind: 'protocol',
      detail: { remedy: expect.stringMatching(/Nothing was erased/) },
    });
    expect(() => whole(behind(...full), range(0, 999, 'b'))).toThrow(/stored hashes reach/);
    const wide = [range(0, 5000, 'a'), range(5001, 5002)];
    expect(whole(resumed(5002, ...wide), range(5002, 5002, 'b')).rewind?.to?.number).toBe(5000);
    expect(() => whole(resumed(5000, ...wide), range(5000, 5000, 'b'))).toThrow(/stored hashes reach/);
  });
});

const catchFrom = (call: () => unknown): Error => {
  try {
    call();
  } catch (thrown) {
    return thrown as Error;
  }
  throw new Error('it was not refused');
};

describe('8: what is refused changes nothing', () => {
  it('the state before it is still the state, and goes on', () => {
    const { state } = take(behind(range(0, 9)), false, range(10, 19));
    const before = structuredClone(state);
    expect(() => take(state, false, range(20, 29))).toThrow();
    expect(() => take(state, true)).toThrow();
    expect(state).toEqual(before);
    expect(take(state, true, range(10, 19)).watermark).toEqual([range(10, 19)]);
  });

  const PHASES: Readonly<Record<Phase, ProtocolState>> = {
    idle: behind(range(0, 9), range(10, 19)),
    loading: take(behind(range(0, 9), range(10, 19)), false, range(20, 29)).state,
    skipping: take(behind(range(0, 9), range(10, 19)), false, range(10, 19)).state,
  };
  /** A message of each kind, as it is in the idle phase; `same` and `changed` are only in a microbatch. */
  const MESSAGES: Readonly<Record<ProtocolEvent, (phase: Phase) => readonly BlockRange[] | null>> = {
    unready: () => [],
    rangeless: () => [],
    same: (phase) => PHASES[phase].open?.ranges ?? null,
    changed: (phase) => (phase === 'idle' ? null : [range(0, 3)]),
    next: () => [range(20, 24)],
    fork: () => [range(10, 20, 'b', 'a')],
    reread: () => null,
    replay: () => [range(0, 9)],
    rewind: () => [range(19, 19, 'b')],
    refused: () => [range(30, 31)],
  };

  test.each(
    (Object.keys(TRANSITIONS) as Phase[]).flatMap((phase) =>
      (Object.keys(TRANSITIONS[phase]) as ProtocolEvent[]).map((event) => [phase, event] as const),
    ),
  )('the table holds what is done: %s, %s', (phase, event) => {
    const ranges = MESSAGES[event](phase);
    const move = TRANSITIONS[phase][event];
    if (ranges === null) {
      expect([`idle same`, `idle changed`, `${phase} reread`]).toContain(`${phase} ${event}`);
      return;
    }
    const complete = event === 'unready';
    const step = () => protocolStep(PHASES[phase], { ranges, complete });
    if (move === 'refuse') expect(step).toThrow();
    else
      expect(step()).toMatchObject({
        load: move === 'load',
        notReady: move === 'wait',
        rewind: move === 'rewind' ? expect.anything() : null,
      });
  });
});

describe('9: each network has its own position', () => {
  const other = (start: number, end: number, fork = 'a', parentFork = fork): BlockRange =>
    range(start, end, fork, parentFork, 'other');

  it('and its own beginning', () => {
    const step = whole(behind(range(0, 9)), range(10, 19), other(100, 104));
    expect(step.state.tails.get('other')).toEqual([other(100, 104)]);
    expect(step.state.positions).toEqual(new Map(Object.entries({ net: 19, other: 104 })));
  });

  it('a reorg of one leaves the other alone', () => {
    const step = whole(behind(range(0, 9), other(0, 4)), range(8, 9, 'b', 'a'), other(5, 6));
    expect(step.reorgs).toEqual([range(8, 9, 'b', 'a')]);
    expect(step.state.tails.get('other')).toEqual([other(0, 4), other(5, 6)]);
  });

  it('what one repeats is skipped while what is new of the other is loaded', () => {
    const first = take(behind(range(0, 9), other(0, 4)), false, range(0, 9), other(5, 6));
    expect(first).toMatchObject({ load: true, replayed: new Set(['net']) });
    const last = take(first.state, true, range(0, 9), other(5, 6));
    expect(last.watermark).toEqual([other(5, 6)]);
    expect(tailOf(last.state)).toEqual([range(0, 9)]);
  });

  it('one that must go back takes only its own position back', () => {
    const { rewind } = whole(
      behind(range(0, 9), range(10, 10), other(0, 4)),
      range(10, 10, 'b'),
      other(5, 6),
    );
    expect(rewind).toMatchObject({ network: 'net', to: { number: 9 } });
  });
});

describe('10: a message without rows changes nothing', () => {
  it('wherever in a microbatch it comes, even first', () => {
    const first = take(behind(range(0, 9)), false, range(10, 19));
    const again = take(first.state, false, range(10, 19));
    expect(again.state).toEqual(first.state);
    expect(again).toMatchObject({ watermark: null, reorgs: [], rewind: null });
  });
});

describe('11: a server that is not ready', () => {
  it('says so with no ranges, which is never a position', () => {
    const state = behind(range(0, 9));
    expect(take(state, true)).toMatchObject({ notReady: true, watermark: null, load: false, state });
  });

  it('may not say so inside a microbatch, nor without completing it', () => {
    const first = take(behind(), false, range(0, 9));
    expect(() => take(first.state, true)).toThrow(/without block ranges/);
    expect(() => take(behind(), false)).toThrow(/without block ranges/);
  });
});

describe('12: a block whose hash is unknown', () => {
  const cut = { ...range(10, 14), hash: '' };

  it('is never gone on behind', () => {
    expect(behind(range(0, 9), cut).positions).toEqual(new Map([['net', 9]]));
    expect(behind(cut).positions.size).toBe(0);
  });

  it('is replaced by what comes, and that is no reorg', () => {
    const step = whole(behind(range(0, 9), cut), range(10, 19));
    expect(step).toMatchObject({ reorgs: [], load: true, rereads: [{ range: range(10, 19), to: 14 }] });
    expect(tailOf(step.state)).toEqual([range(0, 9), range(10, 19)]);
  });

  it('does not hide a fork of the block before it', () => {
    const step = whole(behind(range(0, 8), range(9, 9), cut), range(9, 19, 'b'));
    expect(step).toMatchObject({ rereads: [], load: false, rewind: { to: { number: 8 } } });
  });
});
