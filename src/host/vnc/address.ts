/** Where a VNC server listens, and how it treats a client that wants to be alone. */

export type VncAddress =
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number }
  | { readonly kind: 'unix'; readonly path: string };

/** Whether a client that wants to be alone throws the others out (QEMU's `share=`). */
export type VncShare = 'allow-exclusive' | 'force-shared' | 'ignore';
