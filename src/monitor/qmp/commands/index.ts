/** All QMP commands. */
import type { QmpCommand } from '../command.ts';
import { ABSENT } from './absent.ts';
import { BLOCK } from './block.ts';
import { BLOCK_JOBS } from './block-jobs.ts';
import { CHARACTERS } from './characters.ts';
import { INPUT } from './input.ts';
import { JOBS } from './jobs.ts';
import { MACHINE } from './machine.ts';
import { OBJECTS } from './objects.ts';
import { OBSERVE } from './observe.ts';
import { QUERIES } from './queries.ts';

export const QMP_COMMANDS: readonly QmpCommand[] = [
  ...MACHINE,
  ...QUERIES,
  ...BLOCK,
  ...BLOCK_JOBS,
  ...INPUT,
  ...JOBS,
  ...CHARACTERS,
  ...OBSERVE,
  ...OBJECTS,
  ...ABSENT,
];
