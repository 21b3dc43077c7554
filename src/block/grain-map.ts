/** A piece of the map over a chain of images: for each grain of the disk, which image has it, and where. */

/** Bytes of disk that one entry stands for. */
export const GRAIN_BYTES = 64 * 1024;
/** Entries of a piece: what one L2 table of 64 KiB clusters maps. */
export const MAP_GRAINS = 8192;

export const UNKNOWN = 0;
export const ZEROES = 1;
/** The first image of the chain; then those below it. */
export const FIRST_LAYER = 2;

export interface GrainMap {
  readonly where: Uint16Array;
  /** Where the grain lies in that image's file; -1: only the image can read it. */
  readonly host: Float64Array;
}

export function newGrainMap(): GrainMap {
  return { where: new Uint16Array(MAP_GRAINS), host: new Float64Array(MAP_GRAINS).fill(-1) };
}
