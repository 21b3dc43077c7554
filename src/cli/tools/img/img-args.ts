/** The command line of the `img` commands: getopt's grammar, as qemu-img has it; sizes; how images are opened. */
import type { BlockNode } from '../../../block/block-node.ts';
import { BlockError } from '../../../block/errors.ts';
import { openImage, type OpenImageOptions } from '../../../block/open.ts';
import type { ToolOutput } from '../tool.ts';

/** Ends a command: a message for standard error, and qemu-img's exit code. */
export class ImgError extends Error {
  readonly code: number;

  constructor(message: string, code = 1) {
    super(message);
    this.name = 'ImgError';
    this.code = code;
  }
}

/** Wrong use: points at the help. */
export function usage(message: string, code = 1): never {
  throw new ImgError(`${message}\nTry 'ambervm img help' for more information`, code);
}

export interface Parsed {
  /** By letter or long name; the last one counts. A flag is ''. */
  readonly options: ReadonlyMap<string, string>;
  /** All values of options that may come several times. */
  readonly all: (name: string) => readonly string[];
  readonly names: readonly string[];
  has(name: string): boolean;
}

/**
 * `short`: letters, `:` behind those with a value. `long`: names, `=` behind those with a value; `letter` long names that
 * mean a letter come as `name:letter`.
 */
export function parseImgArgs(args: readonly string[], short: string, long: readonly string[] = []): Parsed {
  const given: [string, string][] = [];
  const names: string[] = [];
  const letters = new Map<string, boolean>();
  for (let i = 0; i < short.length; i++) if (short[i] !== ':') letters.set(short[i]!, short[i + 1] === ':');
  const words = new Map<string, { readonly value: boolean; readonly name: string }>();
  for (const word of [...long, 'force-share:U', 'object=']) {
    const [name, letter] = word.replace('=', '').split(':') as [string, string?];
    words.set(name, { value: word.includes('='), name: letter ?? name });
  }
  const rest = [...args];
  for (let word = rest.shift(); word !== undefined; word = rest.shift()) {
    if (word === '--') {
      names.push(...rest.splice(0));
    } else if (word.startsWith('--')) {
      const [name, ...value] = word.slice(2).split('=') as [string, ...string[]];
      const known = words.get(name) ?? usage(`unrecognized option '--${name}'`);
      if (!known.value) given.push([known.name, '']);
      else if (value.length > 0) given.push([known.name, value.join('=')]);
      else given.push([known.name, rest.shift() ?? usage(`option '--${name}' requires an argument`)]);
    } else if (word.length > 1 && word.startsWith('-')) {
      for (let i = 1; i < word.length; i++) {
        const letter = word[i]!;
        const takesValue = letters.get(letter) ?? usage(`unrecognized option '-${letter}'`);
        if (!takesValue) {
          given.push([letter, '']);
          continue;
        }
        const value = word.slice(i + 1) || rest.shift();
        given.push([letter, value ?? usage(`missing argument for option '-${letter}'`)]);
        break;
      }
    } else names.push(word);
  }
  const options = new Map(given);
  const all = (name: string) => given.filter(([key]) => key === name).map(([, value]) => value);
  for (const text of all('object')) checkObject(text);
  return { options, names, has: (name) => options.has(name), all };
}

/** `--object`: a secret changes nothing, as images that need one are refused; others are refused by name. */
function checkObject(text: string): void {
  const [first = '', ...rest] = text.split(',');
  const type = first.replace(/^qom-type=/, '');
  if (type !== 'secret') throw new ImgError(`Parameter 'qom-type' does not accept value '${type}'`);
  if (!rest.some((part) => /^id=./.test(part))) throw new ImgError("Parameter 'id' is missing");
}

/** `-p`, unless `-q` says to be quiet. */
export function wantsProgress(parsed: Parsed): boolean {
  return parsed.has('p') && !parsed.has('q');
}

/** Bytes with qemu-img's suffixes; undefined if it is no size. */
export function sizeOf(text: string): number | undefined {
  const match = /^(0[xX][0-9a-fA-F]+|[0-9]+(?:\.[0-9]+)?)([bBkKmMgGtTpPeE]?)$/.exec(text);
  if (match === null) return undefined;
  const scale = match[2] === '' ? 1 : 1024 ** 'BKMGTPE'.indexOf(match[2]!.toUpperCase());
  const bytes = Math.floor(Number(match[1]) * scale);
  if (scale === 1 && match[1]!.includes('.')) return undefined;
  return bytes < 2 ** 63 ? bytes : undefined;
}

/** For `-s`, `-l` and their kin: QEMU's words when it is none. */
export function sizeOption(parsed: Parsed, name: string, what: string): number | undefined {
  const text = parsed.options.get(name);
  if (text === undefined) return undefined;
  return sizeOf(text) ?? badSize(what, text);
}

export function badSize(what: string, text: string): never {
  if (/^[0-9.]+[bBkKmMgGtTpPeE]?$/.test(text)) {
    throw new ImgError(`Invalid ${what} specified. Must be between 0 and 9223372036854775807.`);
  }
  throw new ImgError(
    `Invalid ${what} specified. You may use k, M, G, T, P or E suffixes for\n` +
      'ambervm: kilobytes, megabytes, gigabytes, terabytes, petabytes and exabytes.',
  );
}

/** `-t`, `-T` (for what is only read): QEMU's names of cache modes. */
export function cacheOption(parsed: Parsed, name: 't' | 'T', code = 1): Pick<OpenImageOptions, 'cache'> {
  const mode = parsed.options.get(name);
  if (mode === undefined) return {};
  const known = ['none', 'writeback', 'writethrough', 'directsync', 'unsafe'] as const;
  const cache = known.find((word) => word === (mode === 'off' ? 'none' : mode));
  if (cache === undefined)
    throw new ImgError(`Invalid ${name === 'T' ? 'source ' : ''}cache option: ${mode}`, code);
  return { cache };
}

/** Opens an image in qemu-img's words: a failure ends the command with `code`. */
export async function openFor(
  out: ToolOutput,
  filename: string,
  options: OpenImageOptions,
  code = 1,
): Promise<BlockNode> {
  const what = `Could not open '${filename}': `;
  if (options.forceShare === true && options.readOnly !== true) {
    throw new ImgError(`${what}force-share=on can only be used with read-only images`, code);
  }
  try {
    return await openImage(filename, {
      ...options,
      warn: (message) => {
        if (options.readOnly !== true) out.error(`WARNING: ${message}`);
      },
    });
  } catch (error) {
    if (!(error instanceof BlockError)) throw error;
    // What the host says QEMU puts behind the name of the file, and that behind the name of the image.
    const isSaid =
      error.message.startsWith(what) && ['format', 'protocol'].includes(error.context.field ?? '');
    throw new ImgError(isSaid ? error.message : what + error.message, code);
  }
}

export type Output = 'human' | 'json';

export function outputOption(parsed: Parsed): Output {
  const given = parsed.options.get('output') ?? 'human';
  if (given === 'human' || given === 'json') return given;
  throw new ImgError('--output must be used with human or json as argument.');
}

/** `-p`: QEMU's line, which overwrites itself. */
export class Progress {
  readonly #out: ToolOutput | undefined;
  readonly #total: number;
  #done = 0;
  #shown = -1;

  constructor(out: ToolOutput, isWanted: boolean, total: number) {
    this.#out = isWanted || out.jsonProgress ? out : undefined;
    this.#total = total;
    this.#show(0);
  }

  add(bytes: number): void {
    this.#done += bytes;
    this.#show(this.#total === 0 ? 100 : Math.min(100, (this.#done / this.#total) * 100));
  }

  /** `isShown`: all of it was done, and is shown to be. */
  end(isShown = true): void {
    if (isShown) this.#show(100);
    if (this.#out?.jsonProgress) this.#out.progress(undefined);
    else this.#out?.write('\n');
  }

  #show(percent: number): void {
    if (this.#out === undefined || (percent < 100 && percent - this.#shown < 1)) return;
    this.#shown = percent;
    if (this.#out.jsonProgress) this.#out.progress(percent);
    else this.#out.write(`    (${percent.toFixed(2)}/100%)\r`);
  }
}
