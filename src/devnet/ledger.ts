/** What a chain's transfers add up to, counted the slow and certain way: tests hold the warehouse against it. */
import { Vector } from 'apache-arrow';
import type { RecordBatch } from 'apache-arrow';
import { WarehouseError } from '../runtime/errors.ts';
import type { Chain } from './source.ts';

/** One transfer; addresses and hash as lower-case `0x` hex, the amount in the token's smallest unit. */
export interface Transfer {
  readonly block: number;
  readonly logIndex: number;
  readonly txHash: string;
  readonly token: string;
  readonly from: string;
  readonly to: string;
  readonly value: bigint;
}

/** Names of the columns a transfers table calls otherwise. */
export interface TransferColumns {
  readonly table: string;
  readonly txHash: string;
  readonly token: string;
  readonly from: string;
  readonly to: string;
}

/** The simulated chain's table. */
const SIMULATED: TransferColumns = {
  table: 'transfers',
  txHash: 'tx_hash',
  token: 'token',
  from: 'from',
  to: 'to',
};

/** The table of replayed blocks, under the names its source gave it. */
export const REPLAYED: TransferColumns = {
  table: 'token_transfers',
  txHash: 'transaction_hash',
  token: 'token_address',
  from: 'from_address',
  to: 'to_address',
};

type Reader = (row: number) => unknown;

const readerOf = (batch: RecordBatch, name: string): Reader => {
  const child = batch.getChild(name);
  if (!(child instanceof Vector)) throw new WarehouseError('internal', `The chain has no column ${name}.`);
  return (row) => child.get(row);
};

const hexOf = (value: unknown): string => {
  if (!(value instanceof Uint8Array))
    throw new WarehouseError('internal', 'An address of the chain is not bytes.');
  return `0x${Buffer.from(value).toString('hex')}`;
};

/** Transfers of blocks `from`..`to` (both inclusive) on the chain as it is now, in the chain's order. */
export const transfersIn = (
  chain: Chain,
  from: number,
  to: number,
  columns: TransferColumns = SIMULATED,
): readonly Transfer[] => {
  const batch = chain.view().batch(columns.table, from, to);
  const read = (name: string): Reader => readerOf(batch, name);
  const [block, logIndex, txHash] = [read('block_num'), read('log_index'), read(columns.txHash)];
  const [token, sender, receiver, value] = [
    read(columns.token),
    read(columns.from),
    read(columns.to),
    read('value'),
  ];
  return Array.from({ length: batch.numRows }, (_, row) => ({
    block: Number(block(row)),
    logIndex: Number(logIndex(row)),
    txHash: hexOf(txHash(row)),
    token: hexOf(token(row)),
    from: hexOf(sender(row)),
    to: hexOf(receiver(row)),
    value: BigInt(String(value(row))),
  }));
};

/** Balance by `<account> <token>` after these transfers, the zero address and zero balances included. */
export const balancesAfter = (transfers: Iterable<Transfer>): ReadonlyMap<string, bigint> => {
  const balances = new Map<string, bigint>();
  const add = (key: string, amount: bigint): void =>
    void balances.set(key, (balances.get(key) ?? 0n) + amount);
  for (const { token, from, to, value } of transfers) {
    add(`${from} ${token}`, -value);
    add(`${to} ${token}`, value);
  }
  return balances;
};
