/** Jobs of disks: `block_stream` and what lists, slows down and cancels it. */
import type { Job } from '../../machine/jobs.ts';
import type { Machine } from '../../machine/machine.ts';
import { startStream } from '../../machine/block-stream.ts';
import { argument as arg, type Command, CommandError, command, reason } from '../command.ts';

export const BLOCK_JOB_COMMANDS: readonly Command[] = [
  command(
    'block_stream',
    [arg('device', 'device'), arg('string', 'speed?')],
    'device [speed]',
    'copy data from a backing file into a block device',
    ({ machine }, args) => {
      const name = args.string('device');
      const disk = machine.disks.find(({ device }) => device === name);
      if (disk === undefined) throw new CommandError(`Cannot find device='${name}' nor node-name='${name}'`);
      try {
        const { host } = machine.options;
        const options = { id: name, speed: speedOf(args.optional('speed') ?? '0') };
        // How it ends is told by info block-jobs, and by events.
        startStream({ jobs: machine.jobs, host }, disk, options).done.catch(() => {});
      } catch (error) {
        throw new CommandError(reason(error));
      }
      return undefined;
    },
  ),
  command(
    'block_job_cancel',
    [arg('flag', 'f'), arg('device', 'device')],
    '[-f] device',
    'stop an active background block operation (use -f to cancel it even while paused)',
    ({ machine }, args) => {
      activeJob(machine, args.string('device')).cancel();
      return undefined;
    },
  ),
  command(
    'block_job_pause',
    [arg('device', 'device')],
    'device',
    'pause an active background block operation',
    ({ machine }, args) => {
      activeJob(machine, args.string('device')).pause();
      return undefined;
    },
  ),
  command(
    'block_job_resume',
    [arg('device', 'device')],
    'device',
    'resume a paused background block operation',
    ({ machine }, args) => {
      activeJob(machine, args.string('device')).resume();
      return undefined;
    },
  ),
  command(
    'block_job_set_speed',
    [arg('device', 'device'), arg('string', 'speed')],
    'device speed',
    'set maximum speed for a background block operation',
    ({ machine }, args) => {
      activeJob(machine, args.string('device')).speed = speedOf(args.string('speed'));
      return undefined;
    },
  ),
];

const UNITS = { B: 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30, T: 2 ** 40 } as const;

/** MiB a second unless it has another letter. */
function speedOf(text: string): number {
  const match = /^(\d+(?:\.\d+)?)([BKMGT]?)$/i.exec(text);
  if (match === null) throw new CommandError('invalid size');
  return Math.floor(Number(match[1]) * UNITS[(match[2]!.toUpperCase() || 'M') as keyof typeof UNITS]);
}

/** Streams under way, the latest first. */
export function streamsOf(machine: Machine): readonly Job[] {
  return machine.jobs
    .list()
    .filter((job) => job.type === 'stream' && !job.isOver)
    .reverse();
}

function activeJob(machine: Machine, id: string): Job {
  const job = streamsOf(machine).find((candidate) => candidate.id === id);
  if (job === undefined) throw new CommandError(`Block job '${id}' not found`);
  return job;
}

/** As `info block-jobs` prints them. */
export function describeBlockJobs(machine: Machine): string {
  const jobs = streamsOf(machine);
  if (jobs.length === 0) return 'No active jobs\n';
  return jobs
    .map(
      ({ id, currentBytes, totalBytes, speed }) =>
        `Streaming device ${id}: Completed ${currentBytes} of ${totalBytes} bytes, speed limit ${speed} bytes/s\n`,
    )
    .join('');
}
