/** The programming interface, with the demo guest and our own BIOS. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import { decodePng } from '../host/display/png-decode.ts';
import { Machine, type MachineError } from '../index.ts';
import { createQcow2 } from '../qcow2.ts';
import { type MachineOptions, toArguments } from './options.ts';
import { keysOf } from '../monitor/us-keyboard.ts';

const folder = mkdtempSync(join(tmpdir(), 'ambervm-api-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const DEMO = fileURLToPath(new URL('../../images/demo/demo.img', import.meta.url));
let images = 0;

/** The demo on a disk of its own. */
async function demo(more: MachineOptions = {}): Promise<Machine> {
  const hda = join(folder, `demo${images++}.qcow2`);
  await createQcow2(hda, { sizeBytes: 1024 * 1024, backingFile: DEMO, backingFormat: 'raw' });
  return Machine.create({ hda, memory: '8M', bios: 'amberbios.bin', icount: true, ...more });
}

const codeOf = (work: Promise<unknown>) =>
  work.then(
    () => 'no error',
    (error: MachineError) => error.code,
  );

describe('running', () => {
  test('until serial text, on to the next, back to a snapshot', async () => {
    await using vm = await demo();
    expect(vm.state).toBe('prelaunch');
    const match = await vm.run({ until: vm.serial().waitFor(/tick (\d+)/) });
    expect(vm.state).toBe('paused');
    // May run on to a moment without disk requests.
    const saved = await vm.savevm('here');
    const registers = vm.registers();
    const first = Number(match[1]);
    const next = async () => Number((await vm.run({ until: vm.serial().waitFor(/tick (\d+)/) }))[1]);
    expect(await next()).toBe(first + 1);
    expect(await next()).toBe(first + 2);
    await vm.loadvm(saved);
    expect(vm.registers()).toEqual(registers);
    expect(await next()).toBe(first + 1);
    expect(vm.snapshots().map(({ tag }) => tag)).toEqual(['here']);
    expect(await vm.delvm('here')).toBe(true);
  });

  test('two machines in one process run alike, instruction for instruction', async () => {
    await using one = await demo();
    await using two = await demo();
    await Promise.all([one.run({ instructions: 3_000_000 }), two.run({ instructions: 3_000_000 })]);
    expect(one.instructions).toBe(3_000_000);
    expect(two.registers()).toEqual(one.registers());
    expect(Buffer.compare(two.memory.read(0, 1 << 20), one.memory.read(0, 1 << 20))).toBe(0);
  });

  test('a limit, a signal and the end of the machine end a wait', async () => {
    await using vm = await demo();
    const never = () => vm.serial().waitFor('this is never printed', { timeoutMs: 300 });
    expect(await codeOf(vm.run({ until: never() }))).toBe('timeout');
    expect(vm.state).toBe('paused');
    expect(await codeOf(vm.run({ timeoutMs: 200 }))).toBe('timeout');
    const aborted = AbortSignal.abort(new Error('enough'));
    await expect(vm.run({ signal: aborted })).rejects.toThrow('enough');
    const later = new AbortController();
    setTimeout(() => later.abort(new Error('enough now')), 100);
    await expect(vm.run({ signal: later.signal })).rejects.toThrow('enough now');
    const wait = vm.serial().waitFor('never again');
    await vm.close();
    expect(await codeOf(wait)).toBe('closed');
    expect(await codeOf(vm.run())).toBe('closed');
  });
});

describe('hands and eyes', () => {
  test('the screen as text and as PNG; keys reach the guest', async () => {
    await using vm = await demo();
    await vm.run({ until: vm.serial().waitFor('tick') });
    await vm.run({ until: vm.keyboard.type('t') });
    await vm.run({ until: vm.screen.waitFor('ambervm') });
    const picture = vm.screen.picture();
    const decoded = decodePng(vm.screen.png());
    expect([decoded.width, decoded.height]).toEqual([picture.width, picture.height]);
    expect(Buffer.from(decoded.rgb).equals(picture.rgb)).toBe(true);
    await vm.run({ until: vm.serial().waitFor('key=t') });
    expect(await codeOf(vm.keyboard.press('nosuchkey'))).toBe('argument');
  });

  test('memory, registers, monitor, events, streams', async () => {
    await using vm = await demo();
    const controller = new AbortController();
    const seen: string[] = [];
    const watching = (async () => {
      for await (const { type } of vm.events({ signal: controller.signal })) seen.push(type);
    })();
    const reader = vm.serial().readable().getReader();
    await vm.run({ instructions: 4_000_000 });
    vm.memory.write(0x500, Uint8Array.of(1, 2, 3));
    expect([...vm.memory.read(0x500, 3)]).toEqual([1, 2, 3]);
    const { eip } = vm.registers();
    expect(await vm.monitor('info registers')).toContain(`EIP=${eip.toString(16).padStart(8, '0')}`);
    await vm.run({ until: vm.serial().waitFor('tick') });
    expect((await reader.read()).value!.length).toBeGreaterThan(0);
    controller.abort();
    await watching;
    expect(seen).toContain('state');
  });
});

describe('options', () => {
  test('a mistyped one is refused, as is an address that is none; errors have codes', async () => {
    await expect(Machine.create({ hdx: 'a' } as MachineOptions)).rejects.toMatchObject({ code: 'argument' });
    await expect(Machine.create({ memory: 'x' })).rejects.toMatchObject({ code: 'usage' });
    await expect(Machine.create({ bios: '/nope' })).rejects.toMatchObject({ code: 'firmware' });
    await using vm = await Machine.create({ memory: '2M', bios: 'amberbios.bin' });
    for (const address of [-1, 2 ** 32, Number.NaN]) {
      expect(() => vm.memory.read(address, 4)).toThrow(/is not an address/);
    }
  });

  test('become the command line that says the same', () => {
    const options = {
      memory: 64 << 20,
      hda: 'a.qcow2',
      drives: [{ file: 'b,c.img', interface: 'none' }],
    } as const;
    expect(toArguments(options)).toEqual([
      '-m',
      '65536K',
      '-hda',
      'a.qcow2',
      '-drive',
      'file=b,,c.img,if=none',
    ]);
  });
  test('that are wrong are refused in the words of the command line', async () => {
    await expect(Machine.create({ hda: join(folder, 'nosuch.img') })).rejects.toThrow(
      'No such file or directory',
    );
    await expect(Machine.create({ cpu: 'z80' })).rejects.toThrow(/z80/);
    expect(await codeOf(Machine.create({ serialPorts: 9 }))).toBe('argument');
    expect(await codeOf(Machine.create({ args: ['-serial', 'stdio'] }))).toBe('argument');
  });
});

test('RAM and devices are saved in an image that the guest does not see', async () => {
  const state = join(folder, 'state.qcow2');
  await createQcow2(state, { sizeBytes: 65_536 });
  const options: MachineOptions = {
    memory: '8M',
    bios: 'amberbios.bin',
    drives: [
      { file: DEMO, readOnly: true },
      { file: state, interface: 'none' },
    ],
  };
  await using vm = await Machine.create({ ...options, icount: true });
  await vm.run({ instructions: 1_000_000 });
  await vm.savevm('a');
  const before = vm.registers();
  await vm.run({ instructions: 1_000_000 });
  await vm.loadvm('a');
  expect(vm.registers()).toEqual(before);
});

test('every character of a US keyboard has its keys', () => {
  const printable = Array.from({ length: 95 }, (_, i) => String.fromCharCode(32 + i));
  expect(printable.filter((character) => keysOf(character) === undefined)).toEqual([]);
  expect(keysOf('é')).toBeUndefined();
});

test('PNG files of strangers: a picture or a PngError', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      const file = Buffer.concat([Buffer.from('89504e470d0a1a0a', 'hex'), bytes]);
      try {
        decodePng(file);
      } catch (error) {
        expect((error as Error).constructor.name).toBe('PngError');
      }
    }),
  );
});
