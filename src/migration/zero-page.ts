/** Whether a range (a page, a group of pages) is all zeros. A page in use mostly differs in its first words. */
export type IsZero = (bytes: Uint8Array, offset: number, length: number) => boolean;

/** Default {@link IsZero}: 32-bit words where offset and length allow it. Call it for groups rather than pages. */
export function isZeroRange(bytes: Uint8Array, offset: number, length: number): boolean {
  const start = bytes.byteOffset + offset;
  if (start % 4 !== 0 || length % 16 !== 0) return isZeroBytes(bytes, offset, length);
  const words = new Int32Array(bytes.buffer, start, length / 4);
  for (let i = 0; i < words.length; i += 4) {
    if ((words[i]! | words[i + 1]! | words[i + 2]! | words[i + 3]!) !== 0) return false;
  }
  return true;
}

function isZeroBytes(bytes: Uint8Array, offset: number, length: number): boolean {
  for (let i = offset; i < offset + length; i++) if (bytes[i] !== 0) return false;
  return true;
}
