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
      '[-q] [-f FMT] [-b BACKING_FILE] [-F BACKING_FMT] [-u] [-o OPTIONS] FILENAME [SIZE]',
      'a new image; -o help lists options',
      create,
    ),
    info: command('[-f FMT] [--output=human|json] [--backing-chain] [-U] FILENAME', 'what an image is', info),
    check: command(
      '[-q] [-f FMT] [--output=human|json] [-r leaks|all] [-T CACHE] [-U] FILENAME',
      'counts all references again; -r sets right what is wrong',
      check,
    ),
    map: command(
      '[-f FMT] [--start-offset=OFFSET] [--max-length=LEN] [--output=human|json] [-U] FILENAME',
      'which range of the disk lies where',
      map,
    ),
    convert: command(
      '[-U] [-c] [-p] [-q] [-n] [--target-is-zero] [-f FMT] [-t CACHE] [-T CACHE] [-O FMT]\n' +
        '      [-B BACKING_FILE -F BACKING_FMT] [-o OPTIONS] [-l SNAPSHOT] [-S SPARSE_SIZE] FILENAME [FILENAME2 …] OUTPUT',
      'copies images into a new one',
      convert,
    ),
    snapshot: command(
      '[-U] [-q] [-l | -a SNAPSHOT | -c SNAPSHOT | -d SNAPSHOT] FILENAME',
      'lists, applies, makes, deletes snapshots of the disk',
      snapshot,
    ),
    commit: command(
      '[-q] [-f FMT] [-t CACHE] [-b BASE] [-d] [-p] FILENAME',
      'puts what an overlay holds into its backing file',
      commit,
    ),
    rebase: command(
      '[-q] [-f FMT] [-t CACHE] [-p] [-u] -b BACKING_FILE [-F BACKING_FMT] FILENAME',
      'another backing file',
      rebase,
    ),
    resize: command(
      '[-f FMT] [--preallocation=PREALLOC] [-q] [--shrink] FILENAME [+|-]SIZE',
      'another size of the disk',
      resize,
    ),
    stream: command(
      '[-q] [-f FMT] [-t CACHE] [-b BASE] [-p] FILENAME',
      'takes in what the backing chain holds, down to BASE',
      stream,
    ),
    compare: command(
      '[-f FMT] [-F FMT] [-T CACHE] [-p] [-q] [-s] [-U] FILENAME1 FILENAME2',
      'whether two images hold the same; exit code 0 yes, 1 no, 2 an error',
      compare,
    ),
    compress: SNAPSHOT_TOOL.commands['compress']!,
  },
};
