/** Snapshots as jobs, with real progress. qapi/migration.json (snapshot-save and its kin), job.json. */
import type { Job, JobType } from '../../../machine/jobs.ts';
import type { Machine } from '../../../machine/machine.ts';
import { type Json, qmp, type QmpArguments, type QmpCommand } from '../command.ts';
import { QmpError } from '../errors.ts';
import { findDisk } from '../nodes.ts';

const SNAPSHOT_ARGUMENTS = { 'job-id': 'string', tag: 'string', devices: 'array' } as const;

export const JOBS: readonly QmpCommand[] = [
  qmp(
    'snapshot-save',
    { ...SNAPSHOT_ARGUMENTS, vmstate: 'string', background: 'boolean?' },
    ({ machine }, args) =>
      begin(machine, 'snapshot-save', args, async (tag, job) => {
        if (args.optionalBoolean('background') !== true) return machine.savevm(tag, { job });
        const save = await machine.savevmInBackground(tag, { job });
        return save.done;
      }),
  ),
  qmp('snapshot-load', { ...SNAPSHOT_ARGUMENTS, vmstate: 'string' }, ({ machine }, args) =>
    begin(machine, 'snapshot-load', args, (tag, job) => machine.loadvm(tag, { job })),
  ),
  qmp('snapshot-delete', SNAPSHOT_ARGUMENTS, ({ machine }, args) =>
    begin(machine, 'snapshot-delete', args, (tag, job) => machine.delvm(tag, job)),
  ),
  qmp('query-jobs', {}, ({ machine }) => [...machine.jobs.list()].reverse().map(describe)),
  qmp('job-cancel', { id: 'string' }, ({ machine }, args) => {
    const job = find(machine, args.string('id'), 'cancel', (candidate) => !candidate.isOver);
    job.cancel();
    return {};
  }),
  qmp('job-pause', { id: 'string' }, ({ machine }, args) => {
    pauseJob(find(machine, args.string('id'), 'pause', ({ status }) => PAUSABLE.has(status)));
    return {};
  }),
  qmp('job-resume', { id: 'string' }, ({ machine }, args) => {
    resumeJob(find(machine, args.string('id'), 'resume', ({ status }) => PAUSABLE.has(status)));
    return {};
  }),
  // Jobs here are neither of a kind that has to be completed, nor wait to be finalized.
  ...['complete', 'finalize'].map((verb) =>
    qmp(`job-${verb}`, { id: 'string' }, ({ machine }, args) => {
      find(machine, args.string('id'), verb, () => false);
    }),
  ),
  qmp('job-dismiss', { id: 'string' }, ({ machine }, args) => {
    const job = find(machine, args.string('id'), 'dismiss', ({ status }) => status === 'concluded');
    machine.jobs.dismiss(job.id);
    return {};
  }),
];

const PAUSABLE: ReadonlySet<string> = new Set(['created', 'running', 'paused']);

/** Throws QmpError in QEMU's words (job.c). */
export function pauseJob(job: Job): void {
  if (job.type !== 'stream') throw new QmpError(`Job '${job.id}' cannot be paused`);
  if (job.status === 'paused') throw new QmpError('Job is already paused');
  job.pause();
}

export function resumeJob(job: Job): void {
  if (job.status !== 'paused') throw new QmpError("Can't resume a job that was not paused");
  job.resume();
}

/** The answer comes at once; how it goes on is told by events and query-jobs. */
function begin(
  machine: Machine,
  type: JobType,
  args: QmpArguments,
  work: (tag: string, job: { readonly id: string; readonly autoDismiss: false }) => Promise<unknown>,
): Json {
  const id = args.string('job-id');
  const tag = args.string('tag');
  if (!/^[A-Za-z][\w.-]*$/.test(id)) throw new QmpError(`Invalid job ID '${id}'`);
  if (machine.jobs.get(id) !== undefined) throw new QmpError(`Job ID '${id}' already in use`);
  const options = { id, autoDismiss: false } as const;
  const run = async () => {
    const problem = checkNodes(machine, args);
    if (problem === undefined) await work(tag, options);
    else await machine.jobs.run(type, tag, options, () => Promise.reject(new QmpError(problem)));
  };
  // The job keeps its error.
  run().catch(() => {});
  return {};
}

/** All writable disks take part here: a list that leaves one out asks for something else. */
function checkNodes(machine: Machine, args: QmpArguments): string | undefined {
  const named = args.list('devices').map(String);
  const vmstate = args.optionalString('vmstate');
  for (const name of vmstate === undefined ? named : [...named, vmstate]) {
    if (findDisk(machine, name) === undefined) return `No block device node '${name}'`;
  }
  if (vmstate !== undefined && !named.includes(vmstate)) {
    return `vmstate block device '${vmstate}' does not exist`;
  }
  const disks = named.map((name) => findDisk(machine, name));
  const left = machine.disks.find(({ node, device }) => {
    return node !== undefined && !node.readOnly && !disks.some((disk) => disk?.device === device);
  });
  return left === undefined ? undefined : `Device '${left.device}' is writable and must be among the devices`;
}

function find(machine: Machine, id: string, verb: string, accepts: (job: Job) => boolean): Job {
  const job = machine.jobs.get(id);
  if (job === undefined) throw new QmpError('Job not found');
  if (accepts(job)) return job;
  throw new QmpError(`Job '${id}' in state '${job.status}' cannot accept command verb '${verb}'`);
}

function describe(job: Job): Json {
  return {
    'current-progress': job.currentBytes,
    status: job.status,
    'total-progress': job.totalBytes,
    type: job.type,
    id: job.id,
    ...(job.error === undefined ? {} : { error: job.error.message }),
  };
}
