import { inflateSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { decode, encode } from '../../migration/codec.ts';
import { ByteReader } from '../../migration/reader.ts';
import { ByteWriter } from '../../migration/writer.ts';
import { fromCommonRecord, fromRecord, toCommonRecord, toRecord } from './cpu-record.ts';
import { REQUEST_HARD, REQUEST_INIT, REQUEST_NMI } from './requests.ts';
import { EIP, FPU_TOP, MODE, MODE_F32, SS } from './layout.ts';
import { newCpu, protect, toUser } from './system/test-cpu.ts';
import {
  type CpuCommonRecord,
  type CpuRecord,
  cpuCommonVmState,
  cpuVmState,
  validateCpuRecord,
} from './vmstate.ts';

/** Section `cpu` of qemu-system-i386 7.2 -cpu pentium3, halted in a boot sector after FLD1, FLDPI; zlib, base64. */
const QEMU_CPU =
  'eNpjYFgVyoAC8llQ+TWcDAxMTECGA3O9AQPDAQaKwEn+W4sUMw6ZOjA0QEXs/yNk/wPZkxlQ+bP58cuTym9C43fjcS3zfyyC' +
  'AsT48/9//g8MDCxAGmSHfAPDQAMuIGZnYQNjBkZGkvSyoQGYOCuFAGIKD9g8aAjxNzBw0D1sIJGEm8/IwMiFLIcM8Jk5Ko9b' +
  'ngBgZBgkgFUkuaBUvyA/Jyc+OT+vpCg/Jz63uAjZhax8IBVpBfkF8ZkF8SkFyHI1rHBVgiBVQK3xxbmZQKNK80qQFDIDAC7N' +
  'nvA=';

function decodeCpu(bytes: Uint8Array): CpuRecord {
  return decode(cpuVmState, new ByteReader(bytes), 12) as unknown as CpuRecord;
}
function encodeCpu(record: CpuRecord): Uint8Array {
  const writer = new ByteWriter();
  encode(cpuVmState, record, writer);
  return new Uint8Array(writer.bytes());
}

describe('CPU sections', () => {
  test('a QEMU section comes out byte for byte as it went in', () => {
    const bytes = new Uint8Array(inflateSync(Buffer.from(QEMU_CPU, 'base64')));
    const record = decodeCpu(bytes);
    expect(validateCpuRecord(record)).toBeUndefined();
    const c = newCpu();
    fromRecord(c, record);
    expect([c.get(EIP), c.eflags(), c.get(FPU_TOP), c.reg32(0)]).toEqual([0x7c09, 0x202, 6, 0xaa55]);
    expect(encodeCpu(toRecord(c))).toEqual(bytes);
  });

  test('protected mode survives; CPL follows from SS', () => {
    const c = newCpu();
    protect(c);
    expect(toRecord(c).hflags & 0xff).toBe(0xb0);
    toUser(c);
    const record = decodeCpu(encodeCpu(toRecord(c)));
    const d = newCpu();
    fromRecord(d, record);
    expect([d.cpl, d.selector(SS), d.get(MODE) === MODE_F32]).toEqual([3, 0x23, false]);
    expect(toRecord(d)).toEqual(toRecord(c));
  });

  test('what the machine lacks is refused by name', () => {
    const record = toRecord(newCpu());
    expect(validateCpuRecord({ ...record, hflags: record.hflags | (1 << 19) })).toContain(
      'system-management',
    );
    expect(validateCpuRecord({ ...record, cr4: 0x100000 })).toContain('env.cr[4]');
    expect(validateCpuRecord({ ...record, fpregsFormat: 1 })).toContain('fpregs');
  });

  test('cpu_common: halted, pending NMI and INIT', () => {
    const c = newCpu();
    c.interruptRequest = REQUEST_HARD | REQUEST_NMI | REQUEST_INIT;
    c.halted = true;
    const writer = new ByteWriter();
    encode(cpuCommonVmState, toCommonRecord(c), writer);
    const bytes = new Uint8Array(writer.bytes());
    expect([...bytes]).toEqual([0, 0, 0, 1, 0, 0, 6, 2]);
    const d = newCpu();
    const record = decode(cpuCommonVmState, new ByteReader(bytes), 1) as unknown as CpuCommonRecord;
    fromCommonRecord(d, record);
    expect(d.interruptRequest).toBe(REQUEST_NMI | REQUEST_INIT);
    expect(d.halted).toBe(true);
  });
});
