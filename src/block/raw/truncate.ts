/** Another size of a raw image. */
import { openFile } from '../file.ts';

const ZERO_BYTES = 1 << 20;

/** `write`: what is new is written with zeroes, so that the host has the space. */
export async function truncateRaw(
  filename: string,
  oldBytes: number,
  sizeBytes: number,
  write: boolean,
): Promise<void> {
  const file = await openFile(filename, { readOnly: false });
  try {
    await file.truncate(sizeBytes);
    const zeroes = new Uint8Array(ZERO_BYTES);
    for (let at = oldBytes; write && at < sizeBytes; at += ZERO_BYTES) {
      await file.write(at, zeroes.subarray(0, Math.min(ZERO_BYTES, sizeBytes - at)));
    }
    await file.flush();
  } finally {
    await file.close();
  }
}
