/** `ambervm <word> <command> …`: what the tools share. Their words never begin with `-` nor name a usual image file. */
import { parseArgs, type ParseArgsConfig } from 'node:util';
import { type BlockNode, type Snapshotting, supportsSnapshots } from '../../block/block-node.ts';
import { BlockError } from '../../block/errors.ts';
import { openImage } from '../../block/open.ts';
import { UsageError } from '../grammar.ts';

/** Where a tool prints; lines without newline. */
export interface ToolOutput {
  line(text: string): void;
  /** To standard error, behind the program's name. */
  error(text: string): void;
  /** As it is, without a newline of its own. */
  write(text: string): void;
  /** How far it is; undefined: done. A line that overwrites itself on a terminal, left out elsewhere; with `--progress=json` an object a line. */
  progress(percent: number | undefined): void;
  /** `--progress=json`: {@link progress} instead of `-p`'s line, and without being asked for with `-p`. */
  readonly jsonProgress?: boolean;
}

export interface ToolCommand {
  /** `IMAGE TAG [--option VALUE]` */
  readonly usage: string;
  readonly help: string;
  /** Gives the exit code. */
  readonly run: (args: readonly string[], out: ToolOutput) => Promise<number>;
}

export interface Tool {
  readonly help: string;
  readonly commands: { readonly [name: string]: ToolCommand };
}

type Options = NonNullable<ParseArgsConfig['options']>;
/** Options as given: text, true, or missing. */
export type Given = { readonly [name: string]: string | boolean | undefined };

/** Positional arguments, exactly those named (a trailing `?`: may be missing), and options. */
export function parseToolArgs(
  args: readonly string[],
  names: readonly string[],
  options: Options = {},
): { readonly positionals: readonly string[]; readonly given: Given } {
  let parsed: { values: Given; positionals: string[] };
  try {
    parsed = parseArgs({ args: [...args], allowPositionals: true, options }) as typeof parsed;
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
  const { positionals, values } = parsed;
  const missing = names.slice(positionals.length).find((name) => !name.endsWith('?'));
  if (missing !== undefined) throw new UsageError(`${missing} is missing`);
  if (positionals.length > names.length)
    throw new UsageError(`'${positionals[names.length]}' is one argument too many`);
  return { positionals, given: values };
}

export function textOption(given: Given, name: string): string | undefined {
  const value = given[name];
  return typeof value === 'string' ? value : undefined;
}

export type SnapshotNode = BlockNode & Snapshotting;

/** Opens an image with snapshots for `task` and closes it. Read-only ones may be in use elsewhere. */
export async function withImage<T>(
  filename: string,
  readOnly: boolean,
  task: (node: SnapshotNode) => Promise<T>,
): Promise<T> {
  const node = await openImage(filename, { readOnly, forceShare: readOnly, backing: !readOnly });
  try {
    if (!supportsSnapshots(node)) {
      throw new BlockError('unsupported', `'${filename}' is a ${node.format} image: it has no snapshots`, {
        file: filename,
        field: 'format',
        found: node.format,
        expected: 'qcow2',
      });
    }
    return await task(node);
  } finally {
    await node.close();
  }
}
