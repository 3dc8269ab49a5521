/** The version, from the package's own manifest. */
import { readFileSync } from 'node:fs';

/** As package.json has it. */
export const { version: VERSION } = JSON.parse(
  readFileSync(new URL('../../package.json', import.meta.url), 'utf8'),
) as { readonly version: string };
