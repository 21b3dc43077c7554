import fc from 'fast-check';
import { expect, test } from 'vitest';
import { encodePacket, type Incoming, MAX_PACKET_BYTES, PacketReader } from './packet.ts';

const read = (...parts: readonly Uint8Array[]): Incoming[] => {
  const reader = new PacketReader();
  return parts.flatMap((part) => reader.push(part));
};

test('what is encoded is read again, in whatever pieces it comes', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), fc.nat(), (data, cut) => {
      const bytes = encodePacket(data);
      const at = cut % (bytes.length + 1);
      const found = read(bytes.subarray(0, at), bytes.subarray(at));
      expect(found).toEqual([{ kind: 'packet', data: Buffer.from(data) }]);
    }),
  );
});

test('the manual’s example', () => {
  expect(encodePacket('OK').toString()).toBe('$OK#9a');
  expect(read(Buffer.from('+$?#3f\x03-'))).toEqual([
    { kind: 'ack' },
    { kind: 'packet', data: Buffer.from('?') },
    { kind: 'interrupt' },
    { kind: 'nack' },
  ]);
});

test('a wrong checksum, a packet that is too long, one cut off by the next', () => {
  expect(read(Buffer.from('$g#00'))).toEqual([{ kind: 'bad' }]);
  expect(read(Buffer.from('$g#zz'))).toEqual([{ kind: 'bad' }]);
  const long = encodePacket(Buffer.alloc(MAX_PACKET_BYTES + 1, 0x61));
  expect(read(long)).toEqual([{ kind: 'bad' }]);
  expect(read(Buffer.from('$abc'), encodePacket('g'))).toEqual([{ kind: 'packet', data: Buffer.from('g') }]);
});

test('any bytes at all', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 500 }), (bytes) => {
      expect(read(bytes).length).toBeLessThanOrEqual(bytes.length);
    }),
    { numRuns: 500 },
  );
});
