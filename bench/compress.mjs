// node bench/compress.mjs [--ram=FILE | --kernel=FILE --initrd=FILE] [--mem=256] [--reps=3] [--out=FILE]
// Compressed snapshots over chunk sizes, levels and worker threads. Prints Markdown.
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { register } from 'tsx/esm/api';

const text = { type: 'string' };
const { values } = parseArgs({
  options: { ram: text, kernel: text, initrd: text, mem: text, reps: text, out: text },
});
register();
const { compressReport } = await import('./snapshot/compress.ts');
const guests = process.env.AMBERVM_GUESTS ?? join(import.meta.dirname, '../.cache/guests');
const report = await compressReport({
  ...(values.ram === undefined ? {} : { ram: values.ram }),
  kernel: values.kernel ?? join(guests, 'vmlinuz-686'),
  initrd: values.initrd ?? join(guests, 'initramfs-686.gz'),
  memoryMiB: Number(values.mem ?? 256),
  reps: Number(values.reps ?? 3),
});
const out = values.out ?? join(import.meta.dirname, 'results/compress.md');
mkdirSync(dirname(out), { recursive: true });
writeFileSync(out, report);
console.log(report);
