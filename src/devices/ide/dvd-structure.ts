/** READ DVD STRUCTURE answers (MMC-3 6.24) of a one-layer DVD-ROM. Pure. */

const HEADER_BYTES = 4;
const LAYER_BYTES = 2048;
/** Formats that 0xff lists: format code and length with header. */
const FORMATS: readonly (readonly [number, number])[] = [
  [0x00, LAYER_BYTES + HEADER_BYTES],
  [0x01, 8],
  [0x03, 188 + HEADER_BYTES],
  [0x04, LAYER_BYTES + HEADER_BYTES],
];

/** Fills `reply` (zeroed) and returns the length, or 0 for a format that there is not. `sectors` of 2048 bytes. */
export function readDvdStructure(reply: Uint8Array, format: number, layer: number, sectors: number): number {
  const view = new DataView(reply.buffer, reply.byteOffset);
  let length = 0;
  if (format === 0x00 && layer === 0) {
    reply.set([1, 0x0f, 1, 0], HEADER_BYTES); // DVD-ROM part version 1, 120 mm, one read-only layer
    view.setUint32(12, sectors - 1);
    view.setUint32(16, sectors - 1);
    length = LAYER_BYTES + HEADER_BYTES;
  } else if (format === 0x01) {
    length = 8; // no copy protection, no region
  } else if (format === 0x04) {
    length = LAYER_BYTES + HEADER_BYTES;
  } else if (format === 0xff) {
    FORMATS.forEach(([code, bytes], index) => {
      reply.set([code, 0x40, bytes >>> 8, bytes & 0xff], HEADER_BYTES + index * 4);
    });
    length = HEADER_BYTES + FORMATS.length * 4;
  }
  if (length > 0) view.setUint16(0, length - 2);
  return length;
}
