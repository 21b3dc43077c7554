/** `info qtree` and `info device` (ours: the state of a chip from its schema). Not here: properties that cannot be set. */
import { describeState } from '../../migration/describe.ts';
import type { Machine } from '../../machine/machine.ts';
import { argument as arg, type Command, CommandError, command } from '../command.ts';

export const DEVICE_INFO: readonly Command[] = [
  command(
    'device',
    [arg('section', 'name?'), arg('integer', 'instance?')],
    '[name [instance]]',
    'show the state of a device, field by field; without a name the names',
    ({ machine }, args) => deviceState(machine, args.optional('name'), args.number('instance')),
  ),
  command('qtree', [], '', 'show device tree', ({ machine }) => deviceTree(machine)),
];

function deviceState({ board }: Machine, name: string | undefined, instance: number): string {
  const { devices } = board;
  if (name === undefined) {
    return devices.map((d) => `${d.name}${d.instance === undefined ? '' : ` ${d.instance}`}\n`).join('');
  }
  const device = devices.find((d) => d.name === name && (d.instance ?? 0) === instance);
  if (device === undefined) {
    const others = devices.filter((d) => d.name === name).map((d) => d.instance ?? 0);
    const hint = others.length === 0 ? '' : `; there is ${name} ${others.join(', ')}`;
    throw new CommandError(`Device '${name}' not found${hint}`);
  }
  device.beforeSave?.();
  const lines = describeState(device.vmstate, device.state);
  return `${device.name} instance ${instance} version ${device.vmstate.version}\n${lines.join('\n')}\n`;
}

/** QEMU's names of the functions of this board, by device and function. */
const PCI_NAMES: Readonly<Record<number, string>> = {
  0: 'i440FX',
  8: 'PIIX3',
  9: 'piix3-ide',
  11: 'PIIX4_PM',
  16: 'VGA',
};
const CLASSES: Readonly<Record<number, string>> = {
  257: 'IDE controller',
  768: 'VGA controller',
  1536: 'Host bridge',
  1537: 'ISA bridge',
  1664: 'Bridge',
};
/** Chips on the ISA bus as QEMU lists them: name and first port. */
const ISA_NAMES: readonly (readonly [string, number, number?])[] = [
  ['port92', 0x92],
  ['i8042', 0x60],
  ['isa-fdc', 0x3f0, 6],
  ['isa-serial', 0x3f8, 4],
  ['isa-serial', 0x2f8, 3],
  ['isa-serial', 0x3e8, 4],
  ['isa-serial', 0x2e8, 3],
  ['isa-pcspk', 0x61],
  ['isa-pit', 0x40],
  ['mc146818rtc', 0x70, 8],
  ['isa-i8259', 0xa0],
  ['isa-i8259', 0x20],
  ['i8257', 0xc0],
  ['i8257', 0x00],
];

function deviceTree(machine: Machine): string {
  const { board } = machine;
  const lines = ['bus: main-system-bus', '  type System', '  dev: ioapic, id ""', '    version = 32 (0x20)'];
  lines.push('  dev: i440FX-pcihost, id ""', '    bus: pci.0', '      type PCI');
  for (const { devfn, state } of [...board.pciBus.functions()].sort((a, b) => b.devfn - a.devfn)) {
    const { config } = state;
    const word = (at: number) => (config[at]! | (config[at + 1]! << 8)).toString(16).padStart(4, '0');
    const address = `${hex(devfn >> 3)}.${devfn & 7}`;
    const classCode = Number.parseInt(word(0x0a), 16);
    lines.push(`      dev: ${PCI_NAMES[devfn] ?? `pci-${address}`}, id ""`, `        addr = ${address}`);
    lines.push(
      `        class ${CLASSES[classCode] ?? `Class ${word(0x0a)}`}, addr 00:${address}, ` +
        `pci id ${word(0)}:${word(2)} (sub ${word(0x2c)}:${word(0x2e)})`,
    );
    if (PCI_NAMES[devfn] === 'piix3-ide') lines.push(...ideBuses(machine));
    if (PCI_NAMES[devfn] === 'PIIX3') lines.push(...isaBus(machine));
  }
  lines.push('  dev: fw_cfg_io, id ""', '    dma_enabled = true');
  return `${lines.join('\n')}\n`;
}

const hex = (value: number) => value.toString(16).padStart(2, '0');

function ideBuses({ options }: Machine): string[] {
  const drives = options.drives.filter(({ kind }) => kind === 'disk' || kind === 'cdrom');
  return [1, 0].flatMap((bus) => [
    `        bus: ide.${bus}`,
    '          type IDE',
    ...drives
      .filter(({ index }) => index >> 1 === bus)
      .flatMap(({ device, kind, index }) => [
        `          dev: ${kind === 'cdrom' ? 'ide-cd' : 'ide-hd'}, id ""`,
        `            drive = "${device}"`,
        `            unit = ${index & 1} (0x${index & 1})`,
      ]),
  ]);
}

function isaBus({ board, options }: Machine): string[] {
  const lines = ['        bus: isa.0', '          type ISA'];
  const bases = new Set(board.ports.mappings().map(({ base }) => base));
  for (const [name, base, irq] of ISA_NAMES) {
    const isThere = bases.has(base) || (name === 'isa-fdc' && bases.has(base + 1));
    if (!isThere) continue;
    lines.push(`          dev: ${name}, id ""`, `            iobase = ${base} (0x${base.toString(16)})`);
    if (irq !== undefined) lines.push(`            irq = ${irq} (0x${irq})`);
    if (name !== 'isa-fdc') continue;
    lines.push('            bus: floppy-bus.0', '              type floppy-bus');
    for (const { device, index } of options.drives.filter(({ kind }) => kind === 'floppy')) {
      lines.push('              dev: floppy, id ""', `                unit = ${index} (0x${index})`);
      lines.push(`                drive = "${device}"`);
    }
  }
  return lines;
}
