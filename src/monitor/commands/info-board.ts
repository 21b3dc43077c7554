/** `info pic`, `irq`, `pci`, `mtree`: what the board's chips say, to the column as QEMU 7.2 prints it. */
import type { I8259 } from '../../devices/i8259.ts';
import type { Machine } from '../../machine/machine.ts';
import { type Command, command } from '../command.ts';

export const BOARD_INFO: readonly Command[] = [
  command('pic', [], '', 'show PIC state', ({ machine }) => {
    const { pic, ioApic } = machine.board;
    return ioApicText(ioApic) + picLine(pic.slave, 1) + picLine(pic.master, 0);
  }),
  command('irq', [], '', 'show the interrupts statistics (if available)', ({ machine }) => {
    const counts = machine.board.pic.counts();
    const lines = counts.flatMap((count, irq) =>
      count === 0 ? [] : [`${String(irq).padStart(2)}: ${count}`],
    );
    // Both controllers see the same lines; the I/O APIC's are counted before the timer moves to pin 2.
    const text = lines.map((line) => `${line}\n`).join('');
    return `IRQ statistics for ioapic:\n${text}IRQ statistics for isa-i8259:\n${text}`;
  }),
  command('pci', [], '', 'show PCI info', ({ machine }) => pciText(machine)),
  command(
    'mtree',
    [
      { name: 'f', kind: 'flag' },
      { name: 'd', kind: 'flag' },
      { name: 'o', kind: 'flag' },
      { name: 'D', kind: 'flag' },
    ],
    '[-f]',
    'show memory and port maps',
    ({ machine }) => memoryMaps(machine),
  ),
];

function hex(value: number, digits = 0): string {
  return (value >>> 0).toString(16).padStart(digits, '0');
}

function picLine({ state }: I8259, number: number): string {
  return (
    `pic${number}: irr=${hex(state.irr, 2)} imr=${hex(state.imr, 2)} isr=${hex(state.isr, 2)} ` +
    `hprio=${state.priorityAdd} irq_base=${hex(state.irqBase, 2)} rr_sel=${state.readRegSelect} ` +
    `elcr=${hex(state.elcr, 2)} fnm=${state.specialFullyNestedMode}\n`
  );
}

const DELIVERY = ['fixed', 'lowest', 'SMI', '...', 'NMI', 'INIT', '...', 'extINT'];
const PINS = 24;
const LOGICAL = 0x800;
const ACTIVE_LOW = 0x2000;
const REMOTE_IRR = 0x4000;
const LEVEL = 0x8000;
const MASKED = 0x10000;
/** First index of the redirection table. */
const REDIRECTION = 0x10;

function ioApicText(ioApic: Machine['board']['ioApic']): string {
  const { state } = ioApic;
  const select = state.ioregsel;
  const register = select === 0 ? '' : ` (redir[${(select - REDIRECTION) >> 1}])`;
  const lines = [`ioapic0: ver=0x20 id=0x${hex(state.id, 2)} sel=0x${hex(select, 2)}${register}`];
  let remote = 0;
  for (let pin = 0; pin < PINS; pin++) {
    const [low, high] = ioApic.entry(pin);
    const destination = (high >>> 24) & ((low & LOGICAL) !== 0 ? 0xff : 0xf);
    const cells = [
      `  pin ${String(pin).padEnd(2)} 0x${hex(high, 8)}${hex(low, 8)} dest=${hex(destination)}`,
      `vec=${String(low & 0xff).padEnd(3)}`,
      (low & ACTIVE_LOW) !== 0 ? 'active-lo' : 'active-hi',
      ((low & LEVEL) !== 0 ? 'level' : 'edge').padEnd(5),
      ((low & MASKED) !== 0 ? 'masked' : '').padEnd(6),
      DELIVERY[(low >> 8) & 7]!.padEnd(6),
      (low & LOGICAL) !== 0 ? 'logical' : 'physical',
    ];
    lines.push(cells.join(' '));
    if ((low & (LEVEL | REMOTE_IRR)) === (LEVEL | REMOTE_IRR)) remote |= 1 << pin;
  }
  lines.push(bits('  IRR', state.irr), bits('  Remote IRR', remote));
  return `${lines.join('\n')}\n`;
}

function bits(name: string, bitmap: number): string {
  const pins = Array.from({ length: PINS }, (_, pin) => pin).filter((pin) => (bitmap & (1 << pin)) !== 0);
  const list = pins.length === 0 ? '(none)' : pins.map((pin) => `${String(pin).padEnd(2)} `).join('');
  return `${name.padEnd(10)} ${list}`;
}

const CLASSES: Readonly<Record<number, string>> = {
  257: 'IDE controller',
  768: 'VGA controller',
  1536: 'Host bridge',
  1537: 'ISA bridge',
  1664: 'Bridge',
};

function pciText(machine: Machine): string {
  const functions = [...machine.board.pciBus.functions()].sort((a, b) => a.devfn - b.devfn);
  let text = '';
  for (const { devfn, state } of functions) {
    const view = new DataView(state.config.buffer, state.config.byteOffset, state.config.byteLength);
    const word = (at: number) => view.getUint16(at, true);
    const classCode = word(0x0a);
    const slot = String(devfn >> 3).padStart(3);
    text += `  Bus  0, device ${slot}, function ${devfn & 7}:\n`;
    text += `    ${CLASSES[classCode] ?? `Class ${String(classCode).padStart(4, '0')}`}: `;
    text += `PCI device ${hex(word(0), 4)}:${hex(word(2), 4)}\n`;
    text += `      PCI subsystem ${hex(word(0x2c), 4)}:${hex(word(0x2e), 4)}\n`;
    const pin = state.config[0x3d]!;
    if (pin !== 0) text += `      IRQ ${state.config[0x3c]}, pin ${String.fromCharCode(64 + pin)}\n`;
    text += bars(classCode, view);
    text += '      id ""\n';
  }
  return text;
}

/** Sizes of this board's windows by class and register: they cannot be read from a mapped register. */
const BAR_SIZES: Readonly<Record<number, Readonly<Record<number, number>>>> = {
  257: { 4: 0x10 },
  768: { 0: 0x100_0000, 2: 0x1000, 6: 0x10000 },
};
const COMMAND_IO = 1;
const COMMAND_MEMORY = 2;

function bars(classCode: number, config: DataView): string {
  const command = config.getUint16(4, true);
  let text = '';
  for (const [name, size] of Object.entries(BAR_SIZES[classCode] ?? {})) {
    const number = Number(name);
    const register = config.getUint32(number === 6 ? 0x30 : 0x10 + number * 4, true);
    const isIo = number !== 6 && (register & 1) !== 0;
    const isOn =
      (command & (isIo ? COMMAND_IO : COMMAND_MEMORY)) !== 0 && (number !== 6 || (register & 1) !== 0);
    const base = (register & -size) >>> 0;
    // A window that is off is printed as all ones, and its end wraps.
    const first = isOn ? hex(base, isIo ? 4 : 8) : 'ffffffffffffffff';
    const last = isOn ? hex(base + size - 1, isIo ? 4 : 8) : hex(size - 2, isIo ? 4 : 8);
    const prefetch = !isIo && number !== 6 && (register & 8) !== 0 ? ' prefetchable' : '';
    text += isIo
      ? `      BAR${number}: I/O at 0x${first} [0x${last}].\n`
      : `      BAR${number}: 32 bit${prefetch} memory at 0x${first} [0x${last}].\n`;
  }
  return text;
}

function memoryMaps(machine: Machine): string {
  const range = (base: number, size: number) =>
    `  ${base.toString(16).padStart(16, '0')}-${(base + size - 1).toString(16).padStart(16, '0')}`;
  const { ports, memory } = machine.board;
  const io = [...ports.mappings()]
    .sort((a, b) => a.base - b.base)
    .map(({ base, region }) => `${range(base, region.size)} (prio 0, i/o): ${region.name}`);
  const ram = `${range(0, memory.ramBytes)} (prio 0, ram): pc.ram`;
  const overlays = [...memory.overlays()]
    .sort((a, b) => a.base - b.base)
    .map(({ base, size, name }) => `${range(base, size)} (prio 1, i/o): ${name}`);
  return [
    'address-space: I/O',
    ...io,
    '',
    'address-space: memory (later lines lie over earlier ones)',
    ram,
    ...overlays,
    '',
  ].join('\n');
}
