/**
 * EDID 1.4 block with a CEA-861 extension, as QEMU describes its monitor: vendor RHT, "QEMU Monitor", preferred
 * 1280x800. VESA E-EDID Standard release A2; values from QEMU hw/display/edid-generate.c (which guests' drivers see
 * in both programs, so that a moved guest finds the same monitor).
 *
 * Not emulated: other sizes, serial numbers, DisplayID (only for monitors of 4096 pixels and more).
 */

/** Bytes that the register window has for it: three blocks, of which the last stays empty. */
const EDID_SIZE = 384;
const BLOCK_SIZE = 128;
const WIDTH = 1280;
const HEIGHT = 800;
const DPI = 100;
/** 75 Hz in mHz. */
const REFRESH_MHZ = 75_000;

/** Established timings, byte 35: 800x600 and 640x480 at 60 Hz; byte 36: 1024x768 at 60 Hz. */
const ESTABLISHED = [35, 0x21, 36, 0x08, 37, 0x00] as const;

/** Standard timings that byte 38 on can express, in order: width and aspect code (0 16:10, 1 4:3, 2 5:4, 3 16:9). */
const STANDARD: readonly (readonly [width: number, aspect: number])[] = [
  [2048, 3],
  [1920, 3],
  [1920, 0],
  [1600, 1],
  [1680, 0],
  [1440, 0],
  [1280, 2],
  [1280, 1],
];

/** Additional standard timings 3 (descriptor 0xf7): offset in the descriptor and bits. */
const ADDITIONAL: readonly (readonly [offset: number, bits: number])[] = [
  [7, 0x40], // 1280x768
  [8, 0x82], // 1360x768, 1440x1050
  [10, 0x28], // 1792x1344, 1856x1392
  [11, 0x20], // 1920x1440
];

/** CEA video codes: 5120x2160, 4096x2160, 3840x2160, 2560x1080, 1920x1080 at 50 Hz; 3840x2160 at 60 Hz. */
const VIDEO_CODES = [125, 101, 96, 89, 31, 97] as const;

/** sRGB primaries and white point, x and y. */
const CHROMATICITY = [0.64, 0.33, 0.3, 0.6, 0.15, 0.06, 0.3127, 0.329] as const;

function percent(pixels: number, perThousand: number): number {
  return Math.floor((pixels * perThousand) / 1000);
}

function millimetres(pixels: number): number {
  return Math.floor(Math.floor((pixels * 254) / 10) / DPI);
}

/** Makes the bytes of `block` sum up to 0 modulo 256. */
function seal(block: Uint8Array): void {
  const sum = block.subarray(0, BLOCK_SIZE - 1).reduce((total, byte) => total + byte, 0);
  block[BLOCK_SIZE - 1] = -sum & 0xff;
}

function writeChromaticity(block: Uint8Array): void {
  const values = CHROMATICITY.map((value) => Math.floor(value * 1024 + 0.5));
  for (let i = 0; i < 8; i++) {
    const at = 25 + (i >> 2);
    block[at] = block[at]! | ((values[i]! & 3) << (6 - 2 * (i & 3)));
    block[27 + i] = values[i]! >> 2;
  }
}

/** Detailed timing descriptor of the preferred mode (E-EDID, 3.10.2); blanking and syncs are made up. */
function writePreferredTiming(descriptor: Uint8Array): void {
  const blankX = percent(WIDTH, 350);
  const blankY = percent(HEIGHT, 35);
  const frontX = percent(WIDTH, 250);
  const syncX = percent(WIDTH, 30);
  const frontY = percent(HEIGHT, 5);
  const syncY = percent(HEIGHT, 5);
  /** In units of 10 kHz. */
  const clock = Math.floor((REFRESH_MHZ * (WIDTH + blankX) * (HEIGHT + blankY)) / 10_000_000);
  const widthMm = millimetres(WIDTH);
  const heightMm = millimetres(HEIGHT);
  const highNibbles = (a: number, b: number) => ((a >> 8) << 4) | (b >> 8);
  descriptor.set([
    clock & 0xff,
    clock >> 8,
    WIDTH & 0xff,
    blankX & 0xff,
    highNibbles(WIDTH, blankX),
    HEIGHT & 0xff,
    blankY & 0xff,
    highNibbles(HEIGHT, blankY),
    frontX & 0xff,
    syncX & 0xff,
    ((frontY & 15) << 4) | (syncY & 15),
    ((frontX >> 8) << 6) | ((syncX >> 8) << 4) | ((frontY >> 4) << 2) | (syncY >> 4),
    widthMm & 0xff,
    heightMm & 0xff,
    highNibbles(widthMm, heightMm),
    0,
    0,
    0x18,
  ]);
}

function writeDescriptors(edid: Uint8Array): void {
  writePreferredTiming(edid.subarray(54, 72));
  const additional = edid.subarray(72, 90);
  additional[3] = 0xf7;
  additional[5] = 10;
  for (const [offset, bits] of ADDITIONAL) additional[offset] = bits;
  // Display range limits: 50-125 Hz vertical, 30-160 kHz horizontal, 2550 MHz.
  edid.set([0, 0, 0, 0xfd, 0, 50, 125, 30, 160, 255, 1, 0x0a, 0x20, 0x20, 0x20, 0x20, 0x20, 0x20], 90);
  edid.set([0, 0, 0, 0xfc, 0, ...new TextEncoder().encode('QEMU Monitor\n')], 108);
}

function writeExtension(edid: Uint8Array): void {
  const extension = edid.subarray(BLOCK_SIZE, 2 * BLOCK_SIZE);
  const descriptors = 5 + VIDEO_CODES.length;
  extension.set([0x02, 0x03, descriptors, 0x00, 0x40 | VIDEO_CODES.length, ...VIDEO_CODES]);
  // The rest of the block is filled with dummy descriptors.
  for (let at = descriptors; at + 18 < BLOCK_SIZE - 1; at += 18) extension[at + 3] = 0x10;
  seal(extension);
}

/** The 384 bytes at the start of BAR 2. */
export function createEdid(): Uint8Array {
  const edid = new Uint8Array(EDID_SIZE);
  edid.set([0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x00]);
  // "RHT", product 0x1234, no serial number; week 42 of 2014; EDID 1.4; digital, 8 bits, DisplayPort.
  edid.set([0x49, 0x14, 0x34, 0x12, 0, 0, 0, 0, 42, 24, 1, 4, 0xa5], 8);
  edid.set([Math.floor(millimetres(WIDTH) / 10), Math.floor(millimetres(HEIGHT) / 10), 120, 0x06], 21);
  writeChromaticity(edid);
  for (let i = 0; i < ESTABLISHED.length; i += 2) edid[ESTABLISHED[i]!] = ESTABLISHED[i + 1]!;
  STANDARD.forEach(([width, aspect], index) => {
    edid.set([width / 8 - 31, aspect << 6], 38 + index * 2);
  });
  writeDescriptors(edid);
  edid[126] = 1;
  seal(edid);
  writeExtension(edid);
  return edid;
}
