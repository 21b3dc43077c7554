/** Requests that fail when told to. */
import { BlockError, type BlockErrorCode } from '../errors.ts';
import type { BlockFile } from '../file.ts';
import { type Around, filterFile } from './filter.ts';

export type Operation = 'read' | 'write' | 'flush';

export interface ErrorPlan {
  readonly around: Around;
  /** The request with this number (from 0, of that kind, counted from now) fails, and `count` - 1 after it. */
  failAt(operation: Operation, number: number, code?: BlockErrorCode, count?: number): void;
  /** No failures any more. */
  heal(): void;
  /** Requests are neither counted nor failed while this is set: the test itself looks. */
  paused: boolean;
}

export interface Injector extends ErrorPlan {
  readonly file: BlockFile;
  /** Of a write that is failed this many bytes are written, at most: a disk that became full on the way. */
  shortBytes: number;
}

interface Plan {
  readonly operation: Operation;
  left: number;
  count: number;
  readonly code: BlockErrorCode;
}

/** Zero writes and discards count as writes; truncation never fails. */
export function planErrors(filename: string): ErrorPlan {
  let plans: Plan[] = [];
  const check = (operation: Operation, offset: number): void => {
    if (plan.paused) return;
    for (const each of plans) {
      if (each.operation !== operation || each.left-- > 0) continue;
      if (each.count-- > 0) {
        throw new BlockError(each.code, `injected ${operation} error`, { file: filename, offset });
      }
    }
  };
  const plan: ErrorPlan = {
    paused: false,
    around: async ({ kind, offset }, next) => {
      if (kind === 'read' || kind === 'flush') check(kind, offset);
      else if (kind !== 'truncate') check('write', offset);
      await next();
    },
    failAt: (operation, number, code = 'io', count = 1) => {
      plans.push({ operation, left: number, count, code });
    },
    heal: () => {
      plans = [];
    },
  };
  return plan;
}

export function injectErrors(below: BlockFile): Injector {
  const plan = planErrors(below.filename);
  const around: Around = async (request, next) => {
    let isInjected = true;
    try {
      await plan.around(request, () => {
        isInjected = false;
        return next();
      });
    } catch (error) {
      const done = request.parts[0]?.subarray(0, injector.shortBytes);
      if (isInjected && done !== undefined && done.length > 0) await below.write(request.offset, done);
      throw error;
    }
  };
  const injector: Injector = Object.assign(plan, { shortBytes: 0, file: filterFile(below, around) });
  return injector;
}
