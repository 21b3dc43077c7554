/** A machine behind our gdb server, and Debian's gdb in front of it. */
import { spawn } from 'node:child_process';
import { GdbServer } from '../../src/host/gdb/server.ts';
import type { Machine } from '../../src/machine/machine.ts';
import type { MonitorHost } from '../../src/monitor/command.ts';
import { Hmp } from '../../src/monitor/hmp.ts';

export interface Debugged extends AsyncDisposable {
  readonly port: number;
  /** Faults of ours. */
  readonly failures: unknown[];
}

/** On any free port of this computer. */
export async function serveGdb(machine: Machine): Promise<Debugged> {
  const hmp = new Hmp({ machine, host: {} as MonitorHost });
  const failures: unknown[] = [];
  const server = new GdbServer({ machine, hmp, quit: () => {}, onFault: (error) => failures.push(error) });
  await server.listen({ kind: 'tcp', host: '127.0.0.1', port: 0 });
  return { port: server.port!, failures, [Symbol.asyncDispose]: () => server.close() };
}

/** What gdb prints for these commands. `elf`: where its symbols are from; `port`: on this computer, or a Unix socket's path. */
export function runGdb(
  elf: string | undefined,
  port: number | string,
  commands: readonly string[],
): Promise<string> {
  const all = [
    'set confirm off',
    'set pagination off',
    'set architecture i386',
    'set remotetimeout 60',
    `target remote ${typeof port === 'string' ? port : `127.0.0.1:${port}`}`,
    ...commands,
  ];
  return new Promise((resolve, reject) => {
    const child = spawn('gdb', [
      '-nx',
      '-batch',
      ...all.flatMap((c) => ['-ex', c]),
      ...(elf === undefined ? [] : [elf]),
    ]);
    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (bytes) => {
        output += bytes;
      });
    }
    child.on('error', reject);
    child.on('close', () => resolve(output));
  });
}
