/** Small pictures of the screen as it was when a snapshot was saved, kept in memory by tag and date. */
import type { SnapshotInfo } from '../../block/block-node.ts';
import type { Machine } from '../../machine/machine.ts';
import { encodePng } from '../display/png.ts';

const WIDTH = 160;
/** The oldest go. */
const MAX_KEPT = 200;

export class Thumbnails {
  readonly #machine: Machine;
  readonly #stop: () => void;
  /** By tag, of snapshots being saved. */
  readonly #taken = new Map<string, string>();
  readonly #kept = new Map<string, string>();

  constructor(machine: Machine) {
    this.#machine = machine;
    this.#stop = machine.jobs.on('status', (job) => {
      if (job.type !== 'snapshot-save') return;
      if (job.status === 'running') this.#take(job.tag);
      if (job.status === 'concluded' && job.error !== undefined) this.#taken.delete(job.tag);
    });
  }

  /** A `data:` URL. */
  of(snapshot: SnapshotInfo): string | undefined {
    const key = `${snapshot.tag}/${snapshot.dateSec}.${snapshot.dateNsec}`;
    const fresh = this.#taken.get(snapshot.tag);
    if (fresh !== undefined) {
      this.#taken.delete(snapshot.tag);
      this.#kept.set(key, fresh);
      trim(this.#kept);
    }
    return this.#kept.get(key);
  }

  #take(tag: string): void {
    const surface = this.#machine.screen?.render();
    if (surface === undefined) return;
    const { width, height, rgb } = surface;
    const small = shrunk(width, height, rgb);
    const png = encodePng(small.width, small.height, small.rgb);
    this.#taken.set(tag, `data:image/png;base64,${Buffer.from(png).toString('base64')}`);
    trim(this.#taken);
  }

  close(): void {
    this.#stop();
  }
}

function trim(map: Map<string, string>): void {
  for (const key of map.keys()) {
    if (map.size <= MAX_KEPT) return;
    map.delete(key);
  }
}

/** Each pixel is the mean of those that it stands for. */
function shrunk(
  width: number,
  height: number,
  rgb: Uint8Array,
): { readonly width: number; readonly height: number; readonly rgb: Uint8Array } {
  const small = { width: Math.min(WIDTH, width), height: 0 };
  small.height = Math.max(1, Math.round((height * small.width) / width));
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
