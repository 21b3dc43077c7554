/** The program's VNC server: `info vnc` and passwords in QEMU 7.2's words, ports that are taken. */
import { afterEach, expect, test } from 'vitest';
import { RfbClient } from '../../test/support/rfb-client.ts';
import { tinyMachine } from '../../test/support/tiny-machine.ts';
import type { MonitorHost } from '../monitor/command.ts';
import { Hmp } from '../monitor/hmp.ts';
import type { VncConfig } from './config.ts';
import { VncControl } from './vnc.ts';

const cleanups: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function rig(config: Partial<VncConfig> | undefined) {
  const machine = await tinyMachine();
  const vnc = new VncControl();
  cleanups.push(
    () => machine.close(),
    () => vnc.close(),
  );
  const full: VncConfig = {
    where: '-vnc :0',
    address: { kind: 'tcp', host: '127.0.0.1', port: 0 },
    lastPort: 0,
    webSocket: undefined,
    password: false,
    share: 'allow-exclusive',
    ...config,
  };
  if (config !== undefined) await vnc.start(full, machine, 'guest');
  const hmp = new Hmp({ machine, host: { vnc } as Partial<MonitorHost> as MonitorHost });
  return { vnc, machine, hmp, full };
}

const port = (text: string) => Number(/Server: 127.0.0.1:(\d+) /.exec(text)?.[1]);

test('none', async () => {
  const { hmp } = await rig(undefined);
  expect(await hmp.execute('info vnc')).toBe('None\n');
  expect(await hmp.execute('change vnc password abc')).toBe('Error: Could not set password\n');
});

test('without a password', async () => {
  const { hmp } = await rig({ webSocket: { host: '127.0.0.1', port: 0 } });
  const before = await hmp.execute('info vnc');
  expect(before.replace(/:\d+ /g, ':N ')).toBe(
    'default:\n  Server: 127.0.0.1:N (ipv4)\n    Auth: none (Sub: none)\n' +
      '  Server: 127.0.0.1:N (ipv4 (Websocket))\n    Auth: none (Sub: none)\n',
  );
  const client = await RfbClient.connect(port(before));
  expect(client.name).toBe('ambervm (guest)');
  // The server has its ClientInit when it answers what follows.
  await client.update();
  expect((await hmp.execute('info vnc')).replace(/:\d+ /g, ':N ')).toContain(
    '  Client: 127.0.0.1:N (ipv4)\n    x509_dname: none\n    sasl_username: none\n',
  );
  client.close();
  expect((await hmp.execute('set_password vnc abc')).split('\n')[0]).toBe('Error: Could not set password');
});

test.each(['change vnc password abc', 'set_password vnc abc'])('%s', async (line) => {
  const { hmp } = await rig({ password: true });
  const text = await hmp.execute('info vnc');
  expect(text).toContain('    Auth: vnc (Sub: none)\n');
  expect(await hmp.execute(line)).toBe('');
  const client = await RfbClient.connect(port(text), { password: 'abc' });
  expect(client.failure).toBe('');
  client.close();
});

test('a port that is taken', async () => {
  const { vnc } = await rig({});
  const taken = port(vnc.info());
  const address = { kind: 'tcp', host: '127.0.0.1', port: taken } as const;
  await expect(rig({ address, lastPort: taken, where: '-vnc :9' })).rejects.toThrow(
    '-vnc :9: Failed to find an available port: Address already in use',
  );
  const other = await rig({ address, lastPort: taken + 50 });
  expect(port(other.vnc.info())).toBeGreaterThan(taken);
});
