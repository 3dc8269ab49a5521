/** The pages that people read, and what they show: README.md and docs/. */
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The project's folder. */
export const ROOT = fileURLToPath(new URL('..', import.meta.url));

/** Every page by its path, README.md first. */
export const PAGES: ReadonlyMap<string, string> = new Map(
  ['README.md', ...globSync('docs/*.md', { cwd: ROOT }).toSorted()].map((file) => [
    file,
    readFileSync(join(ROOT, file), 'utf8'),
  ]),
);

const FENCED = /^```(\w*)\n([\s\S]*?)^```$/gm;

/** Fenced blocks of a language, each with its page and its number there. */
export const blocksOf = (language: string): { readonly name: string; readonly text: string }[] =>
  [...PAGES].flatMap(([page, text]) =>
    [...text.matchAll(FENCED)]
      .filter((match) => match[1] === language)
      .map((match, index) => ({ name: `${page}, block ${index + 1}`, text: match[2] ?? '' })),
  );

/** A page without its fenced blocks. */
export const proseOf = (page: string): string => (PAGES.get(page) ?? '').replaceAll(FENCED, '');

/** Policy files. What begins with `groups:` are rules for Prometheus, which test/deploy looks at. */
export const policies = (): { readonly name: string; readonly text: string }[] =>
  blocksOf('yaml').filter(({ text }) => !text.startsWith('groups:'));

/** The lines of shell blocks, one command each. */
export const shellLines = (): string[] =>
  blocksOf('sh')
    .flatMap(({ text }) => text.split(/\n|&&/))
    .map((line) => line.trim())
    .filter((line) => line !== '');
