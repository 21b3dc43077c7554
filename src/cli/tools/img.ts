/** `ambervm img`: what qemu-img would say, where there is no qemu-img; and what it cannot. */
import { checkImage } from '../../block/qcow2/check.ts';
import { Qcow2 } from '../../block/qcow2/qcow2.ts';
import { BlockError } from '../../block/errors.ts';
import { SNAPSHOT_TOOL } from './snapshot.ts';
import { parseToolArgs, type Tool, type ToolOutput, withImage } from './tool.ts';

/** Exit codes of `qemu-img check`. */
const CORRUPT = 2;
const LEAKS = 3;

async function check(args: readonly string[], out: ToolOutput): Promise<number> {
  const [image] = parseToolArgs(args, ['IMAGE']).positionals as [string];
  return withImage(image, true, async (node) => {
    if (!(node instanceof Qcow2)) {
      throw new BlockError('unsupported', `'${image}' is no qcow2 image`, {
        file: image,
        found: node.format,
      });
    }
    const { corruptions, leaks, messages } = await checkImage(node.image);
    for (const message of messages) out.line(message);
    if (corruptions === 0 && leaks === 0) out.line('No errors were found on the image.');
    else out.line(`${corruptions} errors, ${leaks} leaked clusters`);
    return corruptions > 0 ? CORRUPT : leaks > 0 ? LEAKS : 0;
  });
}

export const IMG_TOOL: Tool = {
  help: 'disk images',
  commands: {
    check: {
      usage: 'IMAGE',
      help: 'counts all references again; exit code as of qemu-img check',
      run: check,
    },
    compress: SNAPSHOT_TOOL.commands['compress']!,
  },
};
