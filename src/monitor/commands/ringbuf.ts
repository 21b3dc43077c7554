/** `ringbuf_read`, `ringbuf_write`: character devices that keep what the guest says until somebody asks. chardev/char-ringbuf.c. */
import {
  argument as arg,
  type Command,
  CommandError,
  command,
  type MonitorHost,
  type RingBuffer,
} from '../command.ts';

export const RINGBUF_COMMANDS: readonly Command[] = [
  command(
    'ringbuf_read',
    [arg('string', 'device'), arg('integer', 'size')],
    'device size',
    'Read from a ring buffer character device',
    ({ host }, args) => {
      const bytes = findRing(host, args.string('device')).take(args.number('size'));
      return `${printable(Buffer.from(bytes).toString('utf8'))}\n`;
    },
  ),
  command(
    'ringbuf_write',
    [arg('string', 'device'), arg('string', 'data')],
    'device data',
    'Write to a ring buffer character device',
    ({ host }, args) => {
      findRing(host, args.string('device')).write(Buffer.from(args.string('data')));
      return undefined;
    },
  ),
];

/** Throws CommandError. */
export function findRing(host: MonitorHost, name: string): RingBuffer {
  const found = host.characters().find(({ label }) => label === name);
  if (found === undefined) throw new CommandError(`Device '${name}' not found`);
  if (found.ring === undefined) throw new CommandError(`${name} is not a ringbuf device`);
  return found.ring;
}

/** Control characters but the line feed as QEMU writes them. */
function printable(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are meant
  return text.replace(/[\\\x00-\x09\x0b-\x1f\x7f]/g, (char) =>
    char === '\\' ? '\\\\' : `\\u${char.charCodeAt(0).toString(16).toUpperCase().padStart(4, '0')}`,
  );
}
