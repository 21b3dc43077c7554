/** `img info`: what an image is, without reading its data. */
import { Qcow2 } from '../../../block/qcow2/qcow2.ts';
import { imageLines } from '../../../monitor/image-text.ts';
import { imageFacts, type Json } from '../../image-facts.ts';
import type { ToolOutput } from '../tool.ts';
import { withImageOpts } from './image-opts.ts';
import { openFor, outputOption, parseImgArgs, usage } from './img-args.ts';

export async function info(args: readonly string[], out: ToolOutput): Promise<number> {
  const parsed = withImageOpts(parseImgArgs(args, 'hf:U', ['image-opts', 'output=', 'backing-chain']));
  const output = outputOption(parsed);
  const [filename, ...more] = parsed.names;
  if (filename === undefined || more.length > 0) usage('Expecting one image file name');
  const all: Json[] = [];
  // Nothing is printed of a chain that is not whole.
  const lines: string[] = [];
  const seen = new Set<string>();
  let next: string | undefined = filename;
  let format = parsed.options.get('f');
  while (next !== undefined) {
    if (seen.has(next)) usage(`Backing file '${next}' creates an infinite loop.`);
    seen.add(next);
    const node = await openFor(out, next, {
      readOnly: true,
      backing: false,
      data: false,
      forceShare: parsed.has('U'),
      ...(format === undefined ? {} : { format }),
    });
    try {
      const facts = await imageFacts(node, next);
      all.push(facts);
      next = parsed.has('backing-chain') ? (facts['full-backing-filename'] as string | undefined) : undefined;
      format = facts['backing-filename-format'] as string | undefined;
      if (output === 'human') {
        if (all.length > 1) lines.push('');
        const snapshots = node instanceof Qcow2 ? node.listSnapshots() : [];
        lines.push(...imageLines(facts, snapshots));
      }
    } finally {
      await node.close();
    }
  }
  for (const line of lines) out.line(line);
  if (output === 'json') out.line(JSON.stringify(parsed.has('backing-chain') ? all : all[0], undefined, 4));
  return 0;
}
