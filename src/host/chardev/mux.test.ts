import { describe, expect, test } from 'vitest';
import type { CharBackend, CharEvent, CharFrontend } from './chardev.ts';
import { InputQueue } from './chardev.ts';
import { MuxChardev } from './mux.ts';

class FakeBackend implements CharBackend {
  readonly filename = 'fake';
  output = '';
  /** Bytes it takes now. */
  room = Number.POSITIVE_INFINITY;
  frontend: CharFrontend | undefined;
  attach(frontend: CharFrontend): void {
    this.frontend = frontend;
    frontend.onEvent?.('opened');
  }
  write(bytes: Uint8Array): number {
    const count = Math.min(bytes.length, this.room);
    this.room -= count;
    this.output += Buffer.from(bytes.subarray(0, count)).toString('latin1');
    return count;
  }
  acceptInput(): void {}
  async close(): Promise<void> {}
  type(text: string): void {
    this.frontend!.receive(Buffer.from(text, 'latin1'));
  }
}

class FakeFrontend implements CharFrontend {
  input = '';
  room = Number.POSITIVE_INFINITY;
  writableCalls = 0;
  readonly events: CharEvent[] = [];
  canReceive(): number {
    return Math.min(this.room, 1000);
  }
  receive(bytes: Uint8Array): void {
    this.room -= bytes.length;
    this.input += Buffer.from(bytes).toString('latin1');
  }
  writable(): void {
    this.writableCalls++;
  }
  onEvent(event: CharEvent): void {
    this.events.push(event);
  }
}

function rig() {
  const backend = new FakeBackend();
  const log: string[] = [];
  const mux = new MuxChardev(backend, {
    exit: () => log.push('exit'),
    commit: () => log.push('commit'),
    now: () => 0,
  });
  const ports = [mux.port(), mux.port()];
  const serial = new FakeFrontend();
  const monitor = new FakeFrontend();
  ports[0]!.attach(serial);
  ports[1]!.attach(monitor);
  mux.start();
  return { backend, log, mux, ports, serial, monitor };
}

describe('multiplexer', () => {
  test('the first front end has the focus, Ctrl-a c goes to the next and back', () => {
    const { backend, serial, monitor } = rig();
    backend.type('a\x01cb\x01cd');
    expect([serial.input, monitor.input]).toEqual(['ad', 'b']);
    expect(serial.events).toEqual(['opened', 'focus', 'blur', 'focus']);
    expect(monitor.events).toEqual(['opened', 'blur', 'focus', 'blur']);
  });

  test('Ctrl-a Ctrl-a is a Ctrl-a, Ctrl-a b a break, other letters are eaten', () => {
    const { backend, serial } = rig();
    backend.type('\x01\x01\x01b\x01q.');
    expect(serial.input).toBe('\x01.');
    expect(serial.events.at(-1)).toBe('break');
  });

  test('Ctrl-a x says so and ends, Ctrl-a s commits', () => {
    const { backend, log } = rig();
    backend.type('\x01s\x01x');
    expect(log).toEqual(['commit', 'exit']);
    expect(backend.output).toBe('QEMU: Terminated\n\r');
  });

  test("Ctrl-a h prints QEMU's help", () => {
    const { backend } = rig();
    backend.type('\x01h');
    expect(backend.output.split('\n\r')).toContain('C-a c    switch between console and monitor');
  });

  test('output of all goes out; what is refused is offered again', () => {
    const { backend, ports, serial } = rig();
    backend.room = 3;
    expect(ports[0]!.write(Buffer.from('abcdef'))).toBe(3);
    backend.room = 100;
    backend.frontend!.writable!();
    expect(serial.writableCalls).toBe(1);
    ports[1]!.write(Buffer.from('XY'));
    expect(backend.output).toBe('abcXY');
  });

  test('a guest that takes no input loses none, and the monitor can still be reached', () => {
    const { backend, serial, monitor, ports } = rig();
    serial.room = 0;
    backend.type('x'.repeat(500));
    backend.type('\x01chello');
    expect(monitor.input).toBe('hello');
    serial.room = 1000;
    ports[0]!.acceptInput();
    expect(serial.input).toBe('x'.repeat(500));
  });

  test('timestamps begin each line', () => {
    const { backend, ports } = rig();
    backend.type('\x01t');
    ports[0]!.write(Buffer.from('a\nb\nc'));
    expect(backend.output).toBe('a\n[00:00:00.000] b\n[00:00:00.000] c');
  });
});

test('input queue: the reader is paused while the front end is full, nothing is lost', () => {
  const frontend = new FakeFrontend();
  const calls: string[] = [];
  const queue = new InputQueue(
    () => calls.push('pause'),
    () => calls.push('resume'),
  );
  queue.frontend = frontend;
  frontend.room = 2;
  queue.push(Buffer.from('abcd'));
  queue.push(Buffer.from('ef'));
  expect([frontend.input, ...calls]).toEqual(['ab', 'pause']);
  frontend.room = 10;
  queue.deliver();
  expect([frontend.input, ...calls]).toEqual(['abcdef', 'pause', 'resume']);
});
