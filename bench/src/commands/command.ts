/** What a command is given besides its options. */
export type CommandContext = {
  /** Says what is being done, on standard error. */
  readonly progress: (text: string) => void;
};

/** What a command found out. */
export type Outcome = {
  /** For standard output. */
  readonly text: string;
  /** For `--json`. */
  readonly data: unknown;
  /** Whether everything held that must hold: limits, checksums, runs that came to their end. */
  readonly ok: boolean;
  /** For `--markdown`. */
  readonly markdown?: () => string;
  /** For `--svg`. */
  readonly svg?: () => string;
};

/** A limit and whether it holds: `limit 3.00×: held`. */
export const verdict = (limit: string, held: boolean): string => `limit ${limit}: ${held ? 'held' : 'NOT HELD'}`;
