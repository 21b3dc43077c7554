/**
 * A picture of the screen as extra data of a snapshot: it goes with the image, and QEMU carries it along. QEMU takes no
 * more than 1,000 bytes, so it is a PNG of few colours, as large as fits.
 */
import { MAX_SNAPSHOT_EXTRA } from '../../block/block-node.ts';
import { encodePalettePng } from '../display/png.ts';

/** Room, as zeroes, for fields that the qcow2 format may come to have: bytes. */
const RESERVED = 32;
const MAGIC = Buffer.from('AMBRSCRN');
const START = RESERVED + MAGIC.length;
/** Width and bits of a pixel, tried until one fits. The last always does. */
const TRIES = [
  [160, 4],
  [160, 2],
  [128, 4],
  [128, 2],
  [96, 4],
  [96, 2],
  [80, 2],
  [64, 2],
  [40, 2],
] as const;
const TALLEST = 0.8;

export interface Rgb {
  readonly width: number;
  readonly height: number;
  readonly rgb: Uint8Array;
}

/** Undefined: no picture of ours. */
export function pictureOf(extra: Uint8Array | undefined): Uint8Array | undefined {
  if (extra === undefined || extra.length <= START) return undefined;
  return MAGIC.equals(extra.subarray(RESERVED, START)) ? extra.subarray(START) : undefined;
}

export function snapshotExtra(screen: Rgb): Uint8Array | undefined {
  for (const [width, bits] of TRIES) {
    const small = shrunk(screen, Math.min(width, screen.width));
    const png = encodePalettePng(small.width, small.height, { ...fewColors(small.rgb, 2 ** bits), bits });
    if (START + png.length <= MAX_SNAPSHOT_EXTRA) return Buffer.concat([Buffer.alloc(RESERVED), MAGIC, png]);
  }
  return undefined;
}

/** Each pixel is the mean of those that it stands for. */
export function shrunk({ width, height, rgb }: Rgb, toWidth: number): Rgb {
  const proportional = Math.max(1, Math.round((height * toWidth) / width));
  const small = { width: toWidth, height: Math.min(proportional, Math.ceil(toWidth * TALLEST)) };
  const result = new Uint8Array(small.width * small.height * 3);
  for (let y = 0; y < small.height; y++) {
    const top = Math.floor((y * height) / small.height);
    const bottom = Math.max(top + 1, Math.floor(((y + 1) * height) / small.height));
    for (let x = 0; x < small.width; x++) {
      const left = Math.floor((x * width) / small.width);
      const right = Math.max(left + 1, Math.floor(((x + 1) * width) / small.width));
      const sum = [0, 0, 0];
      for (let v = top; v < bottom; v++) {
        for (let u = left; u < right; u++) {
          for (let c = 0; c < 3; c++) sum[c]! += rgb[(v * width + u) * 3 + c]!;
        }
      }
      const count = (bottom - top) * (right - left);
      for (let c = 0; c < 3; c++) result[(y * small.width + x) * 3 + c] = Math.round(sum[c]! / count);
    }
  }
  return { ...small, rgb: result };
}

/** The colours that occur most, told apart by their upper bits, and for each pixel the nearest of them. */
function fewColors(rgb: Uint8Array, most: number): { indices: Uint8Array; palette: number[] } {
  const counts = new Map<number, number>();
  for (let i = 0; i < rgb.length; i += 3) {
    const color = ((rgb[i]! & 0xe0) << 16) | ((rgb[i + 1]! & 0xe0) << 8) | (rgb[i + 2]! & 0xe0);
    counts.set(color, (counts.get(color) ?? 0) + 1);
  }
  const frequent = [...counts].sort((a, b) => b[1] - a[1]).slice(0, most);
  // In the middle of what the bits left out, but black stays black and white becomes white.
  const palette = frequent.map(([color]) => color | ((color & 0xe0e0e0) >>> 3));
  const nearest = new Map<number, number>();
  const indices = Uint8Array.from({ length: rgb.length / 3 }, (_, i) => {
    const color = (rgb[i * 3]! << 16) | (rgb[i * 3 + 1]! << 8) | rgb[i * 3 + 2]!;
    let index = nearest.get(color);
    if (index === undefined) {
      index = nearestOf(color, palette);
      nearest.set(color, index);
    }
    return index;
  });
  return { indices, palette };
}

function nearestOf(color: number, palette: readonly number[]): number {
  let best = 0;
  let least = Number.POSITIVE_INFINITY;
  for (const [i, candidate] of palette.entries()) {
    let distance = 0;
    for (const shift of [16, 8, 0]) {
      distance += (((color >>> shift) & 0xff) - ((candidate >>> shift) & 0xff)) ** 2;
    }
    if (distance < least) [best, least] = [i, distance];
  }
  return best;
}
