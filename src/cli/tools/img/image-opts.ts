/**
 * `--image-opts`: images as `driver=qcow2,file.filename=NAME` in place of their names. Only what a plain name and `-f` say
 * as well; sizes of caches and the like are accepted where the driver has them, anything else is refused by name.
 */
import { type Pair, parsePairs } from '../../grammar.ts';
import { QCOW2_KEYS } from '../../drives.ts';
import { ImgError, type Parsed } from './img-args.ts';

/** What any block node takes and that changes nothing here. */
const COMMON_KEYS = [
  'node-name',
  'cache.direct',
  'cache.no-flush',
  'file.node-name',
  'file.aio',
  'file.locking',
];

export interface Spec {
  readonly filename: string;
  readonly format: string | undefined;
  readonly forceShare: boolean;
}

/**
 * The same command line with plain names and formats, if `--image-opts` was given. `formats`: option for the format of
 * the first name, the second, …; the last one stands for all that follow. `last`: names at the end that are plain anyway.
 */
export function withImageOpts(parsed: Parsed, formats: readonly string[] = ['f'], last = 0): Parsed {
  if (!parsed.has('image-opts')) return parsed;
  if (formats.some((letter) => parsed.has(letter))) {
    throw new ImgError('--image-opts and --format are mutually exclusive');
  }
  const described = parsed.names.slice(0, Math.max(0, parsed.names.length - last));
  const specs = described.map(parseSpec);
  const options = new Map(parsed.options);
  for (const [i, { forceShare, format }] of specs.entries()) {
    if (forceShare) options.set('U', '');
    const letter = formats[Math.min(i, formats.length - 1)]!;
    const before = i >= formats.length ? options.get(letter) : format;
    if (before !== format) throw new ImgError('--image-opts: images of different formats are not supported');
    if (format !== undefined) options.set(letter, format);
  }
  const names = [...specs.map(({ filename }) => filename), ...parsed.names.slice(described.length)];
  return { ...parsed, options, names, has: (name) => options.has(name) };
}

/** One image. */
export function parseSpec(text: string): Spec {
  const fail = (message: string): never => {
    throw new ImgError(`Could not open '${text}': ${message}`);
  };
  if (!text.includes('=')) fail(`Cannot find device='${text}' nor node-name='${text}'`);
  const pairs = parsePairs(text);
  const values = new Map(pairs.map(({ key, value }) => [key, value ?? 'on']));
  const format = values.get('driver');
  if (values.has('file')) {
    fail(`Cannot find device='${values.get('file')}' nor node-name='${values.get('file')}'`);
  }
  if (format === undefined && ![...values.keys()].some((key) => key.startsWith('file.'))) {
    fail('Must specify either driver or file');
  }
  if (format !== undefined && format !== 'raw' && format !== 'qcow2') fail(`Unknown driver '${format}'`);
  const protocol = values.get('file.driver') ?? 'file';
  if (protocol !== 'file') fail(`Unknown protocol '${protocol}'`);
  const filename = values.get('file.filename') ?? fail('A block device must be specified for "file"');
  const foreign = pairs.find((pair) => !isKnown(pair, format));
  if (foreign !== undefined) {
    fail(`Block format '${format ?? 'raw'}' does not support the option '${foreign.key}'`);
  }
  return { filename, format, forceShare: values.get('force-share') === 'on' };
}

function isKnown({ key }: Pair, format: string | undefined): boolean {
  if (['driver', 'file.driver', 'file.filename', 'force-share', 'read-only'].includes(key)) return true;
  return COMMON_KEYS.includes(key) || (format !== 'raw' && QCOW2_KEYS.includes(key));
}
