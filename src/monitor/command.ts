/** The declarative command table: one entry feeds parsing, help, completion and the documentation. */
import type { BlockNode } from '../block/block-node.ts';
import type { Machine } from '../machine/machine.ts';
import type { ArgumentSpec, Arguments } from './arguments.ts';

/** What commands need of the program around the machine. Failures reject with an Error whose message is strerror's. */
export interface MonitorHost {
  /** Name and version for `info version`. */
  readonly version: string;
  readonly name: string | undefined;
  readonly uuid: string | undefined;
  readonly processId: number;
  /** Creates or replaces a file. Pieces are asked for one after the other, so that none but one is in memory. */
  writeFile(path: string, data: Uint8Array | Iterable<Uint8Array>): Promise<void>;
  encodePng(width: number, height: number, rgb: Uint8Array): Uint8Array;
  encodePpm(width: number, height: number, rgb: Uint8Array): Uint8Array;
  /** What an image is, with the keys of QMP's ImageInfo (qapi/block-core.json). */
  imageFacts(node: BlockNode): Promise<object>;
  /** Rejects with a BlockError. */
  openImage(filename: string, options: { format?: string; readOnly: boolean }): Promise<BlockNode>;
  characters(): readonly CharacterFacts[];
  /** Undefined: there is no such item. `none` clears. */
  setLog(items: readonly string[]): boolean;
  logHelp(): string;
  /** Throws an Error whose message is to be printed. */
  setLogFile(path: string): void;
  /** Names that begin with `prefix`, folders with a trailing slash. */
  completeFile(prefix: string): readonly string[];
  /** Starts a gdb server, moves it, or stops it (`none`); returns what to print. */
  gdbserver(device: string | undefined): Promise<string>;
  /** The VNC server; absent where there can be none. */
  readonly vnc?: MonitorVnc;
  /** Ends the program in order. */
  quit(): void;
}

/** A character device. */
export interface CharacterFacts {
  readonly label: string;
  readonly filename: string;
  /** One that keeps what it is told. */
  readonly ring?: RingBuffer;
}

export interface RingBuffer {
  /** Takes out up to `count` bytes, oldest first. */
  take(count: number): Uint8Array;
  /** Puts bytes in, as the guest does. */
  write(bytes: Uint8Array): number;
}

export interface MonitorVnc {
  /** As `info vnc` prints it. */
  info(): string;
  /** With the keys of QMP's VncInfo (qapi/ui.json). */
  facts(): VncFacts;
  setPassword(password: string): 'set' | 'not-asked-for' | 'no-server';
}

export interface VncFacts {
  readonly [key: string]: boolean | string | readonly { readonly [key: string]: boolean | string }[];
}

export interface CommandContext {
  readonly machine: Machine;
  readonly host: MonitorHost;
  /** What outlives a command: sticky formats, keys held. */
  readonly state: MonitorState;
  /** Lines typed before, oldest first. */
  readonly history: readonly string[];
}

export interface MonitorState {
  /** Format and item size of the last x, xp or print: the default of the next. */
  dumpFormat: string;
  dumpSize: number;
  mouseButtons: number;
  readonly keys: KeyPlayer;
}

/** Plays key strokes in virtual time. */
export interface KeyPlayer {
  play(keys: readonly string[], holdMs: number): void;
}

/** Text to print, lines ending in \n; or nothing. */
export type CommandOutput = string | undefined | Promise<string | undefined>;

export interface Command {
  readonly name: string;
  readonly aliases?: readonly string[];
  readonly args: readonly ArgumentSpec[];
  /** Arguments as help shows them. */
  readonly params: string;
  readonly help: string;
  readonly run: (context: CommandContext, args: Arguments) => CommandOutput;
  readonly subcommands?: readonly Command[];
}

/** A command could not do it; printed as `Error: message`. */
export class CommandError extends Error {}

/** For tables: a command's entry with less noise. */
export function command(
  names: string,
  args: readonly ArgumentSpec[],
  params: string,
  help: string,
  run: Command['run'],
): Command {
  const [name = '', ...aliases] = names.split('|');
  return { name, aliases, args, params, help, run };
}

/** `name`, `name?` for an optional one. */
export function argument(kind: ArgumentSpec['kind'], name: string): ArgumentSpec {
  return name.endsWith('?') ? { kind, name: name.slice(0, -1), optional: true } : { kind, name };
}

/** Name and aliases as help and error messages show them: `quit|q`. */
export function fullName({ name, aliases = [] }: Command): string {
  return [name, ...aliases].join('|');
}

export function reason(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
