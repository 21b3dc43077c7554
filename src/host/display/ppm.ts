/** Portable pixmap, binary (P6), as QEMU's `screendump` writes it. Netpbm, "PPM Format Specification". */

/** `rgb` holds width × height × 3 bytes. */
export function encodePpm(width: number, height: number, rgb: Uint8Array): Uint8Array {
  const header = new TextEncoder().encode(`P6\n${width} ${height}\n255\n`);
  const file = new Uint8Array(header.length + width * height * 3);
  file.set(header);
  file.set(rgb.subarray(0, width * height * 3), header.length);
  return file;
}
