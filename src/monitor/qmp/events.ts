/** What happens in the machine, as QMP's events (qapi/run-state.json, job.json, block-core.json). */
import { blockJobEvent } from './commands/block-jobs.ts';
import type { Machine } from '../../machine/machine.ts';
import type { JsonObject } from './command.ts';

export interface QmpEvent {
  readonly name: string;
  readonly data?: JsonObject;
}

/** States in which the guest does not run although nobody switched it off. */
const STOPPED = new Set(['paused', 'debug', 'io-error', 'internal-error', 'shutdown', 'guest-panicked']);

/** Returns a function that ends it. */
export function watchMachine(machine: Machine, tell: (event: QmpEvent) => void): () => void {
  let wasRunning = machine.running;
  const say = (name: string, data?: JsonObject) => tell({ name, ...(data === undefined ? {} : { data }) });
  const run = (isRunning: boolean) => {
    if (isRunning !== wasRunning) say(isRunning ? 'RESUME' : 'STOP');
    wasRunning = isRunning;
  };
  const removers = [
    machine.on('state', (state) => {
      if (state === 'running') run(true);
      else if (STOPPED.has(state)) run(false);
    }),
    machine.on('frozen', (isFrozen) => run(!isFrozen)),
    machine.on('reset', ({ guest }) =>
      say('RESET', { guest, reason: guest ? 'guest-reset' : 'host-qmp-system-reset' }),
    ),
    machine.on('shutdown', ({ guest, reason }) => say('SHUTDOWN', { guest, reason })),
    machine.on('tray', ({ device, isOpen }) =>
      say('DEVICE_TRAY_MOVED', {
        device,
        id: `/machine/unattached/${device}`,
        'tray-open': isOpen,
      }),
    ),
    machine.on('powerdown', () => say('POWERDOWN')),
    machine.on('suspend', () => say('SUSPEND')),
    machine.on('wakeup', () => say('WAKEUP')),
    machine.on('io-error', ({ device, operation, error }) =>
      say('BLOCK_IO_ERROR', {
        device,
        'node-name': '',
        operation: operation === 'read' ? 'read' : 'write',
        action: 'report',
        reason: error.message,
      }),
    ),
    machine.jobs.on('status', (job) => {
      const ended = blockJobEvent(job);
      if (ended !== undefined) say(ended.name, ended.data);
      say('JOB_STATUS_CHANGE', { id: job.id, status: job.status });
    }),
  ];
  return () => {
    for (const remove of removers) remove();
  };
}
