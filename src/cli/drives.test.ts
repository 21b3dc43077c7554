/** Words of `-drive` about how an image is used, with QEMU 7.2's messages. */
import { describe, expect, it } from 'vitest';
import { parseDrive, placeDrives } from './drives.ts';
import { parseCommandLine } from './options.ts';

const drive = (text: string) => parseDrive(`file=a.qcow2,${text}`, '-drive x');

describe('-drive', () => {
  it('sizes of the metadata cache are one budget', () => {
    expect(drive('format=qcow2').cacheBytes).toBeUndefined();
    expect(drive('cache-size=2M').cacheBytes).toBe(2 << 20);
    expect(drive('l2-cache-size=1M,refcount-cache-size=256K').cacheBytes).toBe(1_310_720);
    expect(drive('l2-cache-size=1M').qcow2Keys).toEqual(['l2-cache-size']);
    expect(() => drive('cache-size=1M,l2-cache-size=1M,refcount-cache-size=1M')).toThrow(
      'cache-size, l2-cache-size and refcount-cache-size may not be set at the same time',
    );
    expect(() => drive('cache-size=1M,l2-cache-size=2M')).toThrow('l2-cache-size may not exceed cache-size');
  });

  it('discard and detect-zeroes', () => {
    expect(drive('discard=unmap,detect-zeroes=unmap')).toMatchObject({ discard: true, detectZeroes: true });
    expect(drive('detect-zeroes=on')).toMatchObject({ discard: false, detectZeroes: true });
    expect(drive('detect-zeroes=off').detectZeroes).toBe(false);
    // As in QEMU 7.2, which takes it without discard=unmap too.
    expect(drive('detect-zeroes=unmap').detectZeroes).toBe(true);
  });
});

describe('-vmstate-drive', () => {
  it('comes before all others, is no device, and takes the words of -drive', () => {
    const { drives } = parseCommandLine(['-hda', 'a', '-vmstate-drive', 'file=v,cache=none', '-hdb', 'b']);
    const placed = placeDrives(drives).map(({ device, kind }) => [device, kind]);
    expect(placed).toEqual([
      ['vmstate', 'none'],
      ['ide0-hd0', 'disk'],
      ['ide0-hd1', 'disk'],
    ]);
    expect(drives[0]).toMatchObject({ file: 'v', cache: 'none' });
  });
});
