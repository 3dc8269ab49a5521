/** The word that was probably meant, for messages about typos. */

/** Edits beyond which two words have nothing to do with each other: a third of the word, and one at least. */
const editsMax = (word: string): number => Math.max(1, Math.floor(word.length / 3));

/**
 * The candidate with the fewest edits from the word (one letter put in, left out, changed, or two exchanged), if they are few.
 *
 * @example nearest('consolodate', ['ensure', 'consolidate']) // 'consolidate'
 */
export const nearest = (word: string, candidates: readonly string[]): string | undefined => {
  const [best] = candidates
    .map((candidate) => ({ candidate, edits: editsBetween(word.toLowerCase(), candidate.toLowerCase()) }))
    .filter(({ edits }) => edits <= editsMax(word))
    .toSorted((a, b) => a.edits - b.edits);
  return best?.candidate;
};

/** Asks, behind a message, for the word that was probably meant; nothing where none is near. */
export const didYouMean = (word: string, candidates: readonly string[], sign = ''): string => {
  const meant = nearest(word, candidates);
  return meant === undefined ? '' : `; did you mean ${sign}${meant}?`;
};

/** Optimal string alignment distance. */
const editsBetween = (a: string, b: string): number => {
  const rows: number[][] = [Array.from({ length: b.length + 1 }, (_unused, column) => column)];
  for (let row = 1; row <= a.length; row++) {
    const current = [row];
    for (let column = 1; column <= b.length; column++) {
      const same = a[row - 1] === b[column - 1];
      const exchanged = row > 1 && column > 1 && a[row - 1] === b[column - 2] && a[row - 2] === b[column - 1];
      current[column] = Math.min(
        rows[row - 1]![column]! + 1,
        current[column - 1]! + 1,
        rows[row - 1]![column - 1]! + (same ? 0 : 1),
        exchanged ? rows[row - 2]![column - 2]! + 1 : Infinity,
      );
    }
    rows.push(current);
  }
  return rows[a.length]![b.length]!;
};
