/** `img resize`: another size of the disk; `--shrink` for a smaller one. */
import { BlockError } from '../../../block/errors.ts';
import { truncateRaw } from '../../../block/raw/truncate.ts';
import { Qcow2 } from '../../../block/qcow2/qcow2.ts';
import { preallocateFrom } from '../../../block/qcow2/preallocate.ts';
import type { ToolOutput } from '../tool.ts';
import { withImageOpts } from './image-opts.ts';
import { ImgError, openFor, parseImgArgs, sizeOf, usage } from './img-args.ts';

export async function resize(args: readonly string[], out: ToolOutput): Promise<number> {
  if (args.length < 2) usage('Not enough arguments');
  // A size of the form -5M is no option.
  const minus = args.findIndex((word) => /^-[0-9]/.test(word));
  const size = minus >= 0 ? args[minus]! : args.at(-1);
  const rest = minus >= 0 ? args.filter((_word, i) => i !== minus) : args.slice(0, -1);
  const parsed = withImageOpts(parseImgArgs(rest, 'f:hq', ['image-opts', 'preallocation=', 'shrink']));
  const [filename, ...more] = parsed.names;
  if (size === undefined || filename === undefined) usage('Expecting image file name and size');
  if (more.length > 0) usage('Expecting image file name and size');
  const sign = /^[+-]/.exec(size)?.[0];
  const amount = sizeOf(sign === undefined ? size : size.slice(1));
  if (amount === undefined) {
    throw new ImgError(
      "Parameter 'size' expects a non-negative number below 2^64\n" +
        'Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\nand exabytes, respectively.',
    );
  }
  const mode = parsed.options.get('preallocation') ?? 'off';
  if (!['off', 'metadata', 'falloc', 'full'].includes(mode)) {
    throw new ImgError(`Invalid preallocation mode '${mode}'`);
  }
  const format = parsed.options.get('f');
  const node = await openFor(out, filename, { readOnly: false, ...(format === undefined ? {} : { format }) });
  try {
    const old = node.sizeBytes;
    const wanted = sign === '+' ? old + amount : sign === '-' ? old - amount : amount;
    if (wanted <= 0) throw new ImgError('New image size must be positive');
    const total = node instanceof Qcow2 ? wanted : Math.ceil(wanted / 512) * 512;
    if (total < old && !parsed.has('shrink')) {
      out.error('Use the --shrink option to perform a shrink operation.');
      out.error(
        "warning: Shrinking an image will delete all data beyond the shrunken image's end. " +
          'Before performing such an operation, make sure there is no important data there.',
      );
      return 1;
    }
    if (mode !== 'off' && total < old)
      throw new ImgError('Preallocation can only be used for growing images');
    if (node instanceof Qcow2) {
      await node.resize(total);
      if (mode !== 'off' && total > old) await preallocateFrom(node, old, mode !== 'metadata');
    } else {
      await node.close();
      await truncateRaw(filename, old, total, mode === 'falloc' || mode === 'full');
    }
    if (!parsed.has('q')) out.line('Image resized.');
    return 0;
  } catch (error) {
    if (error instanceof BlockError) throw new ImgError(error.message);
    throw error;
  } finally {
    await node.close();
  }
}
