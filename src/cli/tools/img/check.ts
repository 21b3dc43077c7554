/** `img check`: an independent count of all references; `-r` sets right what is wrong. Exit codes are qemu-img's. */
import { openImage } from '../../../block/open.ts';
import { checkImage, type CheckResult } from '../../../block/qcow2/check.ts';
import { INCOMPAT_CORRUPT, INCOMPAT_DIRTY } from '../../../block/qcow2/header.ts';
import { Qcow2 } from '../../../block/qcow2/qcow2.ts';
import type { ToolOutput } from '../tool.ts';
import { withImageOpts } from './image-opts.ts';
import {
  cacheOption,
  ImgError,
  openFor,
  type Output,
  outputOption,
  type Parsed,
  parseImgArgs,
  usage,
} from './img-args.ts';

/** Exit codes of `qemu-img check`. */
const CORRUPT = 2;
const LEAKS = 3;
const NO_CHECK = 63;

export async function check(args: readonly string[], out: ToolOutput): Promise<number> {
  const parsed = withImageOpts(parseImgArgs(args, 'hf:r:T:qU', ['image-opts', 'output=']));
  const output = outputOption(parsed);
  const [filename, ...more] = parsed.names;
  if (filename === undefined || more.length > 0) usage('Expecting one image file name');
  const mode = parsed.options.get('r');
  if (mode !== undefined && mode !== 'all' && mode !== 'leaks') {
    usage(`Unknown option value for -r (expecting 'leaks' or 'all'): ${mode}`);
  }
  const options = {
    data: false,
    forceShare: parsed.has('U'),
    ...cacheOption(parsed, 'T'),
    ...(parsed.has('f') ? { format: parsed.options.get('f')! } : {}),
  };
  if (mode !== undefined && parsed.has('U')) {
    throw new ImgError(`Could not open '${filename}': force-share=on can only be used with read-only images`);
  }
  const node = await openFor(out, filename, { ...options, readOnly: true });
  let first: CheckResult;
  let isMarked = false;
  try {
    if (!(node instanceof Qcow2)) throw new ImgError('This image format does not support checks', NO_CHECK);
    first = await checkImage(node.image);
    isMarked = (node.image.header.incompatible & (INCOMPAT_DIRTY | INCOMPAT_CORRUPT)) !== 0;
  } finally {
    await node.close();
  }
  for (const line of first.messages) out.error(line);
  // A repair takes away the marks of an image that is found whole, too.
  if (mode === undefined || (first.corruptions + first.leaks === 0 && !isMarked)) {
    report(filename, first, { leaks: 0, corruptions: 0 }, parsed, output, out);
    return codeOf(first);
  }
  const writable = (await openImage(filename, {
    ...options,
    repair: mode === 'all' ? true : 'leaks',
  })) as Qcow2;
  const second = await checkImage(writable.image).finally(() => writable.close());
  const fixed = {
    leaks: Math.max(0, first.leaks - second.leaks),
    corruptions: Math.max(0, first.corruptions - second.corruptions),
  };
  if (output === 'human' && fixed.leaks + fixed.corruptions > 0) {
    out.line('The following inconsistencies were found and repaired:\n');
    out.line(`    ${fixed.leaks} leaked clusters\n    ${fixed.corruptions} corruptions\n`);
    out.line('Double checking the fixed image now...');
  }
  report(filename, second, fixed, parsed, output, out);
  return codeOf(second);
}

/** As C rounds: a half to the even digit. */
function twoDigits(value: number): string {
  const scaled = value * 100;
  const isHalf = scaled - Math.floor(scaled) === 0.5;
  return ((isHalf ? 2 * Math.round(scaled / 2) : Math.round(scaled)) / 100).toFixed(2);
}

function codeOf({ corruptions, leaks }: CheckResult): number {
  return corruptions > 0 ? CORRUPT : leaks > 0 ? LEAKS : 0;
}

function report(
  filename: string,
  result: CheckResult,
  fixed: { readonly leaks: number; readonly corruptions: number },
  parsed: Parsed,
  output: Output,
  out: ToolOutput,
): void {
  const { corruptions, leaks } = result;
  if (output === 'json') {
    const json = {
      'image-end-offset': result.imageEnd,
      'total-clusters': result.totalClusters,
      'check-errors': 0,
      ...(corruptions > 0 ? { corruptions } : {}),
      ...(leaks > 0 ? { leaks } : {}),
      ...(fixed.corruptions > 0 ? { 'corruptions-fixed': fixed.corruptions } : {}),
      ...(fixed.leaks > 0 ? { 'leaks-fixed': fixed.leaks } : {}),
      ...(result.allocatedClusters > 0 ? { 'allocated-clusters': result.allocatedClusters } : {}),
      ...(result.fragmentedClusters > 0 ? { 'fragmented-clusters': result.fragmentedClusters } : {}),
      ...(result.compressedClusters > 0 ? { 'compressed-clusters': result.compressedClusters } : {}),
      filename,
      format: 'qcow2',
    };
    out.line(JSON.stringify(json, undefined, 4));
    return;
  }
  if (parsed.has('q')) return;
  if (corruptions + leaks === 0) out.line('No errors were found on the image.');
  if (corruptions > 0) {
    out.line(`\n${corruptions} errors were found on the image.`);
    out.line('Data may be corrupted, or further writes to the image may corrupt it.');
  }
  if (leaks > 0) {
    out.line(`\n${leaks} leaked clusters were found on the image.`);
    out.line('This means waste of disk space, but no harm to data.');
  }
  const { allocatedClusters, compressedClusters, fragmentedClusters, totalClusters } = result;
  if (allocatedClusters > 0 && totalClusters > 0) {
    const percent = (part: number, of: number): string => twoDigits((part * 100) / of);
    out.line(
      `${allocatedClusters}/${totalClusters} = ${percent(allocatedClusters, totalClusters)}% allocated, ` +
        `${percent(fragmentedClusters, allocatedClusters)}% fragmented, ` +
        `${percent(compressedClusters, allocatedClusters)}% compressed clusters`,
    );
  }
  out.line(`Image end offset: ${result.imageEnd}`);
}
