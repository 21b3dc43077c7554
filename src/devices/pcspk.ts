/**
 * System control port B (0x61) of the PC/AT: gate of PIT channel 2, speaker data, the memory refresh toggle, and OUT of
 * channel 2. IBM PC/AT Technical Reference, "I/O address map, port 61".
 *
 * Not emulated: parity and channel check enables and flags (read 0), sound itself; what would sound is available from
 * {@link PcSpeaker.toneHz}.
 *
 * The refresh bit toggles with virtual time every 15.085 µs as on hardware, where QEMU 7.2 toggles it at every read:
 * programs of the AT's time measure delays by it.
 */
import { type Clock, mulDiv, NS_PER_SECOND } from '../machine/clock.ts';
import type { Device, Mapping } from '../machine/device.ts';
import { u8, type VmState } from '../migration/vmstate.ts';
import { type I8254, PIT_HZ } from './i8254.ts';

const GATE2 = 0x01;
const SPEAKER_DATA = 0x02;
const REFRESH_TOGGLE = 0x10;
const OUT2 = 0x20;
/** Channel 1 of an AT requests a refresh every 18 input clocks of the PIT. */
const REFRESH_TICKS = 18;
const SPEAKER_CHANNEL = 2;

export interface PcSpeakerState {
  /** Bit 1 of the port. */
  dataOn: number;
  /** REFRESH_TOGGLE or 0, as last read. */
  dummyRefreshClock: number;
}

/** Stream section `pcspk` (QEMU 7.2 hw/audio/pcspk.c). */
export const pcSpeakerVmState: VmState<PcSpeakerState> = {
  name: 'pcspk',
  version: 1,
  minimumVersion: 1,
  fields: { dataOn: u8(), dummyRefreshClock: u8() },
};

export interface PcSpeakerOptions {
  readonly clock: Clock;
  readonly pit: I8254;
}

export class PcSpeaker implements Device<PcSpeakerState> {
  readonly name: string = 'pcspk';
  readonly vmstate: VmState<PcSpeakerState> = pcSpeakerVmState;
  readonly state: PcSpeakerState = { dataOn: 0, dummyRefreshClock: 0 };
  readonly #clock: Clock;
  readonly #pit: I8254;
  readonly #mappings: readonly Mapping[];

  constructor({ clock, pit }: PcSpeakerOptions) {
    this.#clock = clock;
    this.#pit = pit;
    this.#mappings = [
      {
        base: 0x61,
        region: {
          name: 'pcspk',
          size: 1,
          read8: () => this.#read(),
          write8: (_offset, value) => this.#write(value),
        },
      },
    ];
  }

  ports(): readonly Mapping[] {
    return this.#mappings;
  }

  reset(): void {
    this.state.dataOn = 0;
    this.state.dummyRefreshClock = 0;
  }

  /** Frequency that sounds now, 0 for silence. */
  toneHz(): number {
    return this.state.dataOn !== 0 && this.#pit.gate(SPEAKER_CHANNEL) !== 0
      ? this.#pit.toneHz(SPEAKER_CHANNEL)
      : 0;
  }

  #read(): number {
    const ticks = mulDiv(this.#clock.now(), PIT_HZ, NS_PER_SECOND);
    const refresh = Math.floor(ticks / REFRESH_TICKS) % 2 !== 0 ? REFRESH_TOGGLE : 0;
    this.state.dummyRefreshClock = refresh;
    return (
      (this.#pit.gate(SPEAKER_CHANNEL) !== 0 ? GATE2 : 0) |
      (this.state.dataOn !== 0 ? SPEAKER_DATA : 0) |
      refresh |
      (this.#pit.output(SPEAKER_CHANNEL) !== 0 ? OUT2 : 0)
    );
  }

  #write(value: number): void {
    this.state.dataOn = (value & SPEAKER_DATA) !== 0 ? 1 : 0;
    this.#pit.setGate(SPEAKER_CHANNEL, value & GATE2);
  }
}
