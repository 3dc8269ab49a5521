/** Generated parts of a hand-written Markdown file: each stands between two marks, and only there is it written. */

const marksOf = (name: string): readonly [string, string] => [
  `<!-- ${name}:begin -->`,
  `<!-- ${name}:end -->`,
];

/** A table of Markdown. */
export const markdownTable = (headers: readonly string[], rows: readonly (readonly string[])[]): string =>
  [headers, headers.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n');

/** The generated text between a section's marks. */
export const sectionOf = (file: string, name: string): string => {
  const [begin, end] = marksOf(name);
  const [from, to] = [file.indexOf(begin), file.indexOf(end)];
  if (from < 0 || to < from) throw new Error(`there is no section ${name}`);
  return file.slice(from + begin.length, to).trim();
};

/** The same file with another text between the section's marks. */
export const replaceSection = (file: string, name: string, text: string): string => {
  const [begin, end] = marksOf(name);
  sectionOf(file, name);
  return file.slice(0, file.indexOf(begin) + begin.length) + `\n${text}\n` + file.slice(file.indexOf(end));
};
