/** Keys and formats of the firmware configuration device (QEMU, docs/specs/fw_cfg, "QEMU Firmware Configuration (fw_cfg) Device"). */

/** Offsets of the two ports: a selector of 16 bits, and behind its first byte the data. */
export const FwCfgPort = { selector: 0, data: 1, size: 2 } as const;

export const Key = { signature: 0x00, id: 0x01, ramSize: 0x03, cpus: 0x05, maxCpus: 0x0f, fileDirectory: 0x19 } as const;

/** `id`: the traditional interface, without DMA. */
export const ID_TRADITIONAL = 1;
