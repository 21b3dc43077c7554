/** ATA commands that set modes or tell of them (ATA/ATAPI-6 chapter 8): features, translation, multiple, power. */
import * as ata from './constants.ts';
import type { DriveCore } from './drive-core.ts';
import { fillIdentifyDmaMode, fillIdentifyWriteCache } from './identify.ts';

/** SET FEATURES subcommands (ATA/ATAPI-6 table 44). */
const FEATURE_WRITE_CACHE_ON = 0x02;
const FEATURE_TRANSFER_MODE = 0x03;
const FEATURE_WRITE_CACHE_OFF = 0x82;
const FEATURE_REVERT_ON = 0xcc;
const FEATURE_REVERT_OFF = 0x66;
/** Look-ahead, power management, acoustics and the like: accepted, without effect. */
const FEATURES_IGNORED: readonly number[] = [0xaa, 0x55, 0x05, 0x85, 0x69, 0x67, 0x96, 0x9a, 0x42, 0xc2];

/** `done`: the command is over, perhaps by ABRT. `flush`: it is over when the disk is flushed. */
export type SettingResult = 'done' | 'flush';

export class AtaSettings {
  /** A soft reset brings back the power-on CHS translation (SET FEATURES 0xcc). */
  resetReverts = false;
  readonly #core: DriveCore;

  constructor(core: DriveCore) {
    this.#core = core;
  }

  /** Commands that set or tell something, and those that do nothing here (seeks, power management). */
  execute(command: number): SettingResult {
    const { state } = this.#core;
    switch (command) {
      case ata.CMD_SET_MULTIPLE:
        return this.#setMultiple();
      case ata.CMD_SET_FEATURES:
        return this.#setFeatures();
      case ata.CMD_INITIALIZE_PARAMETERS:
        return this.#initializeParameters();
      case ata.CMD_CHECK_POWER:
      case ata.CMD_CHECK_POWER_OLD:
        state.nsector = 0xff;
        return 'done';
      case ata.CMD_SECURITY_FREEZE_LOCK:
        state.nsector = 0;
        return 'done';
      default:
        return 'done';
    }
  }

  #setMultiple(): SettingResult {
    const { state } = this.#core;
    const count = state.nsector & 0xff;
    if (count > ata.MAX_MULTIPLE || (count & (count - 1)) !== 0) return this.#refuse();
    state.multSectors = count;
    return 'done';
  }

  #initializeParameters(): SettingResult {
    const core = this.#core;
    if (!core.io) return this.#refuse();
    core.heads = (core.state.select & ata.DEVICE_HEAD) + 1;
    core.sectors = core.state.nsector & 0xff;
    return 'done';
  }

  #setFeatures(): SettingResult {
    const { state, io } = this.#core;
    if (!io) return this.#refuse();
    const { feature } = state;
    if (feature === FEATURE_WRITE_CACHE_ON || feature === FEATURE_WRITE_CACHE_OFF) {
      io.writeCache = feature === FEATURE_WRITE_CACHE_ON;
      fillIdentifyWriteCache(state.identifyData, io.writeCache);
      return io.writeCache ? 'done' : 'flush';
    }
    if (feature === FEATURE_TRANSFER_MODE) return this.#setTransferMode();
    if (feature === FEATURE_REVERT_ON || feature === FEATURE_REVERT_OFF) {
      this.resetReverts = feature === FEATURE_REVERT_ON;
      return 'done';
    }
    return FEATURES_IGNORED.includes(feature) ? 'done' : this.#refuse();
  }

  /** Remembers the DMA mode in the IDENTIFY data; all modes are equally fast here. */
  #setTransferMode(): SettingResult {
    const { identifyData, nsector } = this.#core.state;
    const mode = 1 << ((nsector & 7) + 8);
    const family = nsector >>> 3;
    if (family > 2 && family !== 4 && family !== 8) return this.#refuse();
    fillIdentifyDmaMode(
      identifyData,
      family === 2 ? mode : 0,
      family === 4 ? mode : 0,
      family === 8 ? mode : 0,
    );
    return 'done';
  }

  #refuse(): SettingResult {
    this.#core.abort();
    return 'done';
  }
}
