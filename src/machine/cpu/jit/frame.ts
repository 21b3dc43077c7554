/** What a unit's function is made of: its locals, the kinds of lazy flags, and how it is left. */
import type { Node } from '../generate/node.ts';
import type { UnitBlock } from './unit.ts';

/** Locals of a unit's function; parameter 0 is the record it was entered at. */
export const LOCAL_RECORD = 0;
export const FIRST = 1;
/** 1–8: EAX … EDI. */
export const LOCAL_FR = FIRST + 8;
export const LOCAL_FC = FIRST + 9;
/** CF is CA < CB, whatever the kind. */
export const LOCAL_CA = FIRST + 10;
export const LOCAL_CB = FIRST + 11;
/** Kind of the lazy FC; KIND_VALID: FC is right. */
export const LOCAL_KIND = FIRST + 12;
/** Instructions left. */
export const LOCAL_COUNT = FIRST + 13;
/** Record to leave with; number of the block to go on with. */
export const LOCAL_NEXT = FIRST + 14;
export const LOCAL_BLOCK = FIRST + 15;
/** x87: TOP at the block's first x87 instruction, and the tags. */
export const LOCAL_X87_TOP = FIRST + 16;
export const LOCAL_X87_TAGS = FIRST + 17;
export const FIXED_LOCALS = 18;

export const local = (n: number): Node => ({ op: 'local', type: 'i32', n });

/** How a unit's function is left and how its blocks hang together; given by the compiler. */
export interface UnitFrame {
  /** Goes to the block at a position, or leaves to its record. `kind`: what FC is there, -1 if unknown. */
  edge(position: number, kind: number): void;
  /** Leaves to what follows a page's last instruction, `k` bytes into the next page. */
  endOfPage(k: number): void;
  /** Position of what lies `offset` bytes from the beginning of a page, if a block of this unit begins there. */
  blockAt(page: number, offset: number): number | undefined;
  /** The kind that all ways to a block come with, or -1. */
  arriving(block: UnitBlock): number;
  /** Leaves with LOCAL_NEXT as the record to go on with. */
  exit(): void;
  /** Leaves with LOCAL_NEXT as the record that the interpreter must run. */
  bail(): void;
  /** Goes to LOCAL_BLOCK. */
  dispatch(): void;
  /** Number of the function that computes FC from kind, CA, CB, FR and FC. */
  readonly carryFunction: number;
  /** Number of the first shared x87 function. */
  readonly x87Functions: number;
  /** This unit's handler number. */
  readonly handler: number;
  /** The data TLB of the privilege that the unit runs with. */
  readonly tlb: number;
}
