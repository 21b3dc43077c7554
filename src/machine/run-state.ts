/** Run states and which follow which; QEMU's names (qapi/run-state.json). */
export type RunState =
  | 'prelaunch'
  | 'running'
  | 'paused'
  /** A debugger's breakpoint, watchpoint or single step. */
  | 'debug'
  | 'save-vm'
  | 'restore-vm'
  | 'suspended'
  | 'shutdown'
  | 'io-error'
  /** RAM of a snapshot that is loaded lazily cannot be had: only another loadvm or a reset helps. */
  | 'internal-error'
  | 'guest-panicked';

const NEXT: Readonly<Record<RunState, readonly RunState[]>> = {
  prelaunch: ['running', 'paused', 'save-vm', 'restore-vm', 'shutdown', 'prelaunch'],
  running: [
    'debug',
    'paused',
    'save-vm',
    'restore-vm',
    'suspended',
    'shutdown',
    'io-error',
    'internal-error',
    'guest-panicked',
    'prelaunch',
  ],
  paused: ['running', 'save-vm', 'restore-vm', 'shutdown', 'prelaunch', 'paused', 'internal-error', 'debug'],
  debug: ['running', 'save-vm', 'restore-vm', 'shutdown', 'prelaunch', 'paused', 'internal-error', 'debug'],
  'save-vm': ['running', 'paused', 'debug', 'prelaunch', 'suspended', 'shutdown'],
  'restore-vm': ['running', 'paused', 'debug', 'prelaunch', 'suspended', 'shutdown'],
  suspended: ['running', 'paused', 'save-vm', 'restore-vm', 'shutdown', 'prelaunch'],
  shutdown: ['paused', 'prelaunch', 'restore-vm', 'running', 'shutdown'],
  'io-error': ['running', 'paused', 'restore-vm', 'shutdown', 'prelaunch'],
  'internal-error': ['paused', 'restore-vm', 'shutdown', 'prelaunch'],
  'guest-panicked': ['paused', 'prelaunch', 'restore-vm', 'shutdown', 'running'],
};

export function assertTransition(from: RunState, to: RunState): void {
  if (!NEXT[from].includes(to)) throw new Error(`run state ${from} cannot become ${to}`);
}
