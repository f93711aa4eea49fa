import { PM_TMR_LEN, PM1_CNT_LEN, PM1_EVT_LEN, RESET_VALUE } from '../acpi-pm/registers.ts';
import { CENTURY } from '../rtc/registers.ts';
import { ascii, u16, u32, u64 } from './bytes.ts';
import type { AcpiConfig } from './config.ts';
import { table } from './table.ts';

const REVISION = 6;
const LENGTH = 276;
const HEADER = 36;

/** Fixed feature flags (ACPI 6.4 table 5.10). */
const WBINVD = 1 << 0;
const PROC_C1 = 1 << 2;
/** No sleep button and no RTC wake-up in the fixed registers; the power button, whose flag stays 0, is there. */
const SLP_BUTTON = 1 << 5;
const FIX_RTC = 1 << 6;
const TMR_VAL_EXT = 1 << 8;
const RESET_REG_SUP = 1 << 10;

/** IA-PC boot architecture flags (table 5.11). */
const LEGACY_DEVICES = 1 << 0;
const HAS_8042 = 1 << 1;
const NO_VGA = 1 << 2;
const NO_CMOS_RTC = 1 << 5;

/** Latencies above 100 and 1000 us say that there is no C2 and no C3. */
const NO_C2 = 101;
const NO_C3 = 1001;

const SYSTEM_IO = 1;
/** Access sizes of a generic address (table 5.1). */
const ACCESS_BYTE = 1;
const ACCESS_WORD = 2;
const ACCESS_DWORD = 3;

/** The fixed ACPI description table: where the fixed hardware is (ACPI 6.4 §5.2.9). */
export function buildFadt(config: AcpiConfig, facsAddress: number, dsdtAddress: number): Uint8Array {
  const { pm } = config;
  const body = new Uint8Array(LENGTH - HEADER);
  const put = (at: number, bytes: Uint8Array): void => body.set(bytes, at - HEADER);
  const putByte = (at: number, value: number): void => put(at, Uint8Array.of(value));
  const putPort = (at: number, port: number, bytes: number, access: number): void => {
    put(at, Uint8Array.of(SYSTEM_IO, 8 * bytes, 0, access));
    put(at + 4, u64(port));
  };

  // The 64-bit FACS address stays 0: systems install the table twice when both are given. The DSDT's may be given twice.
  put(36, u32(facsAddress));
  put(40, u32(dsdtAddress));
  put(46, u16(pm.sciGsi));
  // SMI_CMD, ACPI_ENABLE and ACPI_DISABLE stay 0: the machine is always in ACPI mode.
  put(56, u32(pm.event));
  put(64, u32(pm.control));
  put(76, u32(pm.timer));
  putByte(88, PM1_EVT_LEN);
  putByte(89, PM1_CNT_LEN);
  putByte(91, PM_TMR_LEN);
  put(96, u16(NO_C2));
  put(98, u16(NO_C3));
  putByte(108, config.rtc === undefined ? 0 : CENTURY);
  put(109, u16(bootFlags(config)));
  const timerFlag = pm.timerBits === 32 ? TMR_VAL_EXT : 0;
  put(112, u32(WBINVD | PROC_C1 | SLP_BUTTON | FIX_RTC | timerFlag | RESET_REG_SUP));
  putPort(116, pm.resetPort, 1, ACCESS_BYTE);
  putByte(128, RESET_VALUE);
  put(140, u64(dsdtAddress));
  putPort(148, pm.event, PM1_EVT_LEN, ACCESS_WORD);
  putPort(172, pm.control, PM1_CNT_LEN, ACCESS_WORD);
  putPort(208, pm.timer, PM_TMR_LEN, ACCESS_DWORD);
  put(268, ascii('TSVISOR', 8));
  return table('FACP', REVISION, body);
}

function bootFlags(config: AcpiConfig): number {
  let flags = LEGACY_DEVICES | NO_VGA;
  if (config.keyboardController !== undefined) flags |= HAS_8042;
  if (config.rtc === undefined) flags |= NO_CMOS_RTC;
  return flags;
}
