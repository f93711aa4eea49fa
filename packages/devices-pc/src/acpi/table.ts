import { ascii, checksum, concat, u8, u32 } from './bytes.ts';

export const OEM_ID = 'TSVISR';
const OEM_TABLE_ID = 'TSVISOR';
const CREATOR_ID = 'TSVR';
const CHECKSUM_AT = 9;

/** A system description table: the common header of 36 bytes, the body, the checksum over both (ACPI 6.4 §5.2.6). */
export function table(signature: string, revision: number, body: Uint8Array): Uint8Array {
  const bytes = concat([
    ascii(signature, 4),
    u32(36 + body.length),
    u8(revision),
    u8(0),
    ascii(OEM_ID, 6),
    ascii(OEM_TABLE_ID, 8),
    u32(1),
    ascii(CREATOR_ID, 4),
    u32(1),
    body,
  ]);
  bytes[CHECKSUM_AT] = checksum(bytes);
  return bytes;
}
