/** The page's own files, read once: nothing that is not in this list is ever served from disk. */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';

/** A file as it is sent. */
export interface PageFile {
  readonly type: string;
  readonly etag: string;
  readonly plain: Buffer;
  readonly gzipped: Buffer;
}

const HTML = 'text/html; charset=utf-8';
const SCRIPT = 'text/javascript; charset=utf-8';
const STYLE = 'text/css; charset=utf-8';

const PAGE = fileURLToPath(new URL('./page/', import.meta.url));

/** The charting library, from its own package. */
const uplot = (file: string): string =>
  join(dirname(createRequire(import.meta.url).resolve('uplot/package.json')), 'dist', file);

const own = (file: string, type: string): readonly [string, string] => [join(PAGE, file), type];

/** Path → file and type. */
const FILES: Readonly<Record<string, readonly [file: string, type: string]>> = {
  '/': own('index.html', HTML),
  '/login': own('login.html', HTML),
  '/page.css': own('page.css', STYLE),
  '/map.css': own('map.css', STYLE),
  '/icon.svg': own('icon.svg', 'image/svg+xml'),
  ...Object.fromEntries(
    ['page', 'dom', 'format', 'streams', 'map', 'week', 'runs', 'explorer', 'chart'].map((name) => [
      `/${name}.js`,
      own(`${name}.js`, SCRIPT),
    ]),
  ),
  '/uplot.js': [uplot('uPlot.esm.js'), SCRIPT],
  '/uplot.css': [uplot('uPlot.min.css'), STYLE],
};

/** Reads them all. */
export const readPageFiles = async (): Promise<ReadonlyMap<string, PageFile>> =>
  new Map(
    await Promise.all(
      Object.entries(FILES).map(async ([path, [file, type]]) => {
        const plain = await readFile(file);
        const etag = `"${createHash('sha256').update(plain).digest('base64url').slice(0, 22)}"`;
        return [path, { type, etag, plain, gzipped: await promisify(gzip)(plain) }] as const;
      }),
    ),
  );
