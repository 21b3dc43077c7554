/**
 * Small pictures of the screen as it was when a snapshot was saved: one of few colours in the snapshot itself, for other
 * processes to come, and a better one in memory, by tag and date.
 */
import type { SnapshotInfo } from '../../block/block-node.ts';
import type { Machine } from '../../machine/machine.ts';
import { encodePng } from '../display/png.ts';
import { pictureOf, shrunk, snapshotExtra } from './snapshot-picture.ts';

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
    machine.snapshotExtra = () => {
      const surface = machine.screen?.render();
      return surface === undefined ? undefined : snapshotExtra(surface);
    };
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
    const kept = this.#kept.get(key);
    if (kept !== undefined) return kept;
    const stored = pictureOf(snapshot.extra);
    return stored === undefined ? undefined : dataUrl(stored);
  }

  #take(tag: string): void {
    const surface = this.#machine.screen?.render();
    if (surface === undefined) return;
    const small = shrunk(surface, Math.min(WIDTH, surface.width));
    this.#taken.set(tag, dataUrl(encodePng(small.width, small.height, small.rgb)));
    trim(this.#taken);
  }

  close(): void {
    this.#stop();
    this.#machine.snapshotExtra = undefined;
  }
}

function trim(map: Map<string, string>): void {
  for (const key of map.keys()) {
    if (map.size <= MAX_KEPT) return;
    map.delete(key);
  }
}

function dataUrl(png: Uint8Array): string {
  return `data:image/png;base64,${Buffer.from(png).toString('base64')}`;
}
