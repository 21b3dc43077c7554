/** A file under an image that fails when told to. */
import { BlockError, type BlockErrorCode } from '../errors.ts';
import type { BlockFile } from '../file.ts';

export type Operation = 'read' | 'write' | 'flush';

export interface Injector {
  readonly file: BlockFile;
  /** The request with this number (from 0, of that kind, counted from now) fails, and `count` - 1 after it. */
  failAt(operation: Operation, number: number, code?: BlockErrorCode, count?: number): void;
  /** Writes that fail have written this many bytes of what they should, at most: a disk that became full on the way. */
  shortBytes: number;
  /** Requests are neither counted nor failed while this is set: the test itself looks. */
  paused: boolean;
  /** No failures any more. */
  heal(): void;
}

interface Plan {
  readonly operation: Operation;
  left: number;
  count: number;
  readonly code: BlockErrorCode;
}

export function injectErrors(below: BlockFile): Injector {
  let plans: Plan[] = [];
  const check = (operation: Operation, offset: number): void => {
    if (injector.paused) return;
    for (const plan of plans) {
      if (plan.operation !== operation || plan.left-- > 0) continue;
      if (plan.count-- > 0) {
        throw new BlockError(plan.code, `injected ${operation} error`, { file: below.filename, offset });
      }
    }
  };
  /** What got through of a write that failed. */
  const shortened = async (offset: number, source: Uint8Array): Promise<void> => {
    const bytes = Math.min(injector.shortBytes, source.length);
    if (bytes > 0) await below.write(offset, source.subarray(0, bytes));
  };
  const file: BlockFile = {
    filename: below.filename,
    readOnly: below.readOnly,
    size: () => below.size(),
    read: async (offset, target) => {
      check('read', offset);
      await below.read(offset, target);
    },
    write: async (offset, source) => {
      try {
        check('write', offset);
      } catch (error) {
        await shortened(offset, source);
        throw error;
      }
      await below.write(offset, source);
    },
    writev: async (offset, parts) => {
      try {
        check('write', offset);
      } catch (error) {
        if (parts.length > 0) await shortened(offset, parts[0]!);
        throw error;
      }
      await below.writev(offset, parts);
    },
    truncate: (sizeBytes) => below.truncate(sizeBytes),
    flush: async () => {
      check('flush', 0);
      await below.flush();
    },
    close: () => below.close(),
  };
  const injector: Injector = {
    file,
    shortBytes: 0,
    paused: false,
    failAt: (operation, number, code = 'io', count = 1) => {
      plans.push({ operation, left: number, count, code });
    },
    heal: () => {
      plans = [];
    },
  };
  return injector;
}
