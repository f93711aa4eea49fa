/** Conversions between seconds since 1970 and the time registers. */
import * as R from './registers.ts';

export const SECONDS_PER_DAY = 86_400;
const toBcd = (value: number): number => (Math.floor(value / 10) << 4) | (value % 10);
const fromBcd = (value: number): number => (value >> 4) * 10 + (value & 0x0f);

const encode = (value: number, control: number): number => ((control & R.B_DM) !== 0 ? value : toBcd(value));
const decode = (value: number, control: number): number => ((control & R.B_DM) !== 0 ? value : fromBcd(value));

/** Hours in 12-hour mode run 12, 1 ... 11 with PM in bit 7 (data sheet, table 3). */
export function encodeHours(hours: number, control: number): number {
  if ((control & R.B_24H) !== 0) return encode(hours, control);
  return encode(hours % 12 === 0 ? 12 : hours % 12, control) | (hours >= 12 ? R.HOURS_PM : 0);
}

function decodeHours(value: number, control: number): number {
  if ((control & R.B_24H) !== 0) return decode(value, control);
  const hours = decode(value & ~R.HOURS_PM, control) % 12;
  return (value & R.HOURS_PM) !== 0 ? hours + 12 : hours;
}

/** Writes the time registers for `seconds` since 1970 in the format that register B asks for. */
export function storeTime(ram: Uint8Array, seconds: number): void {
  const control = ram[R.REGISTER_B];
  const date = new Date(seconds * 1000);
  const year = date.getUTCFullYear();
  ram[R.SECONDS] = encode(date.getUTCSeconds(), control);
  ram[R.MINUTES] = encode(date.getUTCMinutes(), control);
  ram[R.HOURS] = encodeHours(date.getUTCHours(), control);
  ram[R.DAY_OF_WEEK] = encode(date.getUTCDay() + 1, control);
  ram[R.DAY_OF_MONTH] = encode(date.getUTCDate(), control);
  ram[R.MONTH] = encode(date.getUTCMonth() + 1, control);
  ram[R.YEAR] = encode(year % 100, control);
  ram[R.CENTURY] = encode(Math.floor(year / 100) % 100, control);
}

/** Seconds since 1970 of the time registers. Impossible dates (month 0, hour 99) carry over into the next field. */
export function loadTime(ram: Uint8Array): number {
  const control = ram[R.REGISTER_B];
  const year = decode(ram[R.CENTURY], control) * 100 + decode(ram[R.YEAR], control);
  const date = new Date(0);
  // Not Date.UTC: it takes years below 100 for the 1900s.
  date.setUTCFullYear(year, decode(ram[R.MONTH], control) - 1, decode(ram[R.DAY_OF_MONTH], control));
  const hours = decodeHours(ram[R.HOURS], control);
  return date.getTime() / 1000 + hours * 3600 + decode(ram[R.MINUTES], control) * 60 + decode(ram[R.SECONDS], control);
}

/** Whether the alarm bytes match the time of day of `seconds`; compared as bytes, as the chip does. */
export function alarmMatches(ram: Uint8Array, seconds: number): boolean {
  const control = ram[R.REGISTER_B];
  const day = ((seconds % SECONDS_PER_DAY) + SECONDS_PER_DAY) % SECONDS_PER_DAY;
  const matches = (alarm: number, value: number): boolean => alarm >= R.ALARM_ANY || alarm === value;
  return (
    matches(ram[R.SECONDS_ALARM], encode(day % 60, control)) &&
    matches(ram[R.MINUTES_ALARM], encode(Math.floor(day / 60) % 60, control)) &&
    matches(ram[R.HOURS_ALARM], encodeHours(Math.floor(day / 3600), control))
  );
}
