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
}

export interface Injector extends ErrorPlan {
  readonly file: BlockFile;
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
    for (const plan of plans) {
      if (plan.operation !== operation || plan.left-- > 0) continue;
      if (plan.count-- > 0) {
        throw new BlockError(plan.code, `injected ${operation} error`, { file: filename, offset });
      }
    }
  };
  return {
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
}

export function injectErrors(below: BlockFile): Injector {
  const plan = planErrors(below.filename);
  return { ...plan, file: filterFile(below, plan.around) };
}
