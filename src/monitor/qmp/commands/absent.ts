/** What this machine has none of, as QEMU 7.2 answers for a machine without it: programs ask for all of it when they connect. */
import { type Json, qmp, type QmpCommand } from '../command.ts';
import { QmpError, type QmpErrorClass } from '../errors.ts';

const NOTHING: Readonly<Record<string, Json>> = {
  'query-acpi-ospm-status': [],
  'query-block-exports': [],
  'query-colo-status': { mode: 'none', 'last-mode': 'none', reason: 'none' },
  'query-display-options': { type: 'none' },
  'query-dump': { status: 'none', completed: 0, total: 0 },
  'query-dump-guest-memory-capability': { formats: [] },
  'query-fdsets': [],
  'query-migrate': {},
  'query-migrate-capabilities': [],
  'query-replay': { mode: 'none', icount: 0 },
  'query-rx-filter': [],
  'query-spice': { enabled: false, migrated: false, 'mouse-mode': 'client' },
  'query-stats-schemas': [],
  'query-tpm': [],
  'query-tpm-models': [],
  'query-tpm-types': [],
};

const REFUSED: Readonly<Record<string, readonly [message: string, errorClass?: QmpErrorClass]>> = {
  'query-balloon': ['No balloon device has been activated', 'DeviceNotActive'],
  'query-sev-capabilities': ['KVM not enabled'],
  'query-sgx': ['No EPC regions defined, SGX not available'],
  'query-vm-generation-id': ['VM Generation ID device not found'],
};

export const ABSENT: readonly QmpCommand[] = [
  ...Object.entries(NOTHING).map(([name, answer]) => qmp(name, {}, () => answer)),
  ...Object.entries(REFUSED).map(([name, [message, errorClass]]) =>
    qmp(name, {}, () => {
      throw new QmpError(message, errorClass);
    }),
  ),
  qmp('balloon', { value: 'integer' }, () => {
    throw new QmpError('No balloon device has been activated', 'DeviceNotActive');
  }),
];
