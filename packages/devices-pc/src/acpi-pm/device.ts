import { byteDevice } from '../byte-device.ts';
import { createIrqOutput } from '../irq-output.ts';
import type { IoDevice } from '../ports.ts';
import { restoreState, saveState } from '../saved-state.ts';
import type { AcpiPmPorts } from './ports.ts';
import * as R from './registers.ts';
import { ACPI_PM_STATE_VERSION, acpiPmLayout } from './state.ts';

export type AcpiPm = {
  /** PM1a event block, four bytes. */
  readonly event: IoDevice;
  /** PM1a control block, two bytes. */
  readonly control: IoDevice;
  /** PM timer, four bytes. */
  readonly timer: IoDevice;
  /** Reset control register, one byte: port 0xcf9 on a PC. */
  readonly resetControl: IoDevice;
  /** The power button is pressed: the guest gets an SCI and shuts down if it wants to. */
  readonly pressPowerButton: () => void;
  readonly save: () => Uint8Array;
  /** @throws DevicesPcError `DEVICES_PC_BAD_STATE` */
  readonly restore: (saved: unknown) => void;
};

const NS = 1e9;

/**
 * ACPI fixed hardware, always in ACPI mode: there is no SMI command port, so SCI_EN reads as one (ACPI 6.4 §4.8.2.5). Sleep
 * states other than S5 are not there; asking for one does nothing, as no _Sx object names it.
 */
export function createAcpiPm(ports: AcpiPmPorts): AcpiPm {
  const { clock, state } = ports;
  const s = acpiPmLayout.view(state.buffer, state.byteOffset);
  const sci = createIrqOutput(ports.sci);
  const halfPeriod = 2 ** (ports.timerBits - 1);
  let carryTimer: Disposable | undefined;

  /** Ticks since power-on. Whole seconds first: nanoseconds times the frequency would not fit a number exactly. */
  const ticks = (): number => {
    const elapsed = Math.max(0, Math.floor(clock.monotonicNs() - s.originNs));
    const seconds = Math.floor(elapsed / NS);
    return s.baseTicks + seconds * R.PM_TIMER_HZ + Math.floor(((elapsed - seconds * NS) * R.PM_TIMER_HZ) / NS);
  };
  const raised = (): boolean => (s.status & s.enable) !== 0;

  /** TMR_STS is set whenever the counter's top bit changes (§4.8.3.3). */
  const deriveTimerStatus = (): void => {
    const halfPeriods = Math.floor(ticks() / halfPeriod);
    if (halfPeriods > s.seenHalfPeriods) s.status |= R.TMR_STS;
    s.seenHalfPeriods = halfPeriods;
  };
  const arm = (): void => {
    carryTimer?.[Symbol.dispose]();
    carryTimer = undefined;
    if ((s.enable & R.TMR_STS) === 0 || (s.status & R.TMR_STS) !== 0) return;
    const missing = (s.seenHalfPeriods + 1) * halfPeriod - ticks();
    carryTimer = clock.setTimer(clock.monotonicNs() + Math.ceil((missing * NS) / R.PM_TIMER_HZ), () => {
      carryTimer = undefined;
      update();
    });
  };
  const update = (): void => {
    deriveTimerStatus();
    sci.set(raised());
    arm();
  };

  const readEvent = (offset: number): number => {
    if (offset < R.PM1_EN) deriveTimerStatus();
    const word = offset < R.PM1_EN ? s.status : s.enable;
    return word >> (8 * (offset & 1));
  };
  const writeEvent = (offset: number, value: number): void => {
    const shift = 8 * (offset & 1);
    deriveTimerStatus();
    if (offset < R.PM1_EN) s.status &= ~(value << shift);
    else s.enable = ((s.enable & ~(0xff << shift)) | (value << shift)) & R.EN_MASK;
    update();
  };

  const readControl = (offset: number): number => (s.control | R.SCI_EN) >> (8 * offset);
  const writeControl = (offset: number, value: number): void => {
    const shift = 8 * offset;
    s.control = ((s.control & ~(0xff << shift)) | (value << shift)) & R.CNT_STORED;
    const sleeps = ((value << shift) & R.SLP_EN) !== 0;
    if (sleeps && s.control >> R.SLP_TYP_SHIFT === R.SLP_TYP_S5) ports.onPowerOff();
  };

  const readTimer = (): number => ticks() % (2 * halfPeriod);
  const writeReset = (value: number): void => {
    const rising = value & ~s.resetControl & R.RCR_RST_CPU;
    s.resetControl = value & R.RCR_STORED;
    if (rising !== 0) ports.onReset((value & R.RCR_FULL_RST) !== 0);
  };

  new Uint8Array(state.buffer, state.byteOffset, acpiPmLayout.size).fill(0);
  s.originNs = clock.monotonicNs();

  return {
    event: byteDevice(R.PM1_EVT_LEN, readEvent, writeEvent),
    control: byteDevice(R.PM1_CNT_LEN, readControl, writeControl),
    timer: {
      read: (offset, len) => (len === 4 && offset === 0 ? readTimer() : partOf(readTimer(), offset, len)),
      write: () => undefined,
    },
    resetControl: byteDevice(
      1,
      () => s.resetControl,
      (_, value) => writeReset(value),
    ),
    pressPowerButton: () => {
      s.status |= R.PWRBTN_STS;
      update();
    },
    save: () =>
      saveState(acpiPmLayout, ACPI_PM_STATE_VERSION, state, (copy) => {
        copy.baseTicks = ticks();
        copy.originNs = 0;
      }),
    restore: (saved) => {
      restoreState(acpiPmLayout, ACPI_PM_STATE_VERSION, state, saved, (c) => isCount(c.baseTicks) && isCount(c.seenHalfPeriods));
      s.originNs = clock.monotonicNs();
      s.status &= R.STS_MASK;
      s.enable &= R.EN_MASK;
      s.control &= R.CNT_STORED;
      sci.resend(raised());
      arm();
    },
  };
}

/** Bytes of a register read narrower than it is. */
function partOf(value: number, offset: number, len: number): number {
  if (offset + len > R.PM_TMR_LEN) return 2 ** (8 * len) - 1;
  return Math.floor(value / 2 ** (8 * offset)) % 2 ** (8 * len);
}

/** Counts up to 2^52: 40 years of ticks. */
const isCount = (value: number): boolean => Number.isInteger(value) && value >= 0 && value < 2 ** 52;
