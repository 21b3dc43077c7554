/** One error class for the block layer: a stable code to branch on, context to read, and the cause. */
export type BlockErrorCode =
  | 'io'
  | 'not-found'
  | 'invalid-format'
  | 'unsupported'
  | 'corrupt'
  | 'out-of-bounds'
  | 'read-only'
  | 'no-space'
  | 'in-use'
  | 'limit'
  | 'closed';

export interface BlockErrorContext {
  readonly file?: string;
  /** Part of the format: `header`, `L1 table`, `snapshot table`, … */
  readonly section?: string;
  readonly field?: string;
  /** Byte offset in the file. */
  readonly offset?: number;
  readonly found?: string | number;
  readonly expected?: string;
  readonly cause?: unknown;
}

/** An image is not what it should be, or the host cannot do what was asked. */
export class BlockError extends Error {
  /** For a program to branch on. */
  readonly code: BlockErrorCode;
  /** Which file, where in it, what was found and what expected. */
  readonly context: BlockErrorContext;

  constructor(code: BlockErrorCode, message: string, context: BlockErrorContext = {}) {
    super(message, context.cause === undefined ? undefined : { cause: context.cause });
    this.name = 'BlockError';
    this.code = code;
    this.context = context;
  }
}
