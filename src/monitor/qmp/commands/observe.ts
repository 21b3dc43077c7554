/** Trace events by QMP, and passwords of the screen. qapi/trace.json, ui.json. */
import { findTraceEvents, setTraceEvents } from '../../../machine/trace.ts';
import { setVncPassword } from '../../commands/vnc.ts';
import { type Json, qmp, type QmpArguments, type QmpCommand, type QmpContext } from '../command.ts';
import { QmpError } from '../errors.ts';

export const OBSERVE: readonly QmpCommand[] = [
  qmp('trace-event-get-state', { name: 'string', vcpu: 'integer?' }, (_context, args) =>
    find(args.string('name')).map(({ name, isOn }) => ({
      name,
      vcpu: false,
      state: isOn ? 'enabled' : 'disabled',
    })),
  ),
  qmp(
    'trace-event-set-state',
    { name: 'string', enable: 'boolean', 'ignore-unavailable': 'boolean?', vcpu: 'integer?' },
    (_context, args) => {
      find(args.string('name'));
      setTraceEvents(args.string('name'), args.optionalBoolean('enable') === true);
      return {};
    },
  ),
  qmp('set_password', { protocol: 'string', password: 'string', connected: 'string?' }, setPassword),
  qmp('change-vnc-password', { password: 'string' }, setPassword),
  qmp('expire_password', { protocol: 'string', time: 'string' }, () => {
    throw new QmpError('Could not set password expire time');
  }),
  qmp('query-vnc-servers', {}, () => []),
];

function find(name: string): ReturnType<typeof findTraceEvents> {
  const found = findTraceEvents(name);
  if (found.length === 0 && !/[*?]/.test(name)) throw new QmpError(`unknown event "${name}"`);
  return found;
}

function setPassword({ host }: QmpContext, args: QmpArguments): Json {
  const protocol = args.optionalString('protocol') ?? 'vnc';
  if (protocol !== 'vnc') throw new QmpError("Invalid parameter 'protocol'");
  setVncPassword(host, args.string('password'));
  return {};
}
