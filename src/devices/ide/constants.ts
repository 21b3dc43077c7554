/**
 * Names of ATA/ATAPI registers, bits and command codes (ATA/ATAPI-6, T13 1410D; packet commands: MMC-3, SFF-8090).
 */

/** Status register (ATA/ATAPI-6 7.15). */
export const STATUS_ERR = 0x01;
export const STATUS_DRQ = 0x08;
export const STATUS_DSC = 0x10;
export const STATUS_DRDY = 0x40;
export const STATUS_BSY = 0x80;

/** Error register (ATA/ATAPI-6 7.10). */
export const ERROR_ABRT = 0x04;
export const ERROR_MC = 0x20;

/** Device register: the two bits that were always one before ATA/ATAPI-3 are kept set, as drives do. */
export const DEVICE_OBSOLETE_ONES = 0xa0;
export const DEVICE_LBA = 0x40;
export const DEVICE_DEV = 0x10;
export const DEVICE_HEAD = 0x0f;

/** Device Control register (ATA/ATAPI-6 7.8). */
export const CONTROL_NIEN = 0x02;
export const CONTROL_SRST = 0x04;
export const CONTROL_HOB = 0x80;

/** Interrupt Reason, the ATAPI name of the Sector Count register. */
export const REASON_COMMAND = 0x01;
export const REASON_TO_HOST = 0x02;

export const SECTOR_BYTES = 512;
export const CD_SECTOR_BYTES = 2048;
export const CD_RAW_SECTOR_BYTES = 2352;
export const PACKET_BYTES = 12;
/** Largest SET MULTIPLE count that drives accept. */
export const MAX_MULTIPLE = 16;
/** Size of a drive's data buffer on the stream (QEMU: IDE_DMA_BUF_SECTORS * 512 + 4). */
export const IO_BUFFER_BYTES = 256 * 512 + 4;

/** What happens when the data block of a PIO transfer is used up: indices of QEMU's transfer_end_table. */
export const END_SECTOR_READ = 0;
export const END_SECTOR_WRITE = 1;
export const END_TRANSFER_STOP = 2;
export const END_PACKET_REPLY = 3;
export const END_PACKET_COMMAND = 4;
export const END_NOTHING = 5;

/** Bits of IDEBus.error_status on the stream: the request to repeat when the machine runs again. */
export const RETRY_DMA = 0x08;
export const RETRY_PIO = 0x10;
export const RETRY_READ = 0x20;
export const RETRY_FLUSH = 0x40;
export const RETRY_TRIM = 0x80;
/** A retry that is a packet command: of the mask's bits only this one set (it shares RETRY_READ's bit). */
export const RETRY_ATAPI = 0x20;
export const RETRY_MASK = 0xf8;

/** ATA command codes (ATA/ATAPI-6 table 9 and older drafts for the retired ones). */
export const CMD_DATA_SET_MANAGEMENT = 0x06;
export const CMD_DEVICE_RESET = 0x08;
export const CMD_RECALIBRATE = 0x10;
export const CMD_READ_SECTORS = 0x20;
export const CMD_READ_SECTORS_NO_RETRY = 0x21;
export const CMD_READ_SECTORS_EXT = 0x24;
export const CMD_READ_DMA_EXT = 0x25;
export const CMD_READ_NATIVE_MAX_EXT = 0x27;
export const CMD_READ_MULTIPLE_EXT = 0x29;
export const CMD_WRITE_SECTORS = 0x30;
export const CMD_WRITE_SECTORS_NO_RETRY = 0x31;
export const CMD_WRITE_SECTORS_EXT = 0x34;
export const CMD_WRITE_DMA_EXT = 0x35;
export const CMD_WRITE_MULTIPLE_EXT = 0x39;
export const CMD_WRITE_VERIFY = 0x3c;
export const CMD_READ_VERIFY = 0x40;
export const CMD_READ_VERIFY_NO_RETRY = 0x41;
export const CMD_READ_VERIFY_EXT = 0x42;
export const CMD_SEEK = 0x70;
export const CMD_EXECUTE_DIAGNOSTIC = 0x90;
export const CMD_INITIALIZE_PARAMETERS = 0x91;
export const CMD_STANDBY_IMMEDIATE_OLD = 0x94;
export const CMD_IDLE_IMMEDIATE_OLD = 0x95;
export const CMD_STANDBY_OLD = 0x96;
export const CMD_IDLE_OLD = 0x97;
export const CMD_CHECK_POWER_OLD = 0x98;
export const CMD_SLEEP_OLD = 0x99;
export const CMD_PACKET = 0xa0;
export const CMD_IDENTIFY_PACKET = 0xa1;
export const CMD_SMART = 0xb0;
export const CMD_READ_MULTIPLE = 0xc4;
export const CMD_WRITE_MULTIPLE = 0xc5;
export const CMD_SET_MULTIPLE = 0xc6;
export const CMD_READ_DMA = 0xc8;
export const CMD_READ_DMA_NO_RETRY = 0xc9;
export const CMD_WRITE_DMA = 0xca;
export const CMD_WRITE_DMA_NO_RETRY = 0xcb;
export const CMD_STANDBY_IMMEDIATE = 0xe0;
export const CMD_IDLE_IMMEDIATE = 0xe1;
export const CMD_STANDBY = 0xe2;
export const CMD_IDLE = 0xe3;
export const CMD_CHECK_POWER = 0xe5;
export const CMD_SLEEP = 0xe6;
export const CMD_FLUSH_CACHE = 0xe7;
export const CMD_FLUSH_CACHE_EXT = 0xea;
export const CMD_IDENTIFY = 0xec;
export const CMD_SET_FEATURES = 0xef;
/** SECURITY FREEZE LOCK: accepted and ignored (Windows 8 insists on it). */
export const CMD_SECURITY_FREEZE_LOCK = 0xf5;
export const CMD_READ_NATIVE_MAX = 0xf8;
