/** query-…: what the machine is and does. qapi/run-state.json, control.json, char.json, machine.json. */
import { QMP_VERSION } from '../session-version.ts';
import { schemaOf } from './schema.ts';
import { qmp, type QmpCommand } from '../command.ts';

const NO_UUID = '00000000-0000-0000-0000-000000000000';

export const QUERIES: readonly QmpCommand[] = [
  qmp('query-status', {}, ({ machine }) => ({
    status: machine.state,
    singlestep: false,
    running: machine.running,
  })),
  qmp('query-version', {}, ({ host }) => ({ ...QMP_VERSION, package: host.version })),
  qmp('query-commands', {}, ({ commands }) => commands.map(({ name }) => ({ name }))),
  qmp('query-qmp-schema', {}, ({ commands }) => schemaOf(commands)),
  qmp('query-name', {}, ({ host }) => (host.name === undefined ? {} : { name: host.name })),
  qmp('query-uuid', {}, ({ host }) => ({ UUID: host.uuid ?? NO_UUID })),
  qmp('query-kvm', {}, () => ({ enabled: false, present: false })),
  qmp('query-target', {}, () => ({ arch: 'i386' })),
  qmp('query-iothreads', {}, () => []),
  qmp('query-memory-devices', {}, () => []),
  qmp('query-memory-size-summary', {}, ({ machine }) => ({
    'base-memory': machine.options.ramBytes,
    'plugged-memory': 0,
  })),
  qmp('query-current-machine', {}, () => ({ 'wakeup-suspend-support': true })),
  qmp('query-cpus-fast', {}, ({ host }) => [
    {
      'thread-id': host.processId,
      props: { 'core-id': 0, 'thread-id': 0, 'socket-id': 0 },
      'qom-path': '/machine/unattached/device[0]',
      'cpu-index': 0,
      target: 'i386',
    },
  ]),
  qmp('query-chardev', {}, ({ host }) =>
    host.characters().map(({ label, filename }) => ({
      'frontend-open': !filename.startsWith('disconnected:'),
      filename,
      label,
    })),
  ),
  qmp('query-vnc', {}, ({ host }) => host.vnc?.facts() ?? { enabled: false }),
  qmp('query-mice', {}, () => [{ index: 2, name: 'QEMU PS/2 Mouse', current: true, absolute: false }]),
];
