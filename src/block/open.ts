/**
 * Opening an image by name: format given or probed, backing chain, data file, `-snapshot`. Names inside an image are plain
 * paths: `json:` and protocols are refused there and here (CVE-2024-4467 and its kin).
 */
import { dirname, isAbsolute, join } from 'node:path';
import { realpath } from 'node:fs/promises';
import type { BlockNode } from './block-node.ts';
import { mapChain } from './chain-map.ts';
import { BlockError } from './errors.ts';
import { type BlockFile, type CacheMode, LockQueue, openFile } from './file.ts';
import { copyOnWrite } from './filters/copy-on-write.ts';
import { Lru } from './lru.ts';
import { probe, PROBE_BYTES } from './probe.ts';
import { DEFAULT_CACHE_BYTES } from './qcow2/limits.ts';
import { openQcow2 } from './qcow2/qcow2.ts';
import { openRaw } from './raw/raw.ts';

/** Images in a backing chain, the first one included. */
export const MAX_CHAIN_DEPTH = 512;

/** How to open an image. */
export interface OpenImageOptions {
  /** `raw` or `qcow2`; without it the first sector tells, and a raw disk's first sector is guarded. */
  readonly format?: string;
  /** Nothing is written; default false. */
  readonly readOnly?: boolean;
  /** Writes go to memory and are lost on close (`-snapshot`). */
  readonly snapshot?: boolean;
  /** False: the image is opened alone, holes read as zero. */
  readonly backing?: boolean;
  /** In place of what the header names; relative to the current folder. */
  readonly backingFile?: string;
  /** Format of `backingFile`. */
  readonly backingFormat?: string;
  /** In place of the external data file that the header names; relative to the current folder. */
  readonly dataFile?: string;
  /** False: an external data file is not opened; its image can be looked at, not read. */
  readonly data?: boolean;
  /** Bytes of metadata cache for the whole chain; default 32 MiB. */
  readonly cacheBytes?: number;
  /** How the host's page cache is used, for all images of the chain. Default writeback. */
  readonly cache?: CacheMode;
  /**
   * Free leaked clusters and set counts and flags right, as `qemu-img check -r all`. False: not even where an image was
   * not closed. `leaks`: only counts that are too high.
   */
  readonly repair?: boolean | 'leaks';
  /** Default true. */
  readonly lock?: boolean;
  /** Let others write meanwhile (`force-share=on`); only with readOnly. */
  readonly forceShare?: boolean;
  /** In place of the host's files, for tests. */
  readonly openFile?: typeof openFile;
  /** Told what the user should know, for example that a format was guessed. */
  readonly warn?: (message: string) => void;
}

/** What all images of a chain share. */
interface ChainOptions extends OpenImageOptions {
  readonly lru: Lru;
  /** Locks of the images below the first one. */
  readonly lockQueue: LockQueue;
}

/** Opens an image with its backing chain. Rejects with BlockError: what was found, where, and what was expected. */
export async function openImage(filename: string, options: OpenImageOptions = {}): Promise<BlockNode> {
  const { snapshot = false } = options;
  const readOnly = options.readOnly === true || snapshot;
  const lru = new Lru(options.cacheBytes ?? DEFAULT_CACHE_BYTES);
  const lockQueue = new LockQueue();
  const shared = { ...options, lru, lockQueue };
  const node = await openLayer(plainName(filename), options.format, readOnly, shared, []);
  try {
    await lockQueue.lock();
  } catch (error) {
    await node.close();
    throw error;
  }
  if (!snapshot || options.readOnly === true) return node;
  // The format was found out: what the guest wrote must not be able to change it.
  const again = { ...options, snapshot: false, format: node.format };
  return copyOnWrite(node, {
    reopen: (asReadOnly) => openImage(filename, { ...again, readOnly: asReadOnly }),
  });
}

/** `file:` is taken off; any other protocol is refused by its name. */
export function plainName(filename: string): string {
  const protocol = /^([^/:]+):/.exec(filename)?.[1];
  if (protocol === undefined) return filename;
  if (protocol === 'file') return filename.slice(5);
  const message = protocol === 'json' ? `'json:' names are not supported` : `Unknown protocol '${protocol}'`;
  throw new BlockError('unsupported', `Could not open '${filename}': ${message}`, {
    file: filename,
    field: 'protocol',
    found: protocol,
    expected: 'a plain path',
  });
}

async function openLayer(
  filename: string,
  format: string | undefined,
  readOnly: boolean,
  options: ChainOptions,
  chain: readonly string[],
): Promise<BlockNode> {
  const file = await (options.openFile ?? openFile)(filename, {
    readOnly,
    ...(options.cache === undefined ? {} : { cache: options.cache }),
    ...(options.warn === undefined ? {} : { warn: options.warn }),
    ...(options.lock === undefined ? {} : { lock: options.lock }),
    ...(options.forceShare === undefined ? {} : { forceShare: options.forceShare }),
    ...(chain.length === 0 ? {} : { lockQueue: options.lockQueue }),
  });
  const actual = format ?? (await probeFile(file));
  if (actual === 'raw') {
    if (format === undefined && !readOnly) warnProbed(filename, options);
    return openRaw(file, { probed: format === undefined });
  }
  if (actual !== 'qcow2') {
    await file.close();
    throw new BlockError('unsupported', `Could not open '${filename}': Unknown driver '${actual}'`, {
      file: filename,
      field: 'format',
      found: actual,
      expected: 'raw or qcow2',
    });
  }
  return openQcow2(file, {
    lru: options.lru,
    onlyReads: chain.length > 0,
    ...(options.repair === undefined || readOnly ? {} : { repair: options.repair }),
    openDataFile: (name) => openDataFile(filename, name, readOnly, options, chain),
    openBacking: (name, backingFormat) => openBacking(filename, name, backingFormat, options, chain),
  });
}

async function probeFile(file: BlockFile): Promise<string> {
  try {
    const start = Buffer.alloc(PROBE_BYTES);
    await file.read(0, start);
    return probe(start);
  } catch (error) {
    await file.close();
    throw error;
  }
}

function warnProbed(filename: string, options: OpenImageOptions): void {
  options.warn?.(
    `Image format was not specified for '${filename}' and probing guessed raw.\n` +
      '         Automatically detecting the format is dangerous for raw images, ' +
      'write operations on block 0 will be restricted.\n' +
      "         Specify the 'raw' format explicitly to remove the restrictions.",
  );
}

/** `name` is what the header of `overlay` says, unless the user said better about the first image of the chain. */
async function openBacking(
  overlay: string,
  name: string,
  format: string | undefined,
  options: ChainOptions,
  chain: readonly string[],
): Promise<BlockNode | undefined> {
  if (options.backing === false) return undefined;
  const own = chain.length === 0 ? options.backingFile : undefined;
  const plain = plainName(own ?? name);
  const path = own !== undefined || isAbsolute(plain) ? plain : join(dirname(overlay), plain);
  const above = [...chain, await realName(overlay)];
  const fail = (code: 'limit' | 'corrupt', message: string, found: string | number): never => {
    throw new BlockError(code, `Could not open backing file of '${overlay}': ${message}`, {
      file: overlay,
      section: 'header',
      field: 'backing_file',
      found,
    });
  };
  if (above.includes(await realName(path))) fail('corrupt', `'${path}' is in its own backing chain`, path);
  if (above.length >= MAX_CHAIN_DEPTH) fail('limit', `more than ${MAX_CHAIN_DEPTH} images`, above.length + 1);
  const backingFormat = (own === undefined ? undefined : options.backingFormat) ?? format;
  const backing = await openLayer(path, backingFormat, true, options, above).catch((error: unknown) => {
    if (!(error instanceof BlockError)) throw error;
    const context = { ...error.context, section: 'header', field: 'backing_file' };
    throw new BlockError(error.code, `Could not open backing file: ${error.message}`, context);
  });
  return chain.length === 0 ? mapChain(backing) : backing;
}

/** The external data file of `image`: raw, and a file of its own. */
async function openDataFile(
  image: string,
  name: string | undefined,
  readOnly: boolean,
  options: ChainOptions,
  chain: readonly string[],
): Promise<BlockFile | undefined> {
  if (options.data === false) return undefined;
  const own = chain.length === 0 ? options.dataFile : undefined;
  const fail = (message: string): never => {
    throw new BlockError('invalid-format', `Could not open '${image}': ${message}`, {
      file: image,
      section: 'header',
      field: 'external data file',
      found: own ?? name ?? 'none',
    });
  };
  const given = own ?? name ?? fail("'data-file' is required for this image");
  // Relative to the current folder, not to the image's: so QEMU does.
  const path = plainName(given);
  const real = await realName(path);
  if ([...chain, await realName(image)].includes(real)) fail(`'${path}' is the image itself`);
  return (options.openFile ?? openFile)(path, {
    readOnly,
    ...(options.lock === undefined ? {} : { lock: options.lock }),
    ...(options.forceShare === undefined ? {} : { forceShare: options.forceShare }),
  });
}

async function realName(path: string): Promise<string> {
  try {
    return await realpath(path);
  } catch {
    // It cannot be opened either; that error says more.
    return path;
  }
}
