/** Looking at memory and ports: x, xp, print, i, o, sum, memsave, pmemsave. Formats to the column as QEMU 7.2's. */
import type { Arguments } from '../arguments.ts';
import {
  argument as arg,
  type Command,
  type CommandContext,
  CommandError,
  command,
  reason,
} from '../command.ts';
import { debugTranslate, readVirtual } from '../registers.ts';
import { disassembly } from './disassembly.ts';

/** What can be saved or summed at once, bytes: all addresses there are. */
const MAX_SAVE_BYTES = 4 * 1024 ** 3;
const PIECE_BYTES = 1024 * 1024;

export const MEMORY_COMMANDS: readonly Command[] = [
  command(
    'x',
    [arg('format', 'fmt'), arg('integer', 'addr')],
    '/fmt addr',
    "virtual memory dump starting at 'addr'",
    (context, args) => dump(context, args, true),
  ),
  command(
    'xp',
    [arg('format', 'fmt'), arg('integer', 'addr')],
    '/fmt addr',
    "physical memory dump starting at 'addr'",
    (context, args) => dump(context, args, false),
  ),
  command(
    'print|p',
    [arg('format', 'fmt'), arg('integer', 'val')],
    '/fmt expr',
    'print expression value (use $reg for CPU register access)',
    (context, args) => {
      const { format } = chooseFormat(context, args);
      const value = args.integer('val');
      const text: Readonly<Record<string, () => string>> = {
        o: () => (value === 0n ? '0' : `0${BigInt.asUintN(64, value).toString(8)}`),
        u: () => BigInt.asUintN(64, value).toString(),
        d: () => value.toString(),
        c: () => character(Number(BigInt.asUintN(32, value))),
      };
      const hexadecimal = value === 0n ? '0' : `0x${BigInt.asUintN(64, value).toString(16)}`;
      return `${text[format]?.() ?? hexadecimal}\n`;
    },
  ),
  command(
    'i',
    [arg('format', 'fmt'), arg('integer', 'addr'), arg('index', 'index')],
    '/fmt addr',
    'I/O port read',
    (context, args) => {
      const { size } = chooseFormat(context, args);
      const bytes = size === 1 || size === 2 ? size : 4;
      const { ports } = context.machine.board;
      let port = args.number('addr') & 0xffff;
      if (args.has('index')) {
        ports.write(port, 1, args.number('index') & 0xff);
        port = (port + 1) & 0xffff;
      }
      const value = ports.read(port, bytes) >>> 0;
      return `port${' bw l'[bytes]}[0x${hex(port, 4)}] = 0x${hex(value, bytes * 2)}\n`;
    },
  ),
  command(
    'o',
    [arg('format', 'fmt'), arg('integer', 'addr'), arg('integer', 'val')],
    '/fmt addr value',
    'I/O port write',
    (context, args) => {
      const { size } = chooseFormat(context, args);
      const bytes = size === 1 || size === 2 ? size : 4;
      const { machine } = context;
      const value = Number(BigInt.asUintN(bytes * 8, args.integer('val')));
      machine.board.ports.write(args.number('addr') & 0xffff, bytes, value);
      machine.wake();
      return undefined;
    },
  ),
  command(
    'sum',
    [arg('integer', 'start'), arg('integer', 'size')],
    'addr size',
    'compute the checksum of a memory region',
    ({ machine }, args) => {
      // BSD's: rotate right, add, 16 bits (QEMU hmp_sum).
      let sum = 0;
      for (const [at, piece] of pieces(args.number('start'), Math.min(args.number('size'), MAX_SAVE_BYTES))) {
        machine.memory.read(at, piece);
        for (const byte of piece) sum = (((sum >> 1) | (sum << 15)) + byte) & 0xffff;
      }
      return `${String(sum).padStart(5, '0')}\n`;
    },
  ),
  command(
    'memsave',
    [arg('integer', 'val'), arg('integer', 'size'), arg('path', 'filename')],
    'addr size file',
    "save to disk virtual memory dump starting at 'addr' of size 'size'",
    (context, args) => save(context, args, true),
  ),
  command(
    'pmemsave',
    [arg('integer', 'val'), arg('integer', 'size'), arg('path', 'filename')],
    'addr size file',
    "save to disk physical memory dump starting at 'addr' of size 'size'",
    (context, args) => save(context, args, false),
  ),
  command(
    'gva2gpa',
    [arg('integer', 'addr')],
    'addr',
    'print the guest physical address corresponding to a guest virtual address',
    ({ machine }, args) => {
      const address = debugTranslate(machine.cpu, Number(BigInt.asIntN(32, args.integer('addr'))));
      return address === undefined
        ? 'Unmapped\n'
        : `gpa: ${address === 0 ? '0' : `0x${address.toString(16)}`}\n`;
    },
  ),
];

interface Chosen {
  readonly count: number;
  readonly format: string;
  readonly size: number;
}

/** Fills in what was not given from the last command, and keeps it for the next. */
function chooseFormat({ state }: CommandContext, args: Arguments): Chosen {
  const { count, format, size, given } = args.format('fmt');
  const chosen = { count, format: format ?? state.dumpFormat, size: size ?? state.dumpSize };
  if (given && chosen.format !== 'i') {
    state.dumpFormat = chosen.format;
    state.dumpSize = chosen.size;
  }
  return chosen;
}

function hex(value: number | bigint, digits: number): string {
  return value.toString(16).padStart(digits, '0');
}

/** A stretch of memory in pieces: addresses, and room for the bytes. A guest has less memory than a user can ask for. */
function* pieces(address: number, size: number): Generator<readonly [number, Uint8Array]> {
  for (let done = 0; done < size; done += PIECE_BYTES) {
    yield [(address + done) >>> 0, new Uint8Array(Math.min(PIECE_BYTES, size - done))];
  }
}

function dump(context: CommandContext, args: Arguments, isVirtual: boolean): string {
  const { count, format, size: wanted } = chooseFormat(context, args);
  if (format === 'i') {
    return disassembly(context.machine, Number(BigInt.asUintN(32, args.integer('addr'))), count, isVirtual);
  }
  const size = format === 'c' ? 1 : wanted;
  const start = Number(BigInt.asUintN(32, args.integer('addr')));
  const { machine } = context;
  const lineBytes = wanted === 1 ? 8 : 16;
  const lines: string[] = [];
  const total = count * size;
  for (let done = 0; done < total; done += lineBytes) {
    const at = (start + done) >>> 0;
    const line = new Uint8Array(Math.min(lineBytes, total - done));
    const prefix = `${hex(at, isVirtual ? 8 : 16)}:`;
    if (!isVirtual) machine.memory.read(at, line);
    else if (!readVirtual(machine.cpu, at, line)) {
      lines.push(`${prefix} Cannot access memory`);
      break;
    }
    lines.push(prefix + formatItems(line, format, size));
  }
  return lines.map((line) => `${line}\n`).join('');
}

function formatItems(line: Uint8Array, format: string, size: number): string {
  let text = '';
  for (let i = 0; i < line.length; i += size) {
    let value = 0n;
    for (let byte = size - 1; byte >= 0; byte--) value = (value << 8n) | BigInt(line[i + byte]!);
    text += ` ${formatItem(value, format, size)}`;
  }
  return text;
}

/** Widths as QEMU's: octal ⌈bits ÷ 3⌉, decimal ⌈bits × 10 ÷ 33⌉ characters. */
function formatItem(value: bigint, format: string, size: number): string {
  const bits = size * 8;
  switch (format) {
    case 'o':
      return (value === 0n ? '0' : `0${value.toString(8)}`).padStart(Math.ceil(bits / 3));
    case 'x':
      return `0x${hex(value, size * 2)}`;
    case 'u':
      return value.toString().padStart(Math.ceil((bits * 10) / 33));
    case 'd':
      return BigInt.asIntN(bits, value)
        .toString()
        .padStart(Math.ceil((bits * 10) / 33));
    default:
      return character(Number(value));
  }
}

const NAMED: Readonly<Record<string, string>> = { "'": "\\'", '\\': '\\\\', '\n': '\\n', '\r': '\\r' };

/** A character constant; what cannot be printed in hexadecimal. */
function character(code: number): string {
  const char = String.fromCharCode(code & 0xff);
  const isPrintable = code >= 32 && code <= 126;
  return `'${NAMED[char] ?? (isPrintable ? char : `\\x${hex(code, 2)}`)}'`;
}

async function save(
  { machine, host }: CommandContext,
  args: Arguments,
  isVirtual: boolean,
): Promise<undefined> {
  const size = args.number('size');
  const address = Number(BigInt.asUintN(32, args.integer('val')));
  if (size < 0 || size > MAX_SAVE_BYTES) throw new CommandError(`Invalid size ${size} specified`);
  const filename = args.string('filename');
  let unmapped: CommandError | undefined;
  function* contents(): Generator<Uint8Array> {
    for (const [at, piece] of pieces(address, size)) {
      if (!isVirtual) machine.memory.read(at, piece);
      else if (!readVirtual(machine.cpu, at, piece)) {
        unmapped = new CommandError(`Invalid addr 0x${hex(at, 16)}/size ${size} specified`);
        return;
      }
      yield piece;
    }
  }
  try {
    await host.writeFile(filename, contents());
  } catch (error) {
    throw new CommandError(`Could not open '${filename}': ${reason(error)}`);
  }
  if (unmapped !== undefined) throw unmapped;
  return undefined;
}
