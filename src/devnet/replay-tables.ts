/** Which Arrow type each column of the replayed JSONL files gets: the types an EVM dataset sends. */

/** How a JSON value becomes an Arrow value; `hex20` is 20 bytes from `0x` text, `decimal_text` any integer as digits. */
export type ReplayKind =
  | 'uint64'
  | 'uint32'
  | 'time'
  | 'hex20'
  | 'hex32'
  | 'hex'
  | 'hex32_list'
  | 'decimal_text'
  | 'text';

/** One column: its name in the result, its key in the file, its kind. */
export interface ReplayColumn {
  readonly name: string;
  readonly key: string;
  readonly kind: ReplayKind;
  readonly nullable: boolean;
}

/** One table and the end of the name of its file. */
export interface ReplayTable {
  readonly name: string;
  /** The key that holds the block number. */
  readonly blockKey: string;
  readonly columns: readonly ReplayColumn[];
}

/** `key`, `key kind`; a `?` behind the kind allows null. A third word is the column's name where it differs. */
const columnsOf = (lines: readonly string[]): readonly ReplayColumn[] =>
  lines.map((line) => {
    const [key = '', kind = '', name = key] = line.split(' ');
    const nullable = kind.endsWith('?');
    return { key, name, nullable, kind: (nullable ? kind.slice(0, -1) : kind) as ReplayKind };
  });

const perBlock = (key: string): readonly string[] => [`${key} uint64 _block_num`, `${key} uint64 block_num`];

/** The tables of blocks as blockchain-etl exports them. */
export const REPLAY_TABLES: readonly ReplayTable[] = [
  {
    name: 'token_transfers',
    blockKey: 'block_number',
    columns: columnsOf([
      ...perBlock('block_number'),
      'block_timestamp time timestamp',
      'block_hash hex32',
      'transaction_hash hex32',
      'log_index uint32',
      'token_address hex20',
      'from_address hex20',
      'to_address hex20',
      'value decimal_text',
    ]),
  },
  {
    name: 'logs',
    blockKey: 'block_number',
    columns: columnsOf([
      ...perBlock('block_number'),
      'block_timestamp time timestamp',
      'block_hash hex32',
      'transaction_hash hex32',
      'transaction_index uint32',
      'log_index uint32',
      'address hex20',
      'topics hex32_list',
      'data hex',
    ]),
  },
  {
    name: 'transactions',
    blockKey: 'block_number',
    columns: columnsOf([
      ...perBlock('block_number'),
      'block_timestamp time timestamp',
      'block_hash hex32',
      'hash hex32',
      'nonce uint64',
      'transaction_index uint32',
      'from_address hex20',
      'to_address hex20?',
      'value decimal_text',
      'gas uint64',
      'gas_price decimal_text',
      'input hex',
      'max_fee_per_gas decimal_text?',
      'max_priority_fee_per_gas decimal_text?',
      'transaction_type uint32',
      'receipt_cumulative_gas_used uint64',
      'receipt_gas_used uint64',
      'receipt_contract_address hex20?',
      'receipt_status uint32',
      'receipt_effective_gas_price decimal_text',
    ]),
  },
  {
    name: 'blocks',
    blockKey: 'number',
    columns: columnsOf([
      ...perBlock('number'),
      'number uint64',
      'timestamp time',
      'hash hex32',
      'parent_hash hex32',
      'nonce hex',
      'sha3_uncles hex32',
      'logs_bloom hex',
      'transactions_root hex32',
      'state_root hex32',
      'receipts_root hex32',
      'miner hex20',
      'difficulty decimal_text',
      'total_difficulty decimal_text',
      'size uint64',
      'extra_data hex',
      'gas_limit uint64',
      'gas_used uint64',
      'transaction_count uint32',
      'base_fee_per_gas decimal_text?',
    ]),
  },
];
