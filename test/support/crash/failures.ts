/** The ways in which requests below qcow2 are made to fail. */
import type { BlockErrorCode } from '../../../src/block/errors.ts';
import type { Operation } from '../../../src/block/filters/inject-error.ts';

export interface Failure {
  readonly operation: Operation;
  readonly code: BlockErrorCode;
  /** Bytes that get through. */
  readonly shortBytes: number;
}

export const FAILURES: readonly Failure[] = [
  { operation: 'write', code: 'no-space', shortBytes: 0 },
  { operation: 'write', code: 'no-space', shortBytes: 1536 },
  { operation: 'write', code: 'io', shortBytes: 512 },
  { operation: 'flush', code: 'io', shortBytes: 0 },
  { operation: 'read', code: 'io', shortBytes: 0 },
];
