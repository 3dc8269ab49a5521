/** Names and values as they stand in SQL text, for statements that are shown before they are run. */
export { escapeIdentifier as identifier, escapeLiteral as literal } from 'pg';
