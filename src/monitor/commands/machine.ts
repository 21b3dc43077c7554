/** Running, stopping, resetting; input; log. */
import type { Machine } from '../../machine/machine.ts';
import { argument as arg, type Command, CommandError, command, reason } from '../command.ts';
import { parseKeys } from './keys.ts';

const DEFAULT_HOLD_MS = 100;
/** CMOS bytes of the boot order and the codes of the drives (SeaBIOS, QEMU hw/i386/pc.c). */
const CMOS_BOOT_1 = 0x3d;
const CMOS_BOOT_2 = 0x38;
const BOOT_CODES: Readonly<Record<string, number>> = { a: 1, c: 2, d: 3, n: 4 };

/** Writes the order that the firmware reads at the next reset: letters of `-boot`. */
export function setBootOrder(machine: Machine, order: string): void {
  if (order.length > 3) throw new CommandError('Too many boot devices for PC');
  const codes = [...order].map((letter) => BOOT_CODES[letter]);
  const wrong = codes.indexOf(undefined);
  if (wrong >= 0) throw new CommandError(`Invalid boot device for PC: '${order[wrong]}'`);
  const { rtc } = machine.board;
  rtc.setCmos(CMOS_BOOT_1, ((codes[1] ?? 0) << 4) | (codes[0] ?? 0));
  rtc.setCmos(CMOS_BOOT_2, (codes[2] ?? 0) << 4);
}

export const MACHINE_COMMANDS: readonly Command[] = [
  command('quit|q', [], '', 'quit the emulator', ({ host }) => {
    host.quit();
    // The program ends; no other command, no prompt.
    return new Promise<undefined>(() => {});
  }),
  command('stop|s', [], '', 'stop emulation', async ({ machine }) => {
    await machine.pause();
    return undefined;
  }),
  command('cont|c', [], '', 'resume emulation', ({ machine }) => {
    if (machine.state === 'shutdown') {
      throw new CommandError('Resetting the Virtual Machine is required');
    }
    machine.start();
    return undefined;
  }),
  command('cpu', [arg('integer', 'index')], 'index', 'set the default CPU', (_context, args) =>
    args.number('index') === 0 ? undefined : 'invalid CPU index\n',
  ),
  command('system_wakeup', [], '', 'wakeup guest from suspend', ({ machine }) => {
    if (!machine.wakeUp()) throw new CommandError('Unable to wake up: guest is not in suspended state');
    return undefined;
  }),
  command('system_reset', [], '', 'reset the system', ({ machine }) => {
    machine.reset();
    return undefined;
  }),
  command('system_powerdown', [], '', 'send system power down event', ({ machine }) => {
    machine.powerButton();
    return undefined;
  }),
  command('nmi', [], '', 'inject an NMI', ({ machine }) => {
    machine.nmi();
    return undefined;
  }),
  command(
    'boot_set',
    [arg('string', 'bootdevice')],
    'bootdevice',
    'define new values for the boot device list',
    ({ machine }, args) => {
      const order = args.string('bootdevice');
      for (const [i, letter] of [...order].entries()) {
        if (letter < 'a' || letter > 'p') return `Invalid boot device '${letter}'\n`;
        if (order.indexOf(letter) < i) return `Boot device '${letter}' was given twice\n`;
      }
      setBootOrder(machine, order);
      return `boot device list now set to ${order}\n`;
    },
  ),
  command(
    'sendkey',
    [arg('keys', 'keys'), arg('integer', 'hold-time?')],
    'keys [hold_ms]',
    "send keys to the VM (e.g. 'sendkey ctrl-alt-f1', default hold time=100 ms)",
    ({ state }, args) => {
      const parsed = parseKeys(args.string('keys'));
      if ('invalid' in parsed) return `invalid parameter: ${parsed.invalid}\n`;
      state.keys.play(parsed.keys, args.number('hold-time', DEFAULT_HOLD_MS));
      return undefined;
    },
  ),
  command(
    'mouse_move',
    [arg('string', 'dx'), arg('string', 'dy'), arg('string', 'dz?')],
    'dx dy [dz]',
    'send mouse move events',
    ({ machine }, args) => {
      const step = (name: string) => Number.parseInt(args.optional(name) ?? '0', 10) || 0;
      machine.mouse.motion(step('dx'), step('dy'), step('dz'));
      machine.wake();
      return undefined;
    },
  ),
  command(
    'mouse_button',
    [arg('integer', 'state')],
    'state',
    'change mouse button state (1=L, 2=M, 4=R)',
    ({ machine, state }, args) => {
      // The monitor counts left, middle, right; a PS/2 packet left, right, middle.
      const mask = args.number('state');
      state.mouseButtons = (mask & 1) | ((mask & 4) >> 1) | ((mask & 2) << 1);
      machine.mouse.buttons(state.mouseButtons);
      machine.wake();
      return undefined;
    },
  ),
  command(
    'gdbserver',
    [arg('string', 'device?')],
    '[device]',
    "start gdbserver on given device (default 'tcp::1234'), stop with 'none'",
    ({ host }, args) => host.gdbserver(args.optional('device')),
  ),
  command(
    'log',
    [arg('string', 'items')],
    'item1[,...]',
    'activate logging of the specified items',
    ({ host }, args) => {
      const items = args.string('items').split(',');
      if (items.includes('help') || !host.setLog(items)) return host.logHelp();
      return undefined;
    },
  ),
  command(
    'logfile',
    [arg('filename', 'filename')],
    'filename',
    "output logs to 'filename'",
    ({ host }, args) => {
      try {
        host.setLogFile(args.string('filename'));
      } catch (error) {
        // As QEMU: without `Error: ` before it.
        return `${reason(error)}\n`;
      }
      return undefined;
    },
  ),
];
