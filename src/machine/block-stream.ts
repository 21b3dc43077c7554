/** `block_stream`: a disk takes over what its backing chain holds, while the guest runs. A job, with progress and a speed. */
import { BlockError } from '../block/errors.ts';
import { Qcow2 } from '../block/qcow2/qcow2.ts';
import { assertStreamable, copyUp, leaveBacking } from '../block/qcow2/stream.ts';
import type { MachineDisk } from './disk.ts';
import type { HostServices } from './host-services.ts';
import type { Job, JobOptions, Jobs } from './jobs.ts';

/** The guest's requests wait for so much at a time, bytes. */
const PIECE_BYTES = 512 * 1024;

export interface StreamOptions extends JobOptions {
  /** Bytes a second; 0 or absent: as fast as it goes. */
  readonly speed?: number;
}

/** Throws BlockError if it cannot be done; else the job runs, and `done` tells how it ended. */
export function startStream(
  { jobs, host }: { readonly jobs: Jobs; readonly host: HostServices },
  { device, node }: MachineDisk,
  { speed = 0, ...options }: StreamOptions,
): { readonly done: Promise<void> } {
  if (!(node instanceof Qcow2)) {
    throw new BlockError('unsupported', `Device '${device}' has no qcow2 image that could be streamed into`, {
      file: node?.filename ?? '',
    });
  }
  if (jobs.list().some(({ type, tag, isOver }) => type === 'stream' && tag === device && !isOver)) {
    throw new BlockError(
      'unsupported',
      `Node '${device}' is busy: block device is in use by block job: stream`,
      {
        file: node.filename,
      },
    );
  }
  assertStreamable(node);
  const work = async (job: Job): Promise<void> => {
    job.speed = speed;
    await copyAll(node, job, host);
    job.signal.throwIfAborted();
    job.pend();
    if (node.backing !== undefined) await leaveBacking(node);
  };
  return { done: jobs.run('stream', device, { ...options, isBackground: true }, work) };
}

async function copyAll(node: Qcow2, job: Job, host: HostServices): Promise<void> {
  const total = node.sizeBytes;
  job.progress(0, total);
  for (let at = 0; at < total; at += PIECE_BYTES) {
    await job.untilResumed();
    job.signal.throwIfAborted();
    const begun = host.now();
    const bytes = Math.min(PIECE_BYTES, total - at);
    if (node.backing !== undefined) await copyUp(node, at, bytes);
    job.progress(at + bytes, total);
    await paced(job, bytes, begun, host);
  }
}

/** Lets the guest's requests in, and waits as long as the speed asks for; a new speed, or a cancel, is seen soon. */
async function paced(job: Job, bytes: number, begunNs: number, host: HostServices): Promise<void> {
  await host.yield();
  for (;;) {
    if (job.speed === 0 || job.signal.aborted) return;
    const leftMs = (bytes / job.speed) * 1000 - (host.now() - begunNs) / 1e6;
    if (leftMs <= 0) return;
    await host.sleep(Math.min(Math.max(leftMs, 1), 100)).done;
  }
}
