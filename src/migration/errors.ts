/** One error class for the migration layer: a stable code to branch on, context to read, and the cause. */
export type MigrationErrorCode =
  /** The bytes are no VM state, or contradict the format. */
  | 'invalid-format'
  /** The stream ends before a value does. */
  | 'truncated'
  /** A feature of QEMU's stream that we know of and do not read. */
  | 'unsupported'
  /** A section or structure is newer or older than we can read. */
  | 'version'
  /** The saved machine differs from this one: machine type, RAM size, an `equal` field. */
  | 'mismatch'
  /** Sections, subsections or RAM blocks in the stream that this machine does not have. */
  | 'unknown-section'
  /** Sections that this machine has and the stream lacks. */
  | 'missing-section'
  /** The section's footer is not where it must be: its length differs from what the schema says. */
  | 'footer'
  /** Bytes are left over. */
  | 'leftover'
  /** A named limit is exceeded. */
  | 'limit'
  /** A device refuses its decoded state. */
  | 'rejected'
  /** A checksum of our trailer does not match. */
  | 'checksum'
  /** No snapshot of this name on one or more disks. */
  | 'not-found'
  /** A disk cannot take part in a snapshot, or no disk can hold VM state. */
  | 'no-snapshots'
  /** Reading or writing an image failed; `cause` says how. */
  | 'io'
  | 'cancelled';

export interface MigrationErrorContext {
  /** Section name on the stream, or `configuration`, `header`, `description`, `trailer`. */
  readonly section?: string;
  readonly instance?: number;
  /** Path of the field within the section: `channels[1].mode`. */
  readonly field?: string;
  /** Byte offset in the VM state. */
  readonly offset?: number;
  readonly expected?: string | number | bigint | boolean;
  readonly found?: string | number | bigint | boolean;
  /** What the user can change; its own line in the message. */
  readonly hint?: string;
  /** Image, device or snapshot concerned. */
  readonly file?: string;
  readonly cause?: unknown;
}

/**
 * The first line of `message` is QEMU's wording where QEMU has one; the lines after it say what to change and where
 * in the stream it was found.
 */
export class MigrationError extends Error {
  /** For a program to branch on. */
  readonly code: MigrationErrorCode;
  /** The first line alone. */
  readonly text: string;
  /** Which section and field, what was found and what expected. */
  readonly context: MigrationErrorContext;

  constructor(code: MigrationErrorCode, text: string, context: MigrationErrorContext = {}) {
    const lines = [text];
    if (context.hint !== undefined) lines.push(context.hint);
    const place = placeOf(context);
    if (place !== '') lines.push(place);
    super(lines.join('\n'), context.cause === undefined ? undefined : { cause: context.cause });
    this.name = 'MigrationError';
    this.code = code;
    this.text = text;
    this.context = context;
  }

  /** The same error with context that the thrower did not know; what is known already stays. */
  within(outer: MigrationErrorContext): MigrationError {
    return new MigrationError(this.code, this.text, { ...outer, ...this.context });
  }
}

function placeOf(context: MigrationErrorContext): string {
  const parts: string[] = [];
  if (context.file !== undefined) parts.push(`file '${context.file}'`);
  if (context.section !== undefined) {
    parts.push(`section '${context.section}'${context.instance ? ` instance ${context.instance}` : ''}`);
  }
  if (context.field !== undefined) parts.push(`field ${context.field}`);
  if (context.offset !== undefined) parts.push(`offset 0x${context.offset.toString(16)}`);
  if (context.expected !== undefined) parts.push(`expected ${context.expected}`);
  if (context.found !== undefined) parts.push(`found ${context.found}`);
  return parts.length === 0 ? '' : `(${parts.join(', ')})`;
}

/** We are wrong: never turned into a MigrationError, never shown as the file's fault. */
export class AssertionError extends Error {
  constructor(message: string) {
    super(`assertion failed: ${message}`);
    this.name = 'AssertionError';
  }
}

export function assert(condition: boolean, message: string): asserts condition {
  if (!condition) throw new AssertionError(message);
}
