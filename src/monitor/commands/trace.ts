/** `trace-event`, `info trace-events`: the events of src/machine/trace.ts. QEMU monitor/hmp-cmds.c has the words. */
import { findTraceEvents, setTraceEvents } from '../../machine/trace.ts';
import { argument as arg, type Command, command } from '../command.ts';

export const TRACE_COMMANDS: readonly Command[] = [
  command(
    'trace-event',
    [arg('trace', 'name'), arg('switch', 'option')],
    'name on|off [vcpu]',
    'changes status of a specific trace event (vcpu: vCPU to set, default is all)',
    (_context, args) => {
      const name = args.string('name');
      return setTraceEvents(name, args.flag('option')) ? undefined : `unknown event "${name}"\n`;
    },
  ),
];

export const TRACE_INFO: readonly Command[] = [
  command(
    'trace-events',
    [arg('trace', 'name?')],
    '[name]',
    'show available trace-events & their state (name: event name pattern)',
    (_context, args) => {
      const name = args.optional('name') ?? '*';
      const found = findTraceEvents(name);
      if (found.length === 0 && !/[*?]/.test(name)) return `unknown event "${name}"\n`;
      return found.map((event) => `${event.name} : state ${event.isOn ? 1 : 0}\n`).join('');
    },
  ),
];
