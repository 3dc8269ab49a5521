/** Block ranges as a Flight server announces them: what a batch covers, on which network, on which fork. */

/** Blocks `start`..`end`, both inclusive, of one network; hashes are lower-case `0x` hex. */
export interface BlockRange {
  readonly network: string;
  readonly start: number;
  readonly end: number;
  /** Hash of block `end`. */
  readonly hash: string;
  /** Hash of the parent of block `start`; null at genesis or where the server does not say. */
  readonly prevHash: string | null;
  /** Seconds since 1970 of block `end`, where the server says it. */
  readonly timestamp: number | null;
}

/** What rides beside one record batch: the ranges of its microbatch, and whether the microbatch ends here. */
export interface BatchMetadata {
  readonly ranges: readonly BlockRange[];
  readonly complete: boolean;
}

/** The last block of a network that is known to be loaded: where a stream goes on from. */
export interface Watermark {
  readonly network: string;
  readonly number: number;
  readonly hash: string;
}
