/** `ambervm img` beside the real qemu-img: the same arguments on the same images give the same words and exit code. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { runTool } from '../../src/cli/tools/tools.ts';
import { hasQemuImg, qemuCheck, run } from '../support/qemu-img.ts';

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'ambervm-img-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

interface Answer {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

const ours = (): string => join(folder, 'ours');
const theirs = (): string => join(folder, 'them');

/** Names with a leading @ lie in the folder. */
function at(place: string, args: readonly string[]): string[] {
  return args.map((arg) => arg.replaceAll('@', `${place}/`));
}

function tidy(text: string): string {
  return text
    .replaceAll(`${ours()}/`, '@')
    .replaceAll(`${theirs()}/`, '@')
    .replaceAll('qemu-img', 'ambervm')
    .replace(/'ambervm --help'/g, "'ambervm img help'")
    .replace(/\d{4}-\d\d-\d\d \d\d:\d\d:\d\d/g, 'DATE')
    .replace(/(disk size|Image end offset): .*/g, '$1: SOME');
}

async function byUs(...args: string[]): Promise<Answer> {
  let out = '';
  let err = '';
  const code = await runTool(['img', ...at(ours(), args)], {
    line: (text) => {
      out += `${text}\n`;
    },
    write: (text) => {
      out += text;
    },
    error: (text) => {
      err += `${text.startsWith('WARNING: ') ? '' : 'ambervm: '}${text}\n`;
    },
    progress: () => {},
  });
  return { code, out: tidy(out), err: tidy(err) };
}

function byQemu(...args: string[]): Answer {
  const { status, stderr, stdout } = spawnSync('qemu-img', at(theirs(), args), { encoding: 'utf8' });
  return { code: status, out: tidy(stdout), err: tidy(stderr) };
}

/** Both the same; gives what we said. */
async function same(...args: string[]): Promise<Answer> {
  const [us, them] = [await byUs(...args), byQemu(...args)];
  // qemu-img tells check's findings without its name before them.
  const plain = (text: string): string =>
    text
      .replace(/^ambervm: (ERROR|Leaked)/gm, '$1')
      .replace(/^Repairing .*\n/gm, '')
      .trimEnd();
  if (args.some((arg) => arg === '--output=json') && them.code === 0) {
    expect(loose(JSON.parse(us.out)), args.join(' ')).toEqual(loose(JSON.parse(them.out)));
    expect(us.code).toBe(them.code);
    return us;
  }
  expect({ ...us, err: plain(us.err) }, args.join(' ')).toEqual({ ...them, err: plain(them.err) });
  return us;
}

/** JSON without what differs between two images made one after the other. */
function loose(value: unknown): unknown {
  return JSON.parse(
    JSON.stringify(value, (key, inner: unknown) =>
      [
        'actual-size',
        'date-sec',
        'date-nsec',
        'filename',
        'full-backing-filename',
        'backing-filename',
      ].includes(key)
        ? undefined
        : inner,
    ),
  );
}

describe.skipIf(!hasQemuImg)('img as qemu-img', () => {
  beforeEach(() => {
    for (const place of [ours(), theirs()]) {
      rmSync(place, { recursive: true, force: true });
      mkdirSync(place);
    }
  });

  /** An image, an overlay with a relative backing name, and a raw one, the same in both folders. */
  function samples(): void {
    const [a, b, raw] = at(theirs(), ['@a.qcow2', '@b.qcow2', '@r.raw']) as [string, string, string];
    run('qemu-img', 'create', '-q', '-f', 'qcow2', a, '10M');
    run('qemu-io', '-c', 'write -P 1 0 2M', '-c', 'write -z 3M 1M', '-c', 'write -c -P 3 5M 64k', a);
    run('qemu-img', 'create', '-q', '-f', 'qcow2', '-b', 'a.qcow2', '-F', 'qcow2', b, '11M');
    run('qemu-io', '-c', 'write -P 9 1M 64k', '-c', 'write -z 128k 64k', '-c', 'write -P 8 10M 300k', b);
    run('qemu-img', 'create', '-q', '-f', 'raw', raw, '1M');
    run('qemu-io', '-f', 'raw', '-c', 'write 0 4k', '-c', 'write 64k 64k', raw);
    // cp keeps holes.
    run('cp', '-rT', theirs(), ours());
  }

  it('--image-opts', async () => {
    samples();
    const a = 'driver=qcow2,file.filename=@a.qcow2';
    await same('info', '--image-opts', `${a},force-share=on`);
    await same(
      'map',
      '--output=json',
      '--image-opts',
      `driver=qcow2,file.driver=file,file.filename=@b.qcow2`,
    );
    await same('check', '--image-opts', `${a},lazy-refcounts=on,l2-cache-size=1M`);
    await same('compare', '--image-opts', a, 'driver=raw,file.filename=@r.raw');
    await same('convert', '--image-opts', '-O', 'raw', a, '@c.raw');
    await same('compare', '-f', 'qcow2', '-F', 'raw', '@a.qcow2', '@c.raw');
    await same('snapshot', '--image-opts', '-c', 'one', a);
    await same('resize', '--image-opts', a, '12M');
    await same('info', '-f', 'qcow2', '--image-opts', a);
    for (const wrong of [
      '@a.qcow2',
      'driver=qcow2',
      'driver=qcow2,file=@a.qcow2',
      'filename=@a.qcow2',
      'driver=foo,file.filename=@a.qcow2',
      `${a},foo=1`,
    ]) {
      await same('info', '--image-opts', wrong);
    }
  });

  it('--target-image-opts', async () => {
    samples();
    for (const place of [ours(), theirs()]) {
      run('qemu-img', 'create', '-q', '-f', 'qcow2', join(place, 't'), '10M');
      run('qemu-img', 'create', '-q', '-f', 'qcow2', join(place, 'small'), '1M');
    }
    const target = 'driver=qcow2,file.driver=file,file.filename=@t';
    const opts = ['convert', '--target-image-opts'];
    await same(...opts, '-n', '@a.qcow2', target);
    await same('compare', '@a.qcow2', '@t');
    await same(
      ...opts,
      '-n',
      '--image-opts',
      'driver=qcow2,file.filename=@a.qcow2',
      `${target},lazy-refcounts=on`,
    );
    await same(...opts, '-n', '--target-is-zero', '@a.qcow2', target);
    await same(...opts, '@a.qcow2', target);
    await same(...opts, '-n', '-O', 'qcow2', '@a.qcow2', target);
    await same(...opts, '-n', '@a.qcow2', '@t');
    await same(...opts, '-n', '@a.qcow2', 'driver=qcow2,file.filename=@small');
    expect(qemuCheck(join(ours(), 't'))).toMatchObject({ corruptions: 0, leaks: 0 });
  });

  it('--object', async () => {
    samples();
    await same('info', '--object', 'secret,id=x,data=s', '@a.qcow2');
    await same('info', '--object', 'bogus,id=x', '@a.qcow2');
    await same('map', '--object=secret,id=x,data=s', '@a.qcow2');
  });

  it('a backing file that is missing', async () => {
    samples();
    for (const place of [ours(), theirs()]) rmSync(join(place, 'a.qcow2'));
    await same('info', '@b.qcow2');
    for (const args of [
      ['info', '--backing-chain'],
      ['check'],
      ['map'],
      ['snapshot', '-l'],
      ['snapshot', '-c', 'x'],
      ['commit'],
      ['rebase', '-b', ''],
    ]) {
      await same(...args, '@b.qcow2');
    }
    await same('convert', '-O', 'raw', '@b.qcow2', '@o');
    await same('compare', '@b.qcow2', '@b.qcow2');
    await same('rebase', '-u', '-b', '', '@b.qcow2');
    await same('check', '@b.qcow2');
  });

  it('options that make no sense', async () => {
    samples();
    for (const args of [
      ['check', '-T', 'bogus', '@a.qcow2'],
      ['check', '-r', 'all', '-U', '@a.qcow2'],
      ['check', '-f', 'bogus', '@a.qcow2'],
      ['compare', '-T', 'bogus', '@a.qcow2', '@a.qcow2'],
      ['commit', '-b', 'bogus', '@b.qcow2'],
      ['commit', '-p', '-q', '@b.qcow2'],
      ['rebase', '-b', '@nope', '-F', 'qcow2', '@b.qcow2'],
      ['rebase', '-b', '@a.qcow2', '-F', 'bogus', '@b.qcow2'],
      ['rebase', '-T', 'bogus', '-b', '@a.qcow2', '-F', 'qcow2', '@b.qcow2'],
      ['rebase', '-f', 'raw', '-b', '@a.qcow2', '-F', 'qcow2', '@b.qcow2'],
      ['rebase', '-b', '@b.qcow2', '-F', 'qcow2', '@b.qcow2'],
      ['resize', '--shrink', '@a.qcow2', '1000'],
      ['resize', '@a.qcow2', '+1000'],
      ['resize', '--preallocation=full', '--shrink', '@a.qcow2', '3M'],
      ['resize', '-f', 'qcow2', '@a.qcow2'],
      ['snapshot', '-c', 'a', '-c', 'b', '@a.qcow2'],
      ['snapshot', '-U', '-c', 'a', '@a.qcow2'],
      ['create', '-f', 'raw', '-o', 'preallocation=metadata', '@r2', '1M'],
      ['create', '-f', 'raw', '@r2', '1000'],
      ['create', '-f', 'raw', '-o', 'help'],
      ['create', '-f', 'raw', '-o', 'help', '@r2'],
    ]) {
      await same(...args);
    }
    for (const args of [
      ['-C', '-c'],
      ['-m', '0'],
      ['-m', '17'],
      ['--salvage', '-C'],
      ['-S', '100'],
      ['-n', '-o', 'cluster_size=4k'],
      ['--target-is-zero'],
      ['--bitmaps'],
      ['-B', '@a.qcow2'],
      ['-B', '@nope', '-F', 'qcow2'],
      ['-o', 'size=20M'],
      ['-p', '-q'],
    ]) {
      await same('convert', '-O', 'qcow2', ...args, '@a.qcow2', '@o');
    }
  });

  it('create', async () => {
    await same('create', '-f', 'qcow2', '@x.qcow2', '10M');
    for (const options of [
      'cluster_size=4k,compat=v2',
      'refcount_bits=1',
      'extended_l2=on',
      'extended_l2=on,cluster_size=16k,lazy_refcounts=on,compression_type=zstd',
      'data_file=@d.raw,data_file_raw=on',
      'preallocation=metadata',
      'preallocation=full',
      'size=3M',
      'cluster_size=1000',
      'compat=0.10,refcount_bits=8',
      'refcount_bits=3',
      'bogus=1',
      'compat=7',
      'extended_l2=on,cluster_size=4k',
      'extended_l2=on,preallocation=metadata',
      'extended_l2=on,preallocation=full',
      'data_file_raw=on',
      'compat=v2,lazy_refcounts=on',
      'compression_type=lz4',
      'preallocation=bogus',
    ]) {
      const { code } = await same('create', '-f', 'qcow2', '-o', options, '@x.qcow2', '10M');
      if (code !== 0) continue;
      expect(qemuCheck(join(ours(), 'x.qcow2'))).toMatchObject({ corruptions: 0, leaks: 0 });
      await same('info', '@x.qcow2');
    }
    await same('create', '-f', 'raw', '@x.raw', '5M');
    await same('create', '-f', 'qcow2', '-b', '@x.raw', '-F', 'raw', '@y.qcow2');
    await same('create', '-f', 'qcow2', '-b', '@x.raw', '@y.qcow2');
    const over = ['-b', '@x.raw', '-F', 'raw'];
    await same('create', '-f', 'qcow2', '-o', 'preallocation=metadata', ...over, '@y.qcow2');
    for (const mode of ['metadata', 'full']) {
      for (const place of [ours(), theirs()])
        run('qemu-io', '-f', 'raw', '-c', 'write -P 5 0 5M', join(place, 'x.raw'));
      await same('create', '-f', 'qcow2', '-o', `extended_l2=on,preallocation=${mode}`, ...over, '@y.qcow2');
      await same('compare', '-F', 'raw', '@y.qcow2', '@x.raw');
      await same('check', '@y.qcow2');
    }
    for (const size of ['1000', '1', '8E', '16E', '1.5k']) await same('create', '-f', 'qcow2', '@z', size);
    await same('create', '-f', 'qcow2', '-o', 'cluster_size=512', '@z', '129G');
    await same('create', '-f', 'qcow2', '-b', '@nope', '-F', 'raw', '@z');
    await same('create', '-f', 'qcow2', '-u', '-b', '@nope', '-F', 'raw', '@z');
    await same('create', '-f', 'qcow2', '-b', '', '@z', '1M');
    await same('create', '-f', 'bogus', '@x', '1M');
    await same('create', '@x');
    await same('create');
    await same('create', '-f', 'qcow2', '@x', '1Z');
  });

  it('info', async () => {
    samples();
    for (const args of [
      ['@a.qcow2'],
      ['@b.qcow2'],
      ['-f', 'raw', '@r.raw'],
      ['--backing-chain', '@b.qcow2'],
      ['@nope'],
      [],
    ]) {
      await same('info', ...args);
      if (args.length > 0) await same('info', '--output=json', ...args);
    }
    for (const place of [ours(), theirs()])
      run('qemu-img', 'bitmap', '--add', join(place, 'a.qcow2'), 'dirt');
    await same('info', '@a.qcow2');
    await same('info', '--output=json', '@a.qcow2');
  });

  it('map', async () => {
    samples();
    for (const args of [
      ['@a.qcow2'],
      ['@b.qcow2'],
      ['-f', 'raw', '@r.raw'],
      ['-s', '1M', '-l', '2M', '@a.qcow2'],
    ]) {
      await same('map', ...args);
      await same('map', '--output=json', ...args);
    }
    for (const options of ['extended_l2=on', `data_file=@d`, 'cluster_size=512']) {
      for (const place of [ours(), theirs()]) {
        const image = join(place, 'm.qcow2');
        run('qemu-img', ...at(place, ['create', '-q', '-f', 'qcow2', '-o', options, image, '1M']));
        run(
          'qemu-io',
          '-c',
          'write 10k 20k',
          '-c',
          'write -z 12k 8k',
          '-c',
          'write 300k 1k',
          '-c',
          'write -z -u 500k 100k',
          image,
        );
      }
      await same('map', '--output=json', '@m.qcow2');
      await same('map', '@m.qcow2');
    }
  });

  it('check', async () => {
    samples();
    await same('check', '@a.qcow2');
    await same('check', '--output=json', '@a.qcow2');
    await same('check', '-f', 'raw', '@r.raw');
    await same('check', '@nope');
    await same('check', '-r', 'bogus', '@a.qcow2');
    // The corrupt bit goes when nothing is found to be wrong.
    for (const place of [ours(), theirs()]) {
      spawnSync('dd', [`of=${join(place, 'a.qcow2')}`, 'bs=1', 'seek=79', 'conv=notrunc'], { input: '\x02' });
    }
    await same('info', '@a.qcow2');
    await same('check', '@a.qcow2');
    await same('check', '-r', 'all', '@a.qcow2');
    await same('info', '@a.qcow2');
    // A count of a cluster that nobody uses; then none of one that is used.
    for (const [cluster, count] of [
      [30, 1],
      [6, 0],
    ] as const) {
      samples();
      for (const place of [ours(), theirs()]) {
        const file = join(place, 'a.qcow2');
        const bytes = Buffer.from([0, count]);
        spawnSync(
          'dd',
          [
            `of=${file}`,
            'bs=1',
            `seek=${2 * 65_536 + (cluster + (count === 1 ? 20 : 0)) * 2}`,
            'conv=notrunc',
          ],
          { input: bytes },
        );
        spawnSync('truncate', ['-s', '4M', file]);
      }
      await same('check', '@a.qcow2');
      expect((await byUs('check', '--output=json', '@a.qcow2')).code).toBe(
        byQemu('check', '--output=json', '@a.qcow2').code,
      );
      if (count === 1) await same('check', '-r', 'leaks', '@a.qcow2');
    }
    expect((await byUs('check', '-r', 'all', '@a.qcow2')).code).toBe(0);
    expect(qemuCheck(join(ours(), 'a.qcow2'))).toMatchObject({ corruptions: 0, leaks: 0 });
  });

  it('compare', async () => {
    samples();
    await same('compare', '@a.qcow2', '@a.qcow2');
    await same('compare', '@a.qcow2', '@b.qcow2');
    await same('compare', '-q', '@a.qcow2', '@b.qcow2');
    await same('compare', '@a.qcow2', '@nope');
    await same('compare', '@a.qcow2');
    for (const place of [ours(), theirs()]) {
      run('qemu-img', 'create', '-q', '-f', 'qcow2', join(place, 'e1'), '1M');
      run('qemu-img', 'create', '-q', '-f', 'qcow2', join(place, 'e2'), '2M');
    }
    await same('compare', '@e1', '@e2');
    await same('compare', '-s', '@e1', '@e2');
    await same('compare', '@e2', '@a.qcow2');
    await same('compare', '-s', '@a.qcow2', '@a.qcow2');
    for (const place of [ours(), theirs()]) {
      run('cp', join(place, 'e1'), join(place, 'e3'));
      run('qemu-io', '-c', 'write -P 0 512k 64k', join(place, 'e3'));
    }
    await same('compare', '@e1', '@e3');
    await same('compare', '-s', '@e1', '@e3');
  });

  it('snapshot', async () => {
    samples();
    await same('snapshot', '-l', '@a.qcow2');
    await same('snapshot', '-c', 'one', '@a.qcow2');
    for (const place of [ours(), theirs()])
      run('qemu-io', '-c', 'write -P 77 0 100k', join(place, 'a.qcow2'));
    await same('snapshot', '-c', 'two', '@a.qcow2');
    await same('snapshot', '@a.qcow2');
    await same('info', '@a.qcow2');
    await same('convert', '-l', 'one', '-O', 'raw', '@a.qcow2', '@one.raw');
    expect(
      run(
        'qemu-img',
        'compare',
        '-f',
        'raw',
        '-F',
        'raw',
        join(ours(), 'one.raw'),
        join(theirs(), 'one.raw'),
      ),
    ).toContain('identical');
    await same('snapshot', '-a', 'one', '@a.qcow2');
    await same('compare', '-F', 'raw', '@a.qcow2', '@one.raw');
    await same('snapshot', '-d', 'one', '@a.qcow2');
    await same('snapshot', '-a', 'nope', '@a.qcow2');
    await same('snapshot', '-c', 'two', '@a.qcow2');
    await same('snapshot', '-l', '@a.qcow2');
    await same('snapshot', '-d', '2', '@a.qcow2');
    await same('snapshot', '-d', 'two', '@a.qcow2');
    await same('snapshot', '-l', '@a.qcow2');
    await same('snapshot', '-d', 'nope', '@a.qcow2');
    await same('snapshot', '-l');
    await same('snapshot', '-c', 'a', '-d', 'b', '@a.qcow2');
    expect((await byUs('snapshot', '-c', 'x', '@r.raw')).code).toBe(1);
    expect(qemuCheck(join(ours(), 'a.qcow2'))).toMatchObject({ corruptions: 0, leaks: 0 });
  });

  it('resize', async () => {
    samples();
    for (const args of [
      ['@a.qcow2', '5M'],
      ['--shrink', '@a.qcow2', '5M'],
      ['@a.qcow2', '+5M'],
      ['--shrink', '@a.qcow2', '-1M'],
      ['@a.qcow2', '20M'],
      ['@b.qcow2', '12M'],
      ['@a.qcow2', 'abc'],
      ['-f', 'raw', '@r.raw', '2M'],
      ['-q', '-f', 'raw', '@r.raw', '3M'],
      ['--preallocation=full', '@a.qcow2', '21M'],
      ['@a.qcow2'],
    ]) {
      await same('resize', ...args);
    }
    for (const name of ['a.qcow2', 'b.qcow2', 'r.raw']) {
      const formats = name === 'r.raw' ? ['-f', 'raw', '-F', 'raw'] : [];
      expect(run('qemu-img', 'compare', ...formats, join(ours(), name), join(theirs(), name))).toContain(
        'identical',
      );
      if (name !== 'r.raw') expect(qemuCheck(join(ours(), name))).toMatchObject({ corruptions: 0, leaks: 0 });
    }
  });

  it('commit', async () => {
    samples();
    const size = ['info', '--output=json', '@a.qcow2'];
    await same('commit', '-d', '@b.qcow2');
    await same(...(size as [string]));
    await same('commit', '@b.qcow2');
    await same('commit', '@a.qcow2');
    await same('commit', '@nope');
    for (const name of ['a.qcow2', 'b.qcow2']) {
      expect(run('qemu-img', 'compare', join(ours(), name), join(theirs(), name))).toContain('identical');
      expect(qemuCheck(join(ours(), name))).toMatchObject({ corruptions: 0, leaks: 0 });
    }
    expect((await byUs('map', '--output=json', '@b.qcow2')).out).not.toContain(
      '"depth": 0, "present": true, "zero": false',
    );
  });

  it('rebase and stream', async () => {
    samples();
    for (const place of [ours(), theirs()]) {
      run('qemu-img', 'create', '-q', '-f', 'qcow2', join(place, 'c.qcow2'), '4M');
      run('qemu-io', '-c', 'write -P 1 1M 1M', '-c', 'write -P 5 3M 1M', join(place, 'c.qcow2'));
    }
    const reference = join(folder, 'before.raw');
    run('qemu-img', 'convert', '-O', 'raw', join(theirs(), 'b.qcow2'), reference);
    const holds = (): void => {
      const image = join(ours(), 'b.qcow2');
      expect(run('qemu-img', 'compare', '-F', 'raw', image, reference)).toContain('identical');
      expect(qemuCheck(image)).toMatchObject({ corruptions: 0, leaks: 0 });
    };
    await same('rebase', '-F', 'qcow2', '-b', 'c.qcow2', '@b.qcow2');
    holds();
    await same('info', '@b.qcow2');
    await same('rebase', '@b.qcow2');
    expect((await byUs('stream', '-b', join(ours(), 'nope'), '@b.qcow2')).code).toBe(1);
    expect(await byUs('stream', '@b.qcow2')).toMatchObject({ code: 0, out: 'Image streamed.\n' });
    holds();
    await same('rebase', '-b', '', '@b.qcow2');
    await same('info', '@b.qcow2');
    await same('rebase', '-u', '-F', 'qcow2', '-b', 'a.qcow2', '@b.qcow2');
    await same('rebase', '-u', '-b', '', '@b.qcow2');
    holds();
  });

  it('a raw data file', async () => {
    samples();
    for (const place of [ours(), theirs()]) {
      const image = join(place, 'd.qcow2');
      const options = `data_file=${join(place, 'd')},data_file_raw=on`;
      run('qemu-img', 'create', '-q', '-f', 'qcow2', '-o', options, image, '1M');
    }
    await same('check', '@d.qcow2');
    await same('rebase', '-u', '-F', 'qcow2', '-b', '@a.qcow2', '@d.qcow2');
    await same('info', '@d.qcow2');
    await same('rebase', '-u', '-b', '', '@d.qcow2');
    await same('resize', '@d.qcow2', '3M');
    await same('check', '@d.qcow2');
    await same('snapshot', '-a', 'nope', '@d.qcow2');
  });

  it('convert', async () => {
    samples();
    const converted = async (...args: string[]): Promise<void> => {
      await same('convert', ...args);
      const target = join(ours(), 'o');
      expect(run('qemu-img', 'compare', join(ours(), 'b.qcow2'), target)).toContain('identical');
      expect(qemuCheck(target)).toMatchObject({ corruptions: 0, leaks: 0 });
      const [us, them] = [target, join(theirs(), 'o')].map((file) => {
        const { 'allocated-clusters': n = 0 } = JSON.parse(
          run('qemu-img', 'check', '--output=json', file),
        ) as { 'allocated-clusters'?: number };
        return n;
      });
      expect(us, args.join(' ')).toBeLessThanOrEqual(them!);
    };
    await converted('-O', 'qcow2', '@b.qcow2', '@o');
    await converted('-c', '-O', 'qcow2', '-o', 'cluster_size=4k', '@b.qcow2', '@o');
    await converted('-c', '-O', 'qcow2', '-o', 'refcount_bits=1', '@b.qcow2', '@o');
    await converted('-O', 'qcow2', '-o', 'extended_l2=on,cluster_size=32k', '@b.qcow2', '@o');
    await converted('-O', 'qcow2', '-B', 'a.qcow2', '-F', 'qcow2', '@b.qcow2', '@o');
    await converted('-O', 'qcow2', '-S', '0', '@b.qcow2', '@o');
    await converted('-n', '-O', 'qcow2', '@b.qcow2', '@o');
    await same('convert', '-O', 'raw', '@b.qcow2', '@o.raw');
    await same('convert', '-f', 'raw', '-O', 'qcow2', '@o.raw', '@o2');
    expect(run('qemu-img', 'compare', join(ours(), 'b.qcow2'), join(ours(), 'o2'))).toContain('identical');
    await same('convert', '-O', 'raw', '@a.qcow2', '@b.qcow2', '@both');
    expect(run('cmp', join(ours(), 'both'), join(theirs(), 'both'))).toBe('');
    for (const args of [
      ['@a.qcow2'],
      ['-O', 'bogus', '@a.qcow2', '@x'],
      ['-c', '-O', 'raw', '@a.qcow2', '@x'],
      ['@nope', '@x'],
      ['-l', 'no', '@a.qcow2', '@x'],
    ]) {
      await same('convert', ...args);
    }
    expect((await byUs('convert', '-p', '-O', 'qcow2', '@b.qcow2', '@o')).out).toMatch(
      /\(100\.00\/100%\)\r\n$/,
    );
  });
});
