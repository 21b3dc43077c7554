// npm run bench -- [boot] [cpu] [snapshot] [mips] [options]; see options.ts. The harness itself is TypeScript and not measured.
import { register } from 'tsx/esm/api';

register();
await import('./main.ts');
