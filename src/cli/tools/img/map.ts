/** `img map`: which range of the disk lies where, through the backing chain. */
import { type ChainExtent, chainExtents } from '../../../block/extents.ts';
import type { ToolOutput } from '../tool.ts';
import { withImageOpts } from './image-opts.ts';
import { ImgError, openFor, outputOption, parseImgArgs, sizeOption, usage } from './img-args.ts';

export async function map(args: readonly string[], out: ToolOutput): Promise<number> {
  const parsed = withImageOpts(
    parseImgArgs(args, 'f:s:l:hU', ['image-opts', 'output=', 'start-offset:s=', 'max-length:l=']),
  );
  const output = outputOption(parsed);
  const [filename, ...more] = parsed.names;
  if (filename === undefined || more.length > 0) usage('Expecting one image file name');
  const start = sizeOption(parsed, 's', 'start offset') ?? 0;
  const wanted = sizeOption(parsed, 'l', 'max length');
  const node = await openFor(out, filename, {
    readOnly: true,
    data: false,
    forceShare: parsed.has('U'),
    ...(parsed.has('f') ? { format: parsed.options.get('f')! } : {}),
  });
  try {
    const length = Math.max(0, Math.min(wanted ?? node.sizeBytes, node.sizeBytes - start));
    if (output === 'human') out.line(columns('Offset', 'Length', 'Mapped to', 'File'));
    const lines = new JsonLines(out);
    let last: ChainExtent | undefined;
    const put = output === 'human' ? (e: ChainExtent) => human(e, out) : (e: ChainExtent) => lines.put(e);
    for await (const extent of length === 0 ? [] : chainExtents(node, start, length)) {
      const joined = last === undefined ? undefined : join(last, extent);
      if (last !== undefined && joined === undefined) put(last);
      last = joined ?? extent;
    }
    if (last !== undefined) put(last);
    if (output === 'json') lines.end();
    return 0;
  } finally {
    await node.close();
  }
}

/** Neighbours that say the same, as one. */
function join(a: ChainExtent, b: ChainExtent): ChainExtent | undefined {
  const same = a.depth === b.depth && a.zero === b.zero && a.present === b.present && a.file === b.file;
  if (!same || (a.host === undefined) !== (b.host === undefined)) return undefined;
  if (a.host !== undefined && a.host + a.bytes !== b.host) return undefined;
  return { ...a, bytes: a.bytes + b.bytes };
}

function human(extent: ChainExtent, out: ToolOutput): void {
  if (extent.zero) return;
  if (extent.host === undefined) {
    throw new ImgError('File contains external, encrypted or compressed clusters.');
  }
  const hex = (value: number): string => (value === 0 ? '0' : `0x${value.toString(16)}`);
  out.line(columns(hex(extent.offset), hex(extent.bytes), hex(extent.host), extent.file));
}

function columns(a: string, b: string, c: string, d: string): string {
  return a.padEnd(16) + b.padEnd(16) + c.padEnd(16) + d;
}

/** A line an extent, as QEMU prints it. */
class JsonLines {
  readonly #out: ToolOutput;
  #line = '[';

  constructor(out: ToolOutput) {
    this.#out = out;
  }

  put({ bytes, depth, host, offset, present, zero }: ChainExtent): void {
    if (this.#line !== '[') this.#out.line(`${this.#line},`);
    const place = host === undefined ? '' : `, "offset": ${host}`;
    const first = this.#line === '[' ? '[' : '';
    this.#line =
      `${first}{ "start": ${offset}, "length": ${bytes}, "depth": ${depth}, "present": ${present}, ` +
      `"zero": ${zero}, "data": ${!zero}${place}}`;
  }

  end(): void {
    this.#out.line(`${this.#line}]`);
  }
}
