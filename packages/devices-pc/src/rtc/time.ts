import type { View } from '@tsvisor/state-layout';
import type { Clock } from '../ports.ts';
import { loadTime, storeTime } from './calendar.ts';
import * as R from './registers.ts';
import type { rtcLayout } from './state.ts';

export type RtcState = View<typeof rtcLayout.schema>;

const NS = 1_000_000_000;
const NS_BIG = 1_000_000_000n;
const CRYSTAL_HZ = 32_768;

/** Time since 1970 as the guest has it: whole seconds and nanoseconds within the second. */
export type GuestTime = { readonly seconds: number; readonly ns: number };

/** The clock runs unless SET freezes the registers or the divider is held in reset. */
export function isRunning(s: RtcState): boolean {
  return (s.ram[R.REGISTER_B] & R.B_SET) === 0 && (s.ram[R.REGISTER_A] & R.A_DIVIDER_RESET) !== R.A_DIVIDER_RESET;
}

function hostTime(clock: Clock): GuestTime {
  const now = clock.realtimeNs();
  return { seconds: Number(now / NS_BIG), ns: Number(now % NS_BIG) };
}

export function guestTime(s: RtcState, clock: Clock): GuestTime {
  const host = hostTime(clock);
  const ns = host.ns + s.offsetNs;
  const carry = ns >= NS ? 1 : 0;
  return { seconds: host.seconds + s.offsetSeconds + carry, ns: ns - carry * NS };
}

/** Sets the guest's time from the time registers, `ns` into their second. */
export function restartFromRegisters(s: RtcState, clock: Clock, ns: number): void {
  const host = hostTime(clock);
  const borrow = ns < host.ns ? 1 : 0;
  s.offsetSeconds = loadTime(s.ram) - host.seconds - borrow;
  s.offsetNs = ns - host.ns + borrow * NS;
}

/** Brings the time registers up to date. */
export function refreshRegisters(s: RtcState, clock: Clock): void {
  if (isRunning(s)) storeTime(s.ram, guestTime(s, clock).seconds);
}

/** Periods of the crystal up to a time. */
export function crystalTicks(time: GuestTime): number {
  return time.seconds * CRYSTAL_HZ + Math.floor((time.ns * CRYSTAL_HZ) / NS);
}

/** Crystal periods per periodic interrupt, 0 for none; rates 1 and 2 repeat 8 and 9 (data sheet, table 5). */
export function periodicTicks(rate: number): number {
  if (rate === 0) return 0;
  return 2 ** ((rate <= 2 ? rate + 7 : rate) - 1);
}

/** Nanoseconds until the crystal has made `ticks` periods since 1970; at least 1. */
export function nsUntilTick(time: GuestTime, ticks: number): number {
  const seconds = Math.floor(ticks / CRYSTAL_HZ);
  const ns = Math.ceil(((ticks % CRYSTAL_HZ) * NS) / CRYSTAL_HZ);
  return Math.max(1, (seconds - time.seconds) * NS + ns - time.ns);
}

/** In the last 2.2 ms of a second the registers are about to change (data sheet, "update cycle"). */
export function updateInProgress(s: RtcState, clock: Clock): boolean {
  return isRunning(s) && guestTime(s, clock).ns >= NS - R.UPDATE_NS;
}
