/** QEMU's version that we speak like; clients look at it. Our own is in `package`. */
export const QMP_VERSION = { qemu: { micro: 0, minor: 2, major: 7 } } as const;
