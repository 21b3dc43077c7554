/** The human monitor: runs one line, explains commands, completes what is half typed. Knows no terminal. */
import type { Machine } from '../machine/machine.ts';
import { parseArguments } from './arguments.ts';
import {
  type Command,
  type CommandContext,
  CommandError,
  fullName,
  type MonitorHost,
  type MonitorState,
  reason,
} from './command.ts';
import { COMMANDS } from './commands/index.ts';
import { KeyQueue } from './commands/keys.ts';
import { type Completion, completeLine } from './completion.ts';
import { ArgumentError, ExpressionError } from './expression.ts';
import { registerValue } from './registers.ts';

export interface HmpOptions {
  readonly machine: Machine;
  readonly host: MonitorHost;
}

export class Hmp {
  readonly machine: Machine;
  readonly host: MonitorHost;
  readonly #state: MonitorState;

  constructor({ machine, host }: HmpOptions) {
    this.machine = machine;
    this.host = host;
    this.#state = { dumpFormat: 'x', dumpSize: 4, mouseButtons: 0, keys: new KeyQueue(machine) };
  }

  /** Runs a line and returns what it prints; never rejects for what the user or the guest did. */
  async execute(line: string, history: readonly string[] = []): Promise<string> {
    const found = findCommand(line);
    if (found === undefined) return '';
    if (typeof found === 'string') return `unknown command: '${found}'\n`;
    const { command, rest, path } = found;
    const context: CommandContext = { machine: this.machine, host: this.host, state: this.#state, history };
    try {
      const args = parseArguments(rest, command.args, (name) => registerValue(this.machine.cpu, name));
      return (await command.run(context, args)) ?? '';
    } catch (error) {
      if (error instanceof ArgumentError) {
        const who = error instanceof ExpressionError ? '' : `${fullName(command)}: `;
        return `${who}${error.message}\nTry "help ${path}" for more information\n`;
      }
      if (isExpected(error)) return `Error: ${reason(error)}\n`;
      throw error;
    }
  }

  complete(line: string): Completion {
    return completeLine(line, COMMANDS, {
      snapshots: () => snapshotNames(this.machine),
      devices: () => this.machine.disks.map(({ device }) => device),
      sections: () => this.machine.board.devices.map(({ name }) => name),
      files: (prefix) => this.host.completeFile(prefix),
    });
  }
}

function isExpected(error: unknown): boolean {
  return (
    error instanceof CommandError ||
    (error instanceof Error && ['BlockError', 'MigrationError'].includes(error.name))
  );
}

/** Ids and tags, as loadvm takes both. */
function snapshotNames(machine: Machine): string[] {
  try {
    const { everywhere } = machine.listSnapshots();
    return everywhere.flatMap(({ id, tag }) => [id, tag]);
  } catch {
    return [];
  }
}

interface Found {
  readonly command: Command;
  readonly rest: string;
  /** As typed, for the hint: `info block`. */
  readonly path: string;
}

/** The command that a line names; its name if there is none; undefined for an empty line or a comment. */
export function findCommand(line: string): Found | string | undefined {
  let commands: readonly Command[] = COMMANDS;
  let rest = line.trimStart();
  let path = '';
  if (rest === '' || rest.startsWith('#')) return undefined;
  for (;;) {
    const name = /^[^\s/]+|^\//.exec(rest)?.[0] ?? '';
    const found = commands.find((c) => c.name === name || c.aliases?.includes(name));
    path = path === '' ? name : `${path} ${name}`;
    if (found === undefined) return path;
    rest = rest.slice(name.length);
    if (found.subcommands === undefined || rest.trim() === '') return { command: found, rest, path };
    commands = found.subcommands;
    rest = rest.trimStart();
  }
}
