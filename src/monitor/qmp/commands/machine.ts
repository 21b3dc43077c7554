/** stop, cont, quit, reset, the human monitor, memory dumps, screendump. qapi/misc.json, machine.json, ui.json. */
import { qmp, type QmpCommand } from '../command.ts';
import { QmpError } from '../errors.ts';

export const MACHINE: readonly QmpCommand[] = [
  qmp('stop', {}, async ({ machine }) => {
    await machine.pause();
    return {};
  }),
  qmp('cont', {}, ({ machine }) => {
    if (machine.state === 'shutdown') throw new QmpError('Resetting the Virtual Machine is required');
    machine.start();
    return {};
  }),
  // What follows is the session's: the client is to have its answer first.
  qmp('quit', {}, () => ({})),
  qmp('system_reset', {}, ({ machine }) => {
    machine.reset();
    return {};
  }),
  qmp('system_wakeup', {}, ({ machine }) => {
    if (!machine.wakeUp()) throw new QmpError('Unable to wake up: guest is not in suspended state');
    return {};
  }),
  qmp('system_powerdown', {}, ({ machine }) => {
    machine.powerButton();
    return {};
  }),
  qmp('inject-nmi', {}, ({ machine }) => {
    machine.nmi();
    return {};
  }),
  qmp(
    'human-monitor-command',
    { 'command-line': 'string', 'cpu-index': 'integer?' },
    async ({ hmp }, args) => {
      const output = await hmp.execute(args.string('command-line'));
      return output.replaceAll('\n', '\r\n');
    },
  ),
  qmp(
    'screendump',
    { filename: 'string', device: 'string?', head: 'integer?', format: 'string?' },
    async ({ machine, host }, args) => {
      const filename = args.string('filename');
      const format = args.optionalString('format') ?? (/\.png$/i.test(filename) ? 'png' : 'ppm');
      if (format !== 'png' && format !== 'ppm') {
        throw new QmpError(`Parameter 'format' does not accept value '${format}'`);
      }
      const surface = machine.screen?.render();
      if (surface === undefined) throw new QmpError('There is no console to take a screendump from');
      const encode = format === 'png' ? host.encodePng : host.encodePpm;
      await write(host, filename, encode(surface.width, surface.height, surface.rgb));
      return {};
    },
  ),
  qmp('pmemsave', { val: 'integer', size: 'integer', filename: 'string' }, (context, args) =>
    save(context, args.string('filename'), `pmemsave ${args.integer('val')} ${args.integer('size')}`),
  ),
  qmp(
    'memsave',
    { val: 'integer', size: 'integer', filename: 'string', 'cpu-index': 'integer?' },
    (context, args) =>
      save(context, args.string('filename'), `memsave ${args.integer('val')} ${args.integer('size')}`),
  ),
];

async function write(
  host: Parameters<QmpCommand['run']>[0]['host'],
  filename: string,
  data: Uint8Array,
): Promise<void> {
  try {
    await host.writeFile(filename, data);
  } catch (error) {
    throw new QmpError(`failed to open file '${filename}': ${(error as Error).message}`);
  }
}

/** By the human monitor's command of the same name. */
async function save(
  { hmp }: Parameters<QmpCommand['run']>[0],
  filename: string,
  line: string,
): Promise<Record<string, never>> {
  const output = await hmp.execute(`${line} "${filename.replace(/["\\]/g, '\\$&')}"`);
  if (output !== '') throw new QmpError(output.trim().replace(/^Error: /, ''));
  return {};
}
