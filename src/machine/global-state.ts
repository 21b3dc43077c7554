/** Stream section `globalstate`: the run state that the source was in. Facts: QEMU 7.2 migration/global_state.c. */
import { buffer, u32, type VmState } from '../migration/vmstate.ts';
import type { Device } from './device.ts';
import type { RunState } from './run-state.ts';

export interface GlobalStateRecord {
  size: number;
  runstate: Uint8Array;
}

const RUNSTATE_BYTES = 100;

const vmstate: VmState<GlobalStateRecord> = {
  name: 'globalstate',
  version: 1,
  minimumVersion: 1,
  fields: { size: u32(), runstate: buffer(RUNSTATE_BYTES) },
};

export class GlobalState implements Device<GlobalStateRecord> {
  readonly name: string = 'globalstate';
  readonly vmstate: VmState<GlobalStateRecord> = vmstate;
  readonly state: GlobalStateRecord = { size: 0, runstate: new Uint8Array(RUNSTATE_BYTES) };
  readonly #current: () => RunState;

  /** `current`: the state that the machine was in before it stopped for the save. */
  constructor(current: () => RunState) {
    this.#current = current;
  }

  reset(): void {}

  beforeSave(): void {
    const text = new TextEncoder().encode(this.#current());
    this.state.runstate.fill(0);
    this.state.runstate.set(text);
    this.state.size = text.length + 1;
  }

  validate(candidate: GlobalStateRecord): string | undefined {
    if (candidate.size <= RUNSTATE_BYTES) return undefined;
    return `size: found ${candidate.size}, expected at most ${RUNSTATE_BYTES}`;
  }
}
