/** A file under an image that records what is written and flushed, for tests of the order in which it happens. */
import type { BlockFile } from '../file.ts';

export type LogEntry =
  | { readonly kind: 'write'; readonly offset: number; readonly data: Uint8Array }
  | { readonly kind: 'truncate'; readonly sizeBytes: number }
  | { readonly kind: 'flush' };

/** Entries appear in `log` when the request below has completed; data is copied. */
export function logged(below: BlockFile, log: LogEntry[]): BlockFile {
  return {
    filename: below.filename,
    readOnly: below.readOnly,
    size: () => below.size(),
    read: (offset, target) => below.read(offset, target),
    write: async (offset, source) => {
      const data = Uint8Array.from(source);
      await below.write(offset, source);
      log.push({ kind: 'write', offset, data });
    },
    writev: async (offset, parts) => {
      const copies = parts.map((part) => Uint8Array.from(part));
      await below.writev(offset, parts);
      for (const data of copies) {
        log.push({ kind: 'write', offset, data });
        offset += data.length;
      }
    },
    truncate: async (sizeBytes) => {
      await below.truncate(sizeBytes);
      log.push({ kind: 'truncate', sizeBytes });
    },
    flush: async () => {
      await below.flush();
      log.push({ kind: 'flush' });
    },
    close: () => below.close(),
  };
}
