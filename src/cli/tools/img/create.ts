/** `img create`: a new image. Options and the line that it prints are qemu-img's. */
import { dirname, isAbsolute, join } from 'node:path';
import type { BlockNode } from '../../../block/block-node.ts';
import { BlockError } from '../../../block/errors.ts';
import { createFile } from '../../../block/file.ts';
import { openImage } from '../../../block/open.ts';
import { createQcow2, type CreateQcow2Options } from '../../../block/qcow2/create.ts';
import { splitAtCommas } from '../../grammar.ts';
import type { ToolOutput } from '../tool.ts';
import { badSize, ImgError, parseImgArgs, sizeOf, usage } from './img-args.ts';

export interface CreateRequest {
  readonly format: string;
  readonly filename: string;
  /** Undefined: the backing file's. */
  readonly sizeBytes: number | undefined;
  /** `-o`, as given. */
  readonly options: readonly string[];
  readonly backingFile?: string | undefined;
  readonly backingFormat?: string | undefined;
  /** Use the backing file's name as it is. */
  readonly unsafe?: boolean;
  readonly quiet?: boolean;
}

const QCOW2_OPTIONS: Readonly<Record<string, string>> = {
  backing_file: '<str>     - File name of a base image',
  backing_fmt: '<str>      - Image format of the base image',
  cluster_size: '<size>    - qcow2 cluster size',
  compat: '<str>           - Compatibility level (v2 [0.10] or v3 [1.1])',
  compression_type: '<str> - Compression method used for image cluster compression',
  data_file: '<str>        - File name of an external data file',
  data_file_raw: '<bool (on/off)> - The external data file must stay valid as a raw image',
  extended_l2: '<bool (on/off)> - Extended L2 tables',
  lazy_refcounts: '<bool (on/off)> - Postpone refcount updates',
  preallocation: '<str>    - Preallocation mode (allowed values: off, metadata, falloc, full)',
  refcount_bits: '<num>    - Width of a reference count entry in bits',
  size: '<size>            - Virtual disk size',
};
const RAW_OPTIONS: Readonly<Record<string, string>> = {
  preallocation: '<str>    - Preallocation mode (allowed values: off, falloc, full)',
  size: '<size>            - Virtual disk size',
};

/** What a file takes; a hint for file systems, which Node cannot give. */
const FILE_OPTIONS: Readonly<Record<string, string>> = {
  extent_size_hint: '<size> - Extent size hint for the image file, 0 to disable',
  nocow: '<bool (on/off)>  - Turn off copy-on-write (valid only on btrfs)',
};

export async function create(args: readonly string[], out: ToolOutput): Promise<number> {
  const parsed = parseImgArgs(args, 'F:b:f:ho:qu', ['object=']);
  const { names, options } = parsed;
  const format = options.get('f') ?? 'raw';
  const given = parsed.all('o');
  const [filename, size, ...more] = names;
  if (wantsHelp(given)) return optionHelp(format, filename, out);
  if (filename === undefined) usage('Expecting image file name');
  if (more.length > 0) usage(`Unexpected argument: ${more[0]}`);
  await createImage(
    {
      format,
      filename,
      sizeBytes: size === undefined ? undefined : (sizeOf(size) ?? badSize('image size', size)),
      options: given,
      backingFile: options.get('b'),
      backingFormat: options.get('F'),
      unsafe: parsed.has('u'),
      quiet: parsed.has('q'),
    },
    out,
  );
  return 0;
}

/** Whether `-o` asks for the list of options. */
export function wantsHelp(options: readonly string[]): boolean {
  return options.some((text) => text === 'help' || text === '?');
}

/** Prints it, with those of the file if there is one; gives the exit code. */
export function optionHelp(format: string, filename: string | undefined, out: ToolOutput): number {
  const known = { ...knownOptions(format, ''), ...(filename === undefined ? {} : FILE_OPTIONS) };
  out.line(filename === undefined ? `Supported ${format} options:` : 'Supported options:');
  for (const name of Object.keys(known).sort()) {
    if (format === 'raw' && filename === undefined && name === 'preallocation') continue;
    out.line(`  ${name}=${known[name]}`);
  }
  if (filename !== undefined) return 0;
  out.line('\nThe protocol level may support further options.');
  out.line('Specify the target filename to include those options.');
  return 0;
}

function knownOptions(format: string, filename: string): Readonly<Record<string, string>> {
  if (format === 'qcow2') return QCOW2_OPTIONS;
  if (format === 'raw') return RAW_OPTIONS;
  throw new ImgError(`${filename === '' ? '' : `${filename}: `}Unknown file format '${format}'`);
}

/** Makes the image; other commands use it for their target. */
export async function createImage(request: CreateRequest, out: ToolOutput): Promise<void> {
  const { filename, format } = request;
  const known = knownOptions(format, filename);
  const values = new Map<string, string>();
  for (const part of request.options.flatMap(splitAtCommas)) {
    const [name = '', ...value] = part.split('=');
    if (name === '') continue;
    if (!Object.hasOwn(known, name) && !Object.hasOwn(FILE_OPTIONS, name))
      throw new ImgError(`${filename}: Invalid parameter '${name}'`);
    values.set(name, value.length === 0 ? 'on' : value.join('='));
  }
  if (request.backingFile !== undefined) values.set('backing_file', request.backingFile);
  if (request.backingFormat !== undefined) values.set('backing_fmt', request.backingFormat);
  if (format === 'raw' && values.has('backing_file')) {
    throw new ImgError(`${filename}: Backing file not supported for file format 'raw'`);
  }
  if (values.get('backing_file') === '') {
    throw new ImgError(`${filename}: Expected backing file name, got empty string`);
  }
  try {
    const sizeBytes = await findSize(request, values);
    if (format === 'raw') await createRaw(request, values, sizeBytes, out);
    else await createQcow(request, values, sizeBytes, out);
  } catch (error) {
    if (!(error instanceof BlockError)) throw error;
    throw new ImgError(`${filename}: ${error.message}`);
  }
}

async function findSize(request: CreateRequest, values: Map<string, string>): Promise<number> {
  const { filename } = request;
  const backing = values.get('backing_file');
  const format = values.get('backing_fmt');
  let size = request.sizeBytes;
  const option = values.get('size');
  if (size !== undefined && option !== undefined) {
    throw new ImgError(`${filename}: The image size must be specified only once`);
  }
  size ??= option === undefined ? undefined : (sizeOf(option) ?? badSize('image size', option));
  if (backing !== undefined && request.unsafe !== true) {
    const path = isAbsolute(backing) || /^[^/]+:/.test(backing) ? backing : join(dirname(filename), backing);
    const node = await openBelow(filename, path, format);
    if (format === undefined) {
      await node.close();
      const detected = `Detected format of ${node.format}.`;
      throw new ImgError(`${filename}: Backing file specified without backing format\n${detected}`);
    }
    size ??= node.sizeBytes;
    await node.close();
  }
  if (size === undefined) throw new ImgError(`${filename}: Image creation needs a size parameter`);
  return size;
}

async function openBelow(filename: string, path: string, format: string | undefined): Promise<BlockNode> {
  try {
    return await openImage(path, { readOnly: true, ...(format === undefined ? {} : { format }) });
  } catch (error) {
    if (!(error instanceof BlockError)) throw error;
    const message =
      error.context.field === 'format' ? error.message.replace(/^Could not open '.*': /, '') : error.message;
    throw new ImgError(`${filename}: ${message}\nCould not open backing image.`);
  }
}

/** Disks are whole sectors. */
function inSectors(bytes: number): number {
  return Math.ceil(bytes / 512) * 512;
}

async function createRaw(
  { filename, quiet }: CreateRequest,
  values: Map<string, string>,
  sizeBytes: number,
  out: ToolOutput,
): Promise<void> {
  const preallocation = values.get('preallocation') ?? 'off';
  const shown = preallocation === 'off' ? '' : ` preallocation=${preallocation}`;
  if (quiet !== true) out.line(`Formatting '${filename}', fmt=raw size=${sizeBytes}${shown}`);
  if (!['off', 'falloc', 'full'].includes(preallocation)) {
    throw new ImgError(
      `${filename}: ${preallocation === 'metadata' ? `Unsupported preallocation mode: metadata` : `Parameter 'preallocation' does not accept value '${preallocation}'`}`,
    );
  }
  const file = await createFile(filename);
  try {
    await file.truncate(inSectors(sizeBytes));
    if (preallocation !== 'off') {
      const zeroes = new Uint8Array(1 << 20);
      for (let at = 0; at < sizeBytes; at += zeroes.length) {
        await file.write(at, zeroes.subarray(0, Math.min(zeroes.length, sizeBytes - at)));
      }
    }
  } finally {
    await file.close();
  }
}

async function createQcow(
  { filename, quiet }: CreateRequest,
  values: Map<string, string>,
  sizeBytes: number,
  out: ToolOutput,
): Promise<void> {
  const flag = (name: string): boolean => {
    const value = values.get(name) ?? 'off';
    if (value === 'on' || value === 'yes' || value === 'true' || value === 'y') return true;
    if (value === 'off' || value === 'no' || value === 'false' || value === 'n') return false;
    throw new ImgError(`${filename}: Parameter '${name}' expects 'on' or 'off'`);
  };
  let wrong: string | undefined;
  const choice = <T extends string>(name: string, allowed: readonly T[]): T => {
    const value = values.get(name) ?? allowed[0]!;
    const found = allowed.find((one) => one === value);
    if (found === undefined)
      wrong ??= `Parameter '${name.replace('_', '-')}' does not accept value '${value}'`;
    return found ?? allowed[0]!;
  };
  const compat = values.get('compat');
  const version = compat === '0.10' || compat === 'v2' ? 2 : 3;
  const extendedL2 = flag('extended_l2');
  const size = values.get('cluster_size');
  const clusterSize = size === undefined ? 65_536 : (sizeOf(size) ?? 0);
  const dataFile = values.get('data_file');
  const options: CreateQcow2Options = {
    sizeBytes: inSectors(sizeBytes),
    clusterSize,
    version,
    refcountBits: Number(values.get('refcount_bits') ?? 16),
    extendedL2,
    lazyRefcounts: flag('lazy_refcounts'),
    compressionType: choice('compression_type', ['zlib', 'zstd']),
    preallocation: choice('preallocation', ['off', 'metadata', 'falloc', 'full']),
    ...(dataFile === undefined ? {} : { dataFile }),
    dataFileRaw: flag('data_file_raw'),
    ...backingOf(values),
  };
  if (quiet !== true) out.line(formattingLine(filename, options, values, sizeBytes));
  if (wrong !== undefined) throw new ImgError(`${filename}: ${wrong}`);
  if (compat !== undefined && !['0.10', 'v2', '1.1', 'v3'].includes(compat)) {
    throw new ImgError(`${filename}: Parameter 'version' does not accept value '${compat}'`);
  }
  await createQcow2(filename, options);
}

function backingOf(values: Map<string, string>): Pick<CreateQcow2Options, 'backingFile' | 'backingFormat'> {
  const file = values.get('backing_file');
  const format = values.get('backing_fmt');
  if (file === undefined || file === '') return {};
  return { backingFile: file, ...(format === undefined ? {} : { backingFormat: format }) };
}

function formattingLine(
  filename: string,
  options: CreateQcow2Options,
  values: Map<string, string>,
  size: number,
): string {
  const words = [
    `Formatting '${filename}', fmt=qcow2 cluster_size=${options.clusterSize}`,
    `extended_l2=${options.extendedL2 ? 'on' : 'off'}`,
  ];
  const put = (name: string): void => {
    const value = values.get(name);
    if (value !== undefined) words.push(`${name}=${value}`);
  };
  put('preallocation');
  words.push(`compression_type=${values.get('compression_type') ?? 'zlib'}`, `size=${size}`);
  for (const name of ['backing_file', 'backing_fmt', 'compat', 'data_file', 'data_file_raw']) put(name);
  words.push(
    `lazy_refcounts=${options.lazyRefcounts ? 'on' : 'off'}`,
    `refcount_bits=${options.refcountBits}`,
  );
  return words.join(' ');
}
