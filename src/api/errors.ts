/** Errors of the programming interface itself. Those of images and snapshots are BlockError and MigrationError; all have a `code`. */
export type MachineErrorCode =
  /** What was waited for did not come in time. */
  | 'timeout'
  /** The machine stopped (shut down, was paused, broke) before what was waited for came. */
  | 'stopped'
  /** The machine was closed. */
  | 'closed'
  /** An argument that has no meaning here: a key that the keyboard lacks, a port that the machine has not. */
  | 'argument';

/** A machine could not do what was asked of it. */
export class MachineError extends Error {
  /** Which of the things that go wrong; see {@link MachineErrorCode}. */
  readonly code: MachineErrorCode;

  constructor(code: MachineErrorCode, message: string) {
    super(message);
    this.name = 'MachineError';
    this.code = code;
  }
}
