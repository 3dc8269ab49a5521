/** Faults of the policy file as sentences: what is wrong, where, and which word was probably meant. */
import { z } from 'zod';
import { didYouMean } from './nearest.ts';

/** Words listed at most. */
const LISTED_MAX = 12;

/** Behind a word that is not known: the near one, or all of a few. */
const advice = (word: string, known: readonly string[]): string =>
  didYouMean(word, known) || (known.length <= LISTED_MAX ? `; there are ${known.join(', ')}` : '');

/**
 * What an issue says to whoever has written the file: a line each.
 *
 * @param schema of the whole file, for the fields that there are
 * @param file the values that were checked
 */
export const faultsOf = (issue: z.core.$ZodIssue, schema: z.ZodType, file: unknown): string[] => {
  const path = issue.path.map(String);
  const at = (names: readonly string[], says: string): string =>
    `${names.join('.') || '(top level)'}: ${says}`;
  if (issue.code === 'unrecognized_keys') {
    const fields = fieldsAt(schema, path, file);
    return issue.keys.map((key) => at([...path, key], `there is no such field${advice(key, fields)}`));
  }
  if (issue.code === 'invalid_key') return issue.issues.map(({ message }) => at(path, message));
  const value = path.reduce(memberOf, file);
  const options = optionsOf(issue);
  // What a rule of ours refuses says so itself.
  if (issue.code === 'custom') return [at(path, issue.message)];
  if (value === undefined) {
    const choice = options === null ? '' : `: ${options.join(', ')}`;
    return [at(path, `is missing${choice}`)];
  }
  if (options !== null) {
    const near = typeof value === 'string' ? didYouMean(value, options) : '';
    return [at(path, `must be one of ${options.join(', ')}, not ${JSON.stringify(value)}${near}`)];
  }
  return [at(path, issue.message)];
};

/** The words of which one is wanted; null where it is no such fault. */
const optionsOf = (issue: z.core.$ZodIssue): string[] | null => {
  if (issue.code === 'invalid_value') return issue.values.map(String);
  if (issue.code === 'invalid_union' && 'options' in issue && Array.isArray(issue.options))
    return issue.options.map(String);
  return null;
};

const memberOf = (value: unknown, name: string): unknown =>
  typeof value === 'object' && value !== null && Object.hasOwn(value, name)
    ? (value as Readonly<Record<string, unknown>>)[name]
    : undefined;

type Shape = z.core.JSONSchema.BaseSchema;

/** The fields that may stand at a path; of a stream those of its kind of load. */
const fieldsAt = (schema: z.ZodType, path: readonly string[], file: unknown): string[] => {
  let shape: Shape = z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' });
  let value = file;
  for (const name of path) {
    const next = branchOf(shape, value).properties?.[name] ?? branchOf(shape, value).additionalProperties;
    if (typeof next !== 'object') return [];
    shape = next;
    value = memberOf(value, name);
  }
  return Object.keys(branchOf(shape, value).properties ?? {});
};

/** Of alternatives the one whose constants the value has. */
const branchOf = (shape: Shape, value: unknown): Shape => {
  const branch = shape.oneOf?.find(
    (one): one is Shape =>
      typeof one === 'object' &&
      Object.entries(one.properties ?? {}).every(
        ([name, of]) =>
          typeof of !== 'object' || of.const === undefined || of.const === memberOf(value, name),
      ),
  );
  return branch ?? shape;
};
