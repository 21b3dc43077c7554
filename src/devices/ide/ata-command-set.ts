/** Which ATA commands exist, for whom: the table of QEMU 7.2 hw/ide/core.c, without CompactFlash. */
import * as ata from './constants.ts';

/** Who has a command, and whether it sets DSC when it ends well. */
export const DISK = 1;
export const CD = 2;
export const SEEKS = 4;
/** Flags by command code; 0 for a command that there is not. */
export const COMMANDS: Uint8Array = new Uint8Array(256);

function declare(flags: number, ...codes: number[]): void {
  for (const code of codes) COMMANDS[code] = flags;
}

declare(DISK, ata.CMD_DATA_SET_MANAGEMENT, ata.CMD_READ_SECTORS_NO_RETRY, ata.CMD_READ_SECTORS_EXT);
declare(DISK, ata.CMD_READ_DMA_EXT, ata.CMD_READ_MULTIPLE_EXT, ata.CMD_WRITE_SECTORS, ata.CMD_WRITE_VERIFY);
declare(DISK, ata.CMD_WRITE_SECTORS_NO_RETRY, ata.CMD_WRITE_SECTORS_EXT, ata.CMD_WRITE_DMA_EXT);
declare(DISK, ata.CMD_WRITE_MULTIPLE_EXT, ata.CMD_READ_MULTIPLE, ata.CMD_WRITE_MULTIPLE, ata.CMD_READ_DMA);
declare(DISK, ata.CMD_READ_DMA_NO_RETRY, ata.CMD_WRITE_DMA, ata.CMD_WRITE_DMA_NO_RETRY);
declare(
  DISK,
  ata.CMD_STANDBY_IMMEDIATE_OLD,
  ata.CMD_IDLE_IMMEDIATE_OLD,
  ata.CMD_STANDBY_OLD,
  ata.CMD_IDLE_OLD,
);
declare(DISK, ata.CMD_SLEEP_OLD, ata.CMD_STANDBY_IMMEDIATE, ata.CMD_IDLE_IMMEDIATE, ata.CMD_STANDBY);
declare(DISK, ata.CMD_IDLE, ata.CMD_SLEEP, ata.CMD_FLUSH_CACHE_EXT);
declare(DISK | SEEKS, ata.CMD_RECALIBRATE, ata.CMD_READ_NATIVE_MAX_EXT, ata.CMD_READ_VERIFY, ata.CMD_SEEK);
declare(DISK | SEEKS, ata.CMD_READ_VERIFY_NO_RETRY, ata.CMD_READ_VERIFY_EXT, ata.CMD_INITIALIZE_PARAMETERS);
declare(DISK | SEEKS, ata.CMD_CHECK_POWER_OLD, ata.CMD_CHECK_POWER, ata.CMD_SMART, ata.CMD_SET_MULTIPLE);
declare(DISK | SEEKS, ata.CMD_SECURITY_FREEZE_LOCK, ata.CMD_READ_NATIVE_MAX);
declare(CD, ata.CMD_DEVICE_RESET, ata.CMD_PACKET, ata.CMD_IDENTIFY_PACKET);
declare(DISK | CD, ata.CMD_READ_SECTORS, ata.CMD_EXECUTE_DIAGNOSTIC, ata.CMD_FLUSH_CACHE, ata.CMD_IDENTIFY);
declare(DISK | CD | SEEKS, ata.CMD_SET_FEATURES);
