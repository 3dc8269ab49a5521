/** Fills in docs/sizing.md from measured rates: `npm run sizing`; with `-- --measure` the rates are measured first. */
import { readFile, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { replaceSection } from './marked-sections.ts';
import { readRates, writeRates } from './sizing/rates.ts';
import { sections } from './sizing/report.ts';

/** The file. */
export const SIZING_FILE = fileURLToPath(new URL('../docs/sizing.md', import.meta.url));

/** Its text, with every generated section as the rates give it. */
export const renderSizing = async (text: string): Promise<string> =>
  Object.entries(sections(await readRates())).reduce(
    (file, [name, section]) => replaceSection(file, name, section),
    text,
  );

if (import.meta.main) {
  const { values } = parseArgs({ options: { measure: { type: 'boolean', default: false } } });
  if (values.measure) {
    const { measureRates } = await import('./sizing/measure.ts');
    const say = (text: string): boolean => process.stderr.write(`${text}\n`);
    await writeRates(await measureRates(process.env['CITUS_URL'] || null, say));
  }
  await writeFile(SIZING_FILE, await renderSizing(await readFile(SIZING_FILE, 'utf8')));
}
