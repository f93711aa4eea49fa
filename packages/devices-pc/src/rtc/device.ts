import { byteDevice } from '../byte-device.ts';
import { createIrqOutput } from '../irq-output.ts';
import type { IoDevice } from '../ports.ts';
import { restoreState, saveState } from '../saved-state.ts';
import { alarmMatches, SECONDS_PER_DAY } from './calendar.ts';
import { describeMachine } from './cmos.ts';
import type { RtcPorts } from './ports.ts';
import * as R from './registers.ts';
import { RTC_STATE_VERSION, rtcLayout } from './state.ts';
import * as T from './time.ts';

export type Rtc = {
  /** Index and data, then index and data of the second RAM bank: ports 0x70 to 0x73 on a PC. */
  readonly io: IoDevice;
  readonly save: () => Uint8Array;
  /** @throws DevicesPcError `DEVICES_PC_BAD_STATE` */
  readonly restore: (saved: unknown) => void;
};

const BANK = 128;
const isTimeRegister = (index: number): boolean =>
  index === R.CENTURY || (index <= R.YEAR && (index % 2 === 0 || index >= R.DAY_OF_WEEK));

/**
 * The MC146818A real-time clock with 256 bytes of battery-backed RAM (Motorola data sheet). Time is the host's real time plus
 * what the guest has set. Flags are derived when somebody looks; timers run only for enabled interrupts. Daylight saving (DSE)
 * and the square wave (SQWE) are stored without effect; the day of the week follows from the date.
 */
export function createRtc(ports: RtcPorts): Rtc {
  const { clock, state } = ports;
  const s = rtcLayout.view(state.buffer, state.byteOffset);
  const irq = createIrqOutput(ports.irq);
  let timer: Disposable | undefined;

  const raised = (): boolean => (s.ram[R.REGISTER_C] & s.ram[R.REGISTER_B] & R.C_FLAGS) !== 0;

  const alarmPassed = (from: number, to: number): boolean => {
    // A day holds every time of day; a clock that jumped further has passed each alarm there is.
    const first = Math.max(from + 1, to - SECONDS_PER_DAY + 1);
    for (let second = first; second <= to; second++) if (alarmMatches(s.ram, second)) return true;
    return false;
  };
  const periodOf = (ticks: number): number => {
    const length = T.periodicTicks(s.ram[R.REGISTER_A] & R.A_RATE);
    return length === 0 ? 0 : Math.floor(ticks / length);
  };
  /** Sets the flags for everything that happened since the last call. */
  const deriveFlags = (): void => {
    const now = T.guestTime(s, clock);
    const ticks = T.crystalTicks(now);
    const dividerRuns = (s.ram[R.REGISTER_A] & R.A_DIVIDER_RESET) !== R.A_DIVIDER_RESET;
    if (dividerRuns && periodOf(ticks) > periodOf(s.seenTicks)) s.ram[R.REGISTER_C] |= R.C_PF;
    if (T.isRunning(s) && now.seconds > s.seenSeconds) {
      s.ram[R.REGISTER_C] |= R.C_UF;
      if (alarmPassed(s.seenSeconds, now.seconds)) s.ram[R.REGISTER_C] |= R.C_AF;
    }
    s.seenTicks = ticks;
    s.seenSeconds = now.seconds;
  };
  /** After the clock was set: nothing before this moment counts as having happened. */
  const forgetPast = (): void => {
    const now = T.guestTime(s, clock);
    s.seenTicks = T.crystalTicks(now);
    s.seenSeconds = now.seconds;
  };

  const nextEventNs = (): number => {
    const control = s.ram[R.REGISTER_B];
    const now = T.guestTime(s, clock);
    let ns = Number.POSITIVE_INFINITY;
    const length = T.periodicTicks(s.ram[R.REGISTER_A] & R.A_RATE);
    if ((control & R.B_PIE) !== 0 && length > 0) ns = T.nsUntilTick(now, (Math.floor(T.crystalTicks(now) / length) + 1) * length);
    if ((control & (R.B_AIE | R.B_UIE)) !== 0 && T.isRunning(s)) ns = Math.min(ns, 1_000_000_000 - now.ns);
    return ns;
  };
  const arm = (): void => {
    timer?.[Symbol.dispose]();
    timer = undefined;
    // A raised line tells nothing new until register C is read.
    if ((s.ram[R.REGISTER_B] & R.C_FLAGS) === 0 || raised()) return;
    const ns = nextEventNs();
    if (ns === Number.POSITIVE_INFINITY) return;
    timer = clock.setTimer(clock.monotonicNs() + ns, () => {
      timer = undefined;
      update();
    });
  };
  const update = (): void => {
    deriveFlags();
    irq.set(raised());
    arm();
  };

  const readFlags = (): number => {
    deriveFlags();
    const flags = s.ram[R.REGISTER_C] | (raised() ? R.C_IRQF : 0);
    s.ram[R.REGISTER_C] = 0;
    irq.set(false);
    arm();
    return flags;
  };
  const readCell = (index: number): number => {
    if (index === R.REGISTER_A) return s.ram[R.REGISTER_A] | (T.updateInProgress(s, clock) ? R.A_UIP : 0);
    if (index === R.REGISTER_C) return readFlags();
    if (index === R.REGISTER_D) return R.D_VRT;
    if (isTimeRegister(index)) T.refreshRegisters(s, clock);
    return s.ram[index];
  };

  /** Changes register A or B with what that means for a clock that stops, starts or keeps going. */
  const writeControl = (index: number, value: number): void => {
    deriveFlags();
    T.refreshRegisters(s, clock);
    const wasRunning = T.isRunning(s);
    const wasReset = (s.ram[R.REGISTER_A] & R.A_DIVIDER_RESET) === R.A_DIVIDER_RESET;
    const phase = T.guestTime(s, clock).ns;
    s.ram[index] = value;
    if (wasReset && (s.ram[R.REGISTER_A] & R.A_DIVIDER_RESET) !== R.A_DIVIDER_RESET) {
      // The first update comes half a second after the divider is released (data sheet, "divider control").
      T.restartFromRegisters(s, clock, 500_000_000);
      forgetPast();
    } else if (!wasRunning && T.isRunning(s)) {
      T.restartFromRegisters(s, clock, phase);
      forgetPast();
    }
  };
  const writeCell = (index: number, value: number): void => {
    if (index === R.REGISTER_C || index === R.REGISTER_D) return;
    if (index === R.REGISTER_A) writeControl(index, value & ~R.A_UIP);
    // SET going high clears UIE (data sheet, register B).
    else if (index === R.REGISTER_B) writeControl(index, (value & R.B_SET) !== 0 ? value & ~R.B_UIE : value);
    else if (isTimeRegister(index)) {
      T.refreshRegisters(s, clock);
      s.ram[index] = value;
      if (T.isRunning(s)) {
        T.restartFromRegisters(s, clock, T.guestTime(s, clock).ns);
        forgetPast();
      }
    } else {
      deriveFlags();
      s.ram[index] = value;
    }
    update();
  };

  const readPort = (port: number): number => {
    if (port === R.DATA_PORT) return readCell(s.index);
    if (port === R.EXTENDED_DATA_PORT) return s.ram[BANK + s.extendedIndex];
    // The index port of a PC is write-only; the second bank's can be read back.
    return port === R.EXTENDED_INDEX_PORT ? s.extendedIndex : 0xff;
  };
  const writePort = (port: number, value: number): void => {
    if (port === R.INDEX_PORT) {
      s.index = value & 0x7f;
      ports.onNmiMask?.((value & R.NMI_MASKED) !== 0);
    } else if (port === R.DATA_PORT) writeCell(s.index, value);
    else if (port === R.EXTENDED_INDEX_PORT) s.extendedIndex = value & 0x7f;
    else s.ram[BANK + s.extendedIndex] = value;
  };

  new Uint8Array(state.buffer, state.byteOffset, rtcLayout.size).fill(0);
  s.ram[R.REGISTER_A] = R.A_DIVIDER_32KHZ | R.A_RATE_1024HZ;
  s.ram[R.REGISTER_B] = R.B_24H;
  describeMachine(s.ram, ports.machine);
  forgetPast();
  T.refreshRegisters(s, clock);

  return {
    io: byteDevice(R.PORT_COUNT, readPort, writePort),
    save: () => saveState(rtcLayout, RTC_STATE_VERSION, state),
    restore: (saved) => {
      restoreState(rtcLayout, RTC_STATE_VERSION, state, saved, isPossible);
      deriveFlags();
      irq.resend(raised());
      arm();
    },
  };
}

/** Offsets below 30,000 years keep every later computation finite and exact. */
function isPossible(candidate: T.RtcState): boolean {
  const limit = 1e12;
  return (
    candidate.index < BANK &&
    candidate.extendedIndex < BANK &&
    Number.isInteger(candidate.offsetSeconds) &&
    Math.abs(candidate.offsetSeconds) < limit &&
    Number.isInteger(candidate.offsetNs) &&
    candidate.offsetNs >= 0 &&
    candidate.offsetNs < 1e9 &&
    Math.abs(candidate.seenSeconds) < limit &&
    Math.abs(candidate.seenTicks) < limit * 32_768
  );
}
