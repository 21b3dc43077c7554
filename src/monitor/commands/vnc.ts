/** `set_password`: who may look at the screen. Not here: spice, passwords that expire, displays with names. */
import { argument as arg, type Command, CommandError, command, type MonitorHost } from '../command.ts';

export const VNC_COMMANDS: readonly Command[] = [
  command(
    'set_password',
    [arg('string', 'protocol'), arg('string', 'password'), arg('string', 'connected?')],
    'protocol password [action-if-connected]',
    'set vnc password',
    ({ host }, args) => {
      const connected = args.optional('connected') ?? 'keep';
      if (args.string('protocol') !== 'vnc') throw new CommandError("Invalid parameter 'protocol'");
      if (connected !== 'keep') throw new CommandError("Invalid parameter 'connected'");
      return setVncPassword(host, args.string('password'));
    },
  ),
];

/** For `set_password vnc` and `change vnc password`. The first line is QEMU's, but for the name of the display. */
export function setVncPassword(host: MonitorHost, password: string): undefined {
  const result = host.vnc?.setPassword(password) ?? 'no-server';
  if (result === 'set') return undefined;
  throw new CommandError(
    result === 'no-server'
      ? 'Could not set password'
      : "Could not set password\nThe server asks for none: it must be started with '-vnc …,password=on'",
  );
}
