/** All QMP commands. */
import type { QmpCommand } from '../command.ts';
import { BLOCK } from './block.ts';
import { INPUT } from './input.ts';
import { JOBS } from './jobs.ts';
import { MACHINE } from './machine.ts';
import { QUERIES } from './queries.ts';

export const QMP_COMMANDS: readonly QmpCommand[] = [...MACHINE, ...QUERIES, ...BLOCK, ...INPUT, ...JOBS];
