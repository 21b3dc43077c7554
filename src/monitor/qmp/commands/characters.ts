/** Ring buffers, and what back ends there are. qapi/char.json. Not here: adding, changing, removing character devices. */
import { findRing } from '../../commands/ringbuf.ts';
import { qmp, type QmpCommand } from '../command.ts';
import { QmpError } from '../errors.ts';

const BACKENDS = ['stdio', 'ringbuf', 'null', 'socket', 'vc', 'udp', 'file', 'pty'];

export const CHARACTERS: readonly QmpCommand[] = [
  qmp('query-chardev-backends', {}, () => BACKENDS.map((name) => ({ name }))),
  qmp('ringbuf-read', { device: 'string', size: 'integer', format: 'string?' }, ({ host }, args) => {
    const ring = findRing(host, args.string('device'));
    const size = args.integer('size');
    if (size <= 0) throw new QmpError('size must be greater than zero');
    return Buffer.from(ring.take(size)).toString(formatOf(args.optionalString('format')));
  }),
  qmp('ringbuf-write', { device: 'string', data: 'string', format: 'string?' }, ({ host }, args) => {
    const format = formatOf(args.optionalString('format'));
    findRing(host, args.string('device')).write(Buffer.from(args.string('data'), format));
    return {};
  }),
  qmp('chardev-send-break', { id: 'string' }, ({ host }, args) => {
    const id = args.string('id');
    if (host.characters().some(({ label }) => label === id)) return {};
    throw new QmpError(`Chardev '${id}' not found`);
  }),
];

function formatOf(name = 'utf8'): 'utf8' | 'base64' {
  if (name === 'utf8' || name === 'base64') return name;
  throw new QmpError(`Parameter 'format' does not accept value '${name}'`);
}
