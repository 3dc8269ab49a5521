/** Assets by computed id: no sequence and no look-up, so every worker and node names the same asset alike. */
import { createHash } from 'node:crypto';
import { sql } from 'kysely';
import { on, type Client } from '../db/query.ts';
import { WarehouseError } from '../runtime/errors.ts';
import { accountText } from './account.ts';

/** The natural key of an asset. */
export interface AssetKey {
  readonly network: string;
  readonly standard: string;
  readonly assetKey: string;
  /** Integer in decimal, for standards with many tokens per contract. */
  readonly tokenId: string | null;
}

/** An asset's id as the halves of its signed 64 bits, ready to be written. */
export interface AssetId {
  readonly high: number;
  readonly low: number;
}

/** First 8 bytes of SHA-256 over network, standard, key and token id, joined by 0x1f: as strata.asset_id() computes it. */
export const assetId = (key: AssetKey): AssetId => {
  const digest = createHash('sha256')
    .update([key.network, key.standard, key.assetKey, key.tokenId ?? ''].join('\u001f'))
    .digest();
  return { high: digest.readInt32BE(0), low: digest.readInt32BE(4) };
};

/** The id as PostgreSQL shows it. */
export const assetIdText = ({ high, low }: AssetId): string =>
  ((BigInt(high) << 32n) | BigInt(low >>> 0)).toString();

/** Assets one process has met: a cache of ids, and the ones that the database may not know yet. */
export interface AssetBook {
  /** The id of the asset whose key is `bytes[start, end)`. */
  idOf(
    network: string,
    bytes: Uint8Array,
    start: number,
    end: number,
    tokenId: string | null,
    zeroSum: boolean,
  ): AssetId;
  /** Assets met since the last call, for {@link writeAssets}. */
  takeNew(): readonly NewAsset[];
}

/** How the balances of an asset are kept. */
export interface AssetTraits {
  /** Period of its balance rows; one asset has one. */
  readonly grain: 'hour' | 'day';
  /** Whether balances are observed (snapshots) instead of summed from changes. */
  readonly observed: boolean;
}

/** An asset to be written. */
export interface NewAsset extends AssetKey {
  readonly id: AssetId;
  /** Whether each of its changes has a counterpart, so that all its balances sum to zero. */
  readonly zeroSum: boolean;
}

/** Ids kept in memory; beyond it the cache starts anew, which costs only hashing. */
const CACHE_LIMIT = 500_000;

/** Assets without a token id that are found by their bytes alone, at two to the power of so many bits: making a text of each row's costs more than all else. */
const QUICK_BITS = 12;

/** What was found last for keys that end alike. */
interface QuickFind {
  readonly network: string;
  readonly key: Uint8Array;
  readonly id: AssetId;
}

/** Where a key is looked for: contracts differ in their last bytes. */
const quickPlace = (bytes: Uint8Array, start: number, end: number): number => {
  let hash = end - start;
  for (let at = Math.max(start, end - 4); at < end; at++) hash = Math.imul(hash ^ bytes[at]!, 0x01000193);
  return (hash ^ (hash >>> 15)) & ((1 << QUICK_BITS) - 1);
};

const isKey = ({ key }: QuickFind, bytes: Uint8Array, start: number, end: number): boolean => {
  if (key.length !== end - start) return false;
  for (let at = 0; at < key.length; at++) if (key[at] !== bytes[start + at]) return false;
  return true;
};

/** An empty book for assets of one standard. */
export const createAssetBook = (standard: string): AssetBook => {
  let known = new Map<string, AssetId>();
  let fresh: NewAsset[] = [];
  const quick: (QuickFind | undefined)[] = Array.from({ length: 1 << QUICK_BITS });
  const byText: AssetBook['idOf'] = (network, bytes, start, end, tokenId, zeroSum) => {
    // latin1 maps bytes to characters one to one, which makes a cheap exact key.
    const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const cacheKey = `${network}\u001f${tokenId ?? ''}\u001f${view.toString('latin1', start, end)}`;
    const found = known.get(cacheKey);
    if (found !== undefined) return found;
    const key = { network, standard, assetKey: accountText(bytes.subarray(start, end)), tokenId };
    const id = assetId(key);
    if (known.size >= CACHE_LIMIT) known = new Map();
    known.set(cacheKey, id);
    fresh.push({ ...key, id, zeroSum });
    return id;
  };
  return {
    idOf: (network, bytes, start, end, tokenId, zeroSum) => {
      if (tokenId !== null) return byText(network, bytes, start, end, tokenId, zeroSum);
      const place = quickPlace(bytes, start, end);
      const last = quick[place];
      if (last?.network === network && isKey(last, bytes, start, end)) return last.id;
      const id = byText(network, bytes, start, end, tokenId, zeroSum);
      quick[place] = { network, key: new Uint8Array(bytes.subarray(start, end)), id };
      return id;
    },
    takeNew: () => {
      const taken = fresh;
      fresh = [];
      return taken;
    },
  };
};

/** Rows per INSERT: eight parameters each, PostgreSQL takes 65,535. */
const ROWS_PER_INSERT = 8000;

/**
 * Writes assets that are not there yet.
 *
 * @throws WarehouseError `internal` when two different assets hash to one id (expected once in 2^32 assets or so);
 *   `config` when an asset is kept by another grain or in another way already
 */
export const writeAssets = async (
  client: Client,
  assets: readonly NewAsset[],
  traits: AssetTraits,
): Promise<void> => {
  // In id order, so that two loaders that meet the same new assets wait for each other instead of deadlocking.
  const rows = assets
    .map((asset) => ({
      asset_id: assetIdText(asset.id),
      network: asset.network,
      standard: asset.standard,
      asset_key: asset.assetKey,
      token_id: asset.tokenId,
      zero_sum: asset.zeroSum,
      ...traits,
    }))
    .toSorted((a, b) => (a.asset_id < b.asset_id ? -1 : 1));
  for (let start = 0; start < rows.length; start += ROWS_PER_INSERT) {
    const part = rows.slice(start, start + ROWS_PER_INSERT);
    // No conflict target: every unique index is looked at. With one named, loaders that write the same new asset at the same
    // moment would fail on the other.
    await on(client)
      .insertInto('assets')
      .values(part)
      .onConflict((conflict) => conflict.doNothing())
      .execute();
    await requireSameAssets(client, part);
    await markOneSided(
      client,
      part.filter((row) => !row.zero_sum).map((row) => row.asset_id),
    );
    await requireTraits(
      client,
      part.map((row) => row.asset_id),
      traits,
    );
  }
};

/** Notes assets that were taken for zero-sum and are no longer; in id order, as they are written. */
const markOneSided = async (client: Client, ids: readonly string[]): Promise<void> => {
  if (ids.length === 0) return;
  await sql`
    update strata.assets a set zero_sum = false
      from (select asset_id from strata.assets where asset_id = any(${ids}::bigint[]) and zero_sum order by asset_id for update) taken
     where a.asset_id = taken.asset_id`.execute(on(client));
};

/** An asset as it is stored. */
interface AssetRow {
  readonly asset_id: string;
  readonly network: string;
  readonly standard: string;
  readonly asset_key: string;
  readonly token_id: string | null;
}

/** Fails where an id belongs to another natural key than ours. */
const requireSameAssets = async (client: Client, assets: readonly AssetRow[]): Promise<void> => {
  const column = (name: keyof AssetRow): (string | null)[] => assets.map((asset) => asset[name]);
  const { rows } = await sql<{ asset_id: string; held_by: string | null }>`
    select ours.asset_id::text, to_jsonb(a) #>> '{}' as held_by
      from unnest(${column('asset_id')}::bigint[], ${column('network')}::text[], ${column('standard')}::text[],
                  ${column('asset_key')}::text[], ${column('token_id')}::numeric[]) ours (asset_id, network, standard, asset_key, token_id)
      left join strata.assets a on a.asset_id = ours.asset_id
     where (a.network, a.standard, a.asset_key, a.token_id) is distinct from (ours.network, ours.standard, ours.asset_key, ours.token_id)
     limit 1`.execute(on(client));
  const [other] = rows;
  if (other === undefined) return;
  throw new WarehouseError('internal', 'two different assets have the same computed id', {
    value: other.asset_id,
    remedy: `Report it with this row of strata.assets: ${other.held_by ?? 'none has the id'}.`,
  });
};

const requireTraits = async (client: Client, ids: readonly string[], traits: AssetTraits): Promise<void> => {
  const other = await on(client)
    .selectFrom('assets')
    .select(['asset_key', 'grain', 'observed'])
    .where('asset_id', 'in', ids)
    .where((where) =>
      where.or([where('grain', '<>', traits.grain), where('observed', '<>', traits.observed)]),
    )
    .executeTakeFirst();
  if (other === undefined) return;
  const kept =
    other.observed === traits.observed
      ? `by the ${other.grain}`
      : other.observed
        ? 'from snapshots'
        : 'from changes';
  throw new WarehouseError('config', `the balances of asset ${other.asset_key} are kept ${kept} already`, {
    value: other.asset_key,
    remedy: 'One asset has one grain and one kind of load: give this stream the same, or another `standard`.',
  });
};
