/** A file under an image whose requests take their time: for tests of requests in flight together. */
import type { BlockFile } from '../file.ts';

/** `wait` is called before each request with its kind and offset; the request begins when the promise resolves. */
export function delayed(
  below: BlockFile,
  wait: (kind: 'read' | 'write' | 'flush', offset: number) => Promise<void>,
): BlockFile {
  return {
    filename: below.filename,
    readOnly: below.readOnly,
    size: () => below.size(),
    read: async (offset, target) => {
      await wait('read', offset);
      await below.read(offset, target);
    },
    write: async (offset, source) => {
      await wait('write', offset);
      await below.write(offset, source);
    },
    writev: async (offset, parts) => {
      await wait('write', offset);
      await below.writev(offset, parts);
    },
    truncate: (sizeBytes) => below.truncate(sizeBytes),
    flush: async () => {
      await wait('flush', 0);
      await below.flush();
    },
    close: () => below.close(),
  };
}
