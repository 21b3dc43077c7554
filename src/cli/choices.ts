/** Values that options choose from, and what `help` prints for them. */

export const MACHINES: readonly (readonly [string, string])[] = [
  ['pc', 'Standard PC (i440FX + PIIX, 1996) (alias of pc-i440fx-7.2)'],
  ['pc-i440fx-7.2', 'Standard PC (i440FX + PIIX, 1996) (default)'],
];

/** Options of `-machine` that change nothing here, and the only value that they may have. */
export const MACHINE_OPTIONS: Readonly<Record<string, string | undefined>> = {
  hpet: 'off',
  vmport: 'off',
  smm: 'off',
  usb: 'off',
  graphics: 'on',
  'acpi-pm': undefined,
};

export const CPUS: readonly (readonly [string, string])[] = [
  ['486', ''],
  ['pentium', ''],
  ['pentium2', ''],
  ['pentium3', '(default)'],
  ['qemu32', 'with SSE2'],
];

export const VGA_TYPES: readonly (readonly [string, string])[] = [
  ['none', 'no graphic card'],
  ['std', 'standard VGA (default)'],
];

/** Items of `-d` and `log`. */
export const LOG_ITEMS: readonly (readonly [string, string])[] = [
  ['in_asm', 'show guest assembly code as it is decoded'],
  ['int', 'show interrupts/exceptions in short format'],
  ['cpu_reset', 'show CPU state before CPU resets'],
  ['unimp', 'log unimplemented functionality'],
  ['guest_errors', 'log when the guest OS does something invalid (eg accessing a\nnon-existent register)'],
  ['trace:PATTERN', 'enable trace events'],
];

/** Items of QEMU's translator, accepted without effect. */
export const IGNORED_LOG_ITEMS: ReadonlySet<string> = new Set([
  'out_asm',
  'op',
  'op_opt',
  'op_ind',
  'exec',
  'cpu',
  'fpu',
  'mmu',
  'pcall',
  'page',
  'nochain',
  'plugin',
  'strace',
  'tid',
]);

export function logItemsHelp(): string {
  const lines = LOG_ITEMS.map(([name, text]) => `${name.padEnd(15)} ${text}`);
  return `Log items (comma separated):\n${lines.join('\n')}\n`;
}

export function columns(heading: string, rows: readonly (readonly [string, string])[]): string {
  return `${heading}${rows.map(([name, text]) => `${name.padEnd(20)} ${text}`.trimEnd()).join('\n')}\n`;
}

/** `-boot order=` letters that QEMU knows (hw/i386/pc.c): floppy a b, disk c d, network n …; we boot from a, c and d. */
export function invalidBootDevice(order: string): string | undefined {
  for (let i = 0; i < order.length; i++) {
    const letter = order[i]!;
    if (letter < 'a' || letter > 'p') return `Invalid boot device '${letter}'`;
    if (order.indexOf(letter) < i) return `Boot device '${letter}' was given twice`;
  }
  return undefined;
}
