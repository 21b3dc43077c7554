/** block-stream and what goes with it. qapi/block-core.json. Not here: a base, the other block jobs. */
import { startStream } from '../../../machine/block-stream.ts';
import type { Job } from '../../../machine/jobs.ts';
import type { Machine } from '../../../machine/machine.ts';
import { streamsOf } from '../../commands/block-jobs.ts';
import { type Json, type JsonObject, qmp, type QmpCommand } from '../command.ts';
import { QmpError } from '../errors.ts';
import { findDisk } from '../nodes.ts';
import { pauseJob, resumeJob } from './jobs.ts';

const UNSUPPORTED = ['base', 'base-node', 'backing-file'] as const;

export const BLOCK_JOBS: readonly QmpCommand[] = [
  qmp(
    'block-stream',
    {
      device: 'string',
      'job-id': 'string?',
      speed: 'integer?',
      'auto-dismiss': 'boolean?',
      'auto-finalize': 'boolean?',
      'on-error': 'string?',
      'filter-node-name': 'string?',
      base: 'string?',
      'base-node': 'string?',
      'backing-file': 'string?',
    },
    ({ machine }, args) => {
      const name = args.string('device');
      const disk = findDisk(machine, name);
      if (disk === undefined) throw new QmpError(`Cannot find device='${name}' nor node-name='${name}'`);
      const foreign = UNSUPPORTED.find((key) => args.has(key));
      if (foreign !== undefined) throw new QmpError(`Parameter '${foreign}' is not supported`);
      const speed = args.optionalInteger('speed') ?? 0;
      if (speed < 0) throw new QmpError("Parameter 'speed' expects a non-negative value");
      const id = args.optionalString('job-id') ?? disk.device;
      const isOther = machine.jobs.get(id)?.tag !== disk.device;
      if (machine.jobs.get(id) !== undefined && isOther) throw new QmpError(`Job ID '${id}' already in use`);
      const options = { id, speed, autoDismiss: args.optionalBoolean('auto-dismiss') ?? true };
      try {
        startStream({ jobs: machine.jobs, host: machine.options.host }, disk, options).done.catch(() => {});
      } catch (error) {
        throw new QmpError((error as Error).message);
      }
      return {};
    },
  ),
  qmp('block-job-pause', { device: 'string' }, ({ machine }, args) => {
    pauseJob(find(machine, args.string('device')));
    return {};
  }),
  qmp('block-job-resume', { device: 'string' }, ({ machine }, args) => {
    resumeJob(find(machine, args.string('device')));
    return {};
  }),
  qmp('block-job-complete', { device: 'string' }, ({ machine }, args) => {
    refuseVerb(find(machine, args.string('device')), 'complete');
  }),
  ...['dismiss', 'finalize'].map((verb) =>
    qmp(`block-job-${verb}`, { id: 'string' }, ({ machine }, args) => {
      refuseVerb(find(machine, args.string('id')), verb);
    }),
  ),
  qmp('block-job-cancel', { device: 'string', force: 'boolean?' }, ({ machine }, args) => {
    find(machine, args.string('device')).cancel();
    return {};
  }),
  qmp('block-job-set-speed', { device: 'string', speed: 'integer' }, ({ machine }, args) => {
    const job = find(machine, args.string('device'));
    const speed = args.integer('speed');
    if (speed < 0) throw new QmpError("Parameter 'speed' expects a non-negative value");
    job.speed = speed;
    return {};
  }),
  qmp('query-block-jobs', {}, ({ machine }) => streamsOf(machine).map(describe)),
];

function refuseVerb({ id, status }: Job, verb: string): never {
  throw new QmpError(`Job '${id}' in state '${status}' cannot accept command verb '${verb}'`);
}

function find(machine: Machine, id: string): Job {
  const job = streamsOf(machine).find((candidate) => candidate.id === id);
  if (job === undefined) throw new QmpError(`Block job '${id}' not found`, 'DeviceNotActive');
  return job;
}

function describe(job: Job): Json {
  return {
    'auto-finalize': true,
    'io-status': 'ok',
    device: job.id,
    'auto-dismiss': job.autoDismiss,
    busy: job.status !== 'paused',
    len: job.totalBytes,
    offset: job.currentBytes,
    status: job.status,
    paused: job.status === 'paused',
    speed: job.speed,
    ready: false,
    type: 'stream',
  };
}

/** The event that a block job's end is told by, beside those of all jobs. */
export function blockJobEvent(job: Job): { readonly name: string; readonly data: JsonObject } | undefined {
  if (job.type !== 'stream' || job.status !== 'concluded') return undefined;
  const data = {
    device: job.id,
    len: job.totalBytes,
    offset: job.currentBytes,
    speed: job.speed,
    type: 'stream',
  };
  if (job.error === undefined) return { name: 'BLOCK_JOB_COMPLETED', data };
  if (job.signal.aborted) return { name: 'BLOCK_JOB_CANCELLED', data };
  return { name: 'BLOCK_JOB_COMPLETED', data: { ...data, error: job.error.message } };
}
