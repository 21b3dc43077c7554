/** Requests that take their time: for tests of requests in flight together. */
import type { BlockFile } from '../file.ts';
import { type Around, filterFile } from './filter.ts';

type Wait = (kind: 'read' | 'write' | 'flush', offset: number) => Promise<void>;

/** `wait` is called before each read, write and flush; the request begins when the promise resolves. */
export function delaying(wait: Wait): Around {
  return async ({ kind, offset }, next) => {
    if (kind === 'read' || kind === 'flush') await wait(kind, offset);
    else if (kind !== 'truncate') await wait('write', offset);
    await next();
  };
}

export function delayed(below: BlockFile, wait: Wait): BlockFile {
  return filterFile(below, delaying(wait));
}
