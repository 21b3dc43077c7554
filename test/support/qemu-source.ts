/** Where the tests that QEMU carries lie: fetched by scripts/qemu-source.mjs, or named by AMBERVM_QEMU_SOURCE. */
import { fileURLToPath } from 'node:url';

export const QEMU_SOURCE: string =
  process.env['AMBERVM_QEMU_SOURCE'] ?? fileURLToPath(new URL('../../.cache/qemu-source', import.meta.url));
