/** `ambervm img`: qemu-img's commands, options, output and exit codes, where there is no qemu-img; and what it cannot. */
import { BlockError } from '../../../block/errors.ts';
import { SNAPSHOT_TOOL } from '../snapshot.ts';
import type { Tool, ToolCommand, ToolOutput } from '../tool.ts';
import { check } from './check.ts';
import { commit } from './commit.ts';
import { compare } from './compare.ts';
import { convert } from './convert.ts';
import { create } from './create.ts';
import { ImgError } from './img-args.ts';
import { info } from './info.ts';
import { map } from './map.ts';
import { rebase } from './rebase.ts';
import { resize } from './resize.ts';
import { snapshot } from './snapshot.ts';
import { stream } from './stream.ts';

function command(usage: string, help: string, run: ToolCommand['run']): ToolCommand {
  return {
    usage,
    help,
    run: async (args: readonly string[], out: ToolOutput): Promise<number> => {
      try {
        return await run(args, out);
      } catch (error) {
        if (error instanceof ImgError) {
          out.error(error.message);
          return error.code;
        }
        if (!(error instanceof BlockError)) throw error;
        out.error(error.message);
        return 1;
      }
    },
  };
}

export const IMG_TOOL: Tool = {
  help: 'disk images',
  commands: {
    create: command(
      '[--object objectdef] [-q] [-f fmt] [-b backing_file [-F backing_fmt]] [-u] [-o options] filename [size]',
      'a new image; -o help lists options',
      create,
    ),
    info: command(
      '[--object objectdef] [--image-opts] [-f fmt] [--output=ofmt] [--backing-chain] [-U] filename',
      'what an image is',
      info,
    ),
    check: command(
      '[--object objectdef] [--image-opts] [-q] [-f fmt] [--output=ofmt] [-r [leaks | all]] [-T src_cache] [-U] filename',
      'counts all references again; -r sets right what is wrong',
      check,
    ),
    map: command(
      '[--object objectdef] [--image-opts] [-f fmt] [--start-offset=offset] [--max-length=len] [--output=ofmt] [-U] filename',
      'which range of the disk lies where',
      map,
    ),
    convert: command(
      '[--object objectdef] [--image-opts] [--target-image-opts] [--target-is-zero] [--bitmaps] [-U] [-C] [-c] [-p] [-q] ' +
        '[-n] [-f fmt] [-t cache] [-T src_cache] [-O output_fmt] [-B backing_file [-F backing_fmt]] [-o options] ' +
        '[-l snapshot_param] [-S sparse_size] [-r rate_limit] [-m num_coroutines] [-W] [--salvage] ' +
        'filename [filename2 [...]] output_filename',
      'copies images into a new one',
      convert,
    ),
    snapshot: command(
      '[--object objectdef] [--image-opts] [-U] [-q] [-l | -a snapshot | -c snapshot | -d snapshot] filename',
      'lists, applies, makes, deletes snapshots of the disk',
      snapshot,
    ),
    commit: command(
      '[--object objectdef] [--image-opts] [-q] [-f fmt] [-t cache] [-b base] [-r rate_limit] [-d] [-p] filename',
      'puts what an overlay holds into its backing file',
      commit,
    ),
    rebase: command(
      '[--object objectdef] [--image-opts] [-U] [-q] [-f fmt] [-t cache] [-T src_cache] [-p] [-u] -b backing_file ' +
        '[-F backing_fmt] filename',
      'another backing file',
      rebase,
    ),
    resize: command(
      '[--object objectdef] [--image-opts] [-f fmt] [--preallocation=prealloc] [-q] [--shrink] filename [+ | -]size',
      'another size of the disk',
      resize,
    ),
    stream: command(
      '[--image-opts] [-q] [-f fmt] [-t cache] [-b base] [-p] filename',
      'takes in what the backing chain holds, down to the base',
      stream,
    ),
    compare: command(
      '[--object objectdef] [--image-opts] [-f fmt] [-F fmt] [-T src_cache] [-p] [-q] [-s] [-U] filename1 filename2',
      'whether two images hold the same; exit code 0 yes, 1 no, 2 an error',
      compare,
    ),
    compress: SNAPSHOT_TOOL.commands['compress']!,
  },
};
