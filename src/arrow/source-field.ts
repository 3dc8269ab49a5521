/** Finds the Arrow field that a target column or a load's setting names. */
import type { Field, Schema } from 'apache-arrow';
import { WarehouseError } from '../runtime/errors.ts';

/** A field and its place among a batch's columns. */
export interface SourceField {
  readonly index: number;
  readonly field: Field;
}

/**
 * The one field of this name.
 *
 * @throws WarehouseError `data` when there is none, or more than one
 */
export const findField = (schema: Schema, name: string): SourceField => {
  const [found, twin] = schema.fields
    .map((field, index) => ({ field, index }))
    .filter(({ field }) => field.name === name);
  if (found === undefined)
    throw new WarehouseError('data', `the query has no column "${name}"`, {
      column: name,
      remedy: `Select it; there are ${schema.fields.map((field) => field.name).join(', ')}.`,
    });
  if (twin !== undefined)
    throw new WarehouseError('data', `the query has two columns "${name}"`, {
      column: name,
      remedy: 'Give them different names with AS.',
    });
  return found;
};
