/** Finds the asset that people mean by an id, a key or a symbol. */
import { on, type Client } from '../../db/query.ts';
import { WarehouseError } from '../../runtime/errors.ts';
import { didYouMean } from '../../runtime/nearest.ts';

/** Names looked at for a typo, at most. */
const NAMES_MAX = 10_000;
/** Candidates an error lists. */
const SHOWN_MAX = 5;

const ID = /^-?\d{1,19}$/;

/**
 * Id of the asset that is called so: by its id, else by its key or symbol.
 *
 * @throws WarehouseError `usage` where there is none, or several
 */
export const findAsset = async (client: Client, text: string): Promise<string> => {
  const assets = on(client).selectFrom('assets');
  if (ID.test(text) && BigInt.asIntN(64, BigInt(text)) === BigInt(text)) {
    const known = await assets.select('asset_key').where('asset_id', '=', text).executeTakeFirst();
    if (known !== undefined) return text;
  }
  const found = await assets
    .select((eb) => [
      eb.cast<string>('asset_id', 'text').as('id'),
      'network',
      'standard',
      'asset_key',
      'token_id',
      'symbol',
    ])
    .where((eb) => eb.or([eb('asset_key', '=', text), eb('symbol', '=', text)]))
    .orderBy('asset_id')
    .limit(SHOWN_MAX + 1)
    .execute();
  const [first, second] = found;
  if (first !== undefined && second === undefined) return first.id;
  if (first === undefined) throw await unknown(client, text);
  const shown = found
    .slice(0, SHOWN_MAX)
    .map(
      ({ id, network, standard, asset_key: key, token_id: token }) =>
        `${id} (${[network, standard, key, token].filter((part) => part !== null).join(' ')})`,
    );
  throw new WarehouseError('usage', `several assets are called ${JSON.stringify(text)}`, {
    remedy: `Say which by its id: ${shown.join(', ')}${found.length > SHOWN_MAX ? ' or another' : ''}.`,
  });
};

const unknown = async (client: Client, text: string): Promise<WarehouseError> => {
  const names = await on(client)
    .selectFrom('assets')
    .select(['asset_key', 'symbol'])
    .limit(NAMES_MAX)
    .execute();
  const known = new Set(
    names.flatMap(({ asset_key: key, symbol }) => (symbol === null ? [key] : [symbol, key])),
  );
  return new WarehouseError(
    'usage',
    `there is no asset ${JSON.stringify(text)}${didYouMean(text, [...known])}`,
    { remedy: 'Assets, their keys, symbols and ids are the rows of strata.assets.' },
  );
};
