import type { View } from '@tsvisor/state-layout';
import { byteDevice } from '../byte-device.ts';
import { createIrqOutput } from '../irq-output.ts';
import type { IoDevice } from '../ports.ts';
import { restoreState, saveState } from '../saved-state.ts';
import type { I8042Ports } from './ports.ts';
import * as R from './registers.ts';
import { I8042_STATE_VERSION, i8042Layout, QUEUE_SIZE } from './state.ts';

export type I8042 = {
  /** One byte: port 0x60 on a PC. */
  readonly data: IoDevice;
  /** One byte: status when read, commands when written; port 0x64 on a PC. */
  readonly command: IoDevice;
  readonly save: () => Uint8Array;
  /** @throws DevicesPcError `DEVICES_PC_BAD_STATE` */
  readonly restore: (saved: unknown) => void;
};

/**
 * The PC/AT keyboard controller with nothing plugged in. The controller itself answers everything; bytes for a keyboard or an
 * auxiliary device come back at once as the time-out that the real one reports after 15 ms, so a driver gives up quickly.
 */
export function createI8042(ports: I8042Ports): I8042 {
  const { state } = ports;
  const s = i8042Layout.view(state.buffer, state.byteOffset);
  const keyboardIrq = createIrqOutput(ports.keyboardIrq);
  const auxIrq = createIrqOutput(ports.auxIrq);

  const headFlags = (): number => (s.queueCount > 0 ? R.STATUS_OBF | s.queueFlags[s.queueHead] : 0);
  const keyboardRaised = (): boolean =>
    (s.ram[0] & R.CB_KEYBOARD_INT) !== 0 && (headFlags() & (R.STATUS_OBF | R.STATUS_AUX_OBF)) === R.STATUS_OBF;
  const auxRaised = (): boolean => (s.ram[0] & R.CB_AUX_INT) !== 0 && (headFlags() & R.STATUS_AUX_OBF) !== 0;
  const updateIrqs = (): void => {
    keyboardIrq.set(keyboardRaised());
    auxIrq.set(auxRaised());
  };

  const answer = (byte: number, flags: number): void => {
    // A guest that never reads loses answers beyond the queue, as one that overruns the real controller does.
    if (s.queueCount === QUEUE_SIZE) return;
    const at = (s.queueHead + s.queueCount) % QUEUE_SIZE;
    s.queue[at] = byte;
    s.queueFlags[at] = flags;
    s.queueCount++;
    updateIrqs();
  };
  const readData = (): number => {
    if (s.queueCount === 0) return s.data;
    s.data = s.queue[s.queueHead];
    s.queueHead = (s.queueHead + 1) % QUEUE_SIZE;
    s.queueCount--;
    // The next byte makes a new edge: the lines fall before they may rise again.
    keyboardIrq.set(false);
    auxIrq.set(false);
    updateIrqs();
    return s.data;
  };
  const readStatus = (): number => (s.ram[0] & R.CB_SYSTEM) | s.lastWrite | R.STATUS_UNLOCKED | headFlags();

  const writeOutputPort = (value: number): void => {
    const changed = s.outputPort ^ value;
    s.outputPort = value;
    if ((changed & R.OUT_A20) !== 0) ports.onA20((value & R.OUT_A20) !== 0);
    if ((value & R.OUT_NOT_RESET) === 0) ports.onReset();
  };
  const readOutputPort = (): number => {
    const flags = headFlags();
    let full = 0;
    if ((flags & R.STATUS_OBF) !== 0) full = (flags & R.STATUS_AUX_OBF) !== 0 ? R.OUT_AUX_OBF : R.OUT_KEYBOARD_OBF;
    return (s.outputPort & ~(R.OUT_AUX_OBF | R.OUT_KEYBOARD_OBF)) | full;
  };
  const setCommandByte = (value: number): void => {
    s.ram[0] = value;
    updateIrqs();
  };
  const selfTest = (): void => {
    // After its test the controller has both devices' clocks held and the system flag set.
    s.queueCount = 0;
    setCommandByte((s.ram[0] & R.CB_TRANSLATE) | R.CB_SYSTEM | R.CB_KEYBOARD_DISABLED | R.CB_AUX_DISABLED);
    answer(R.SELF_TEST_PASSED, 0);
  };

  const takesData = (command: number): boolean =>
    (command >= R.CMD_WRITE_RAM && command < R.CMD_WRITE_RAM + R.RAM_SIZE) ||
    (command >= R.CMD_WRITE_OUTPUT_PORT && command <= R.CMD_WRITE_AUX);
  const writeCommand = (command: number): void => {
    s.lastWrite = R.STATUS_COMMAND;
    s.pendingCommand = takesData(command) ? command : 0;
    if (command >= R.CMD_READ_RAM && command < R.CMD_READ_RAM + R.RAM_SIZE) answer(s.ram[command - R.CMD_READ_RAM], 0);
    else if (command >= R.CMD_PULSE) {
      if ((command & R.OUT_NOT_RESET) === 0) ports.onReset();
    } else runCommand(command);
  };
  const runCommand = (command: number): void => {
    if (command === R.CMD_DISABLE_AUX) setCommandByte(s.ram[0] | R.CB_AUX_DISABLED);
    else if (command === R.CMD_ENABLE_AUX) setCommandByte(s.ram[0] & ~R.CB_AUX_DISABLED);
    else if (command === R.CMD_TEST_AUX || command === R.CMD_TEST_KEYBOARD) answer(R.TEST_PASSED, 0);
    else if (command === R.CMD_SELF_TEST) selfTest();
    else if (command === R.CMD_DISABLE_KEYBOARD) setCommandByte(s.ram[0] | R.CB_KEYBOARD_DISABLED);
    else if (command === R.CMD_ENABLE_KEYBOARD) setCommandByte(s.ram[0] & ~R.CB_KEYBOARD_DISABLED);
    else if (command === R.CMD_READ_INPUT_PORT) answer(R.INPUT_PORT, 0);
    else if (command === R.CMD_READ_OUTPUT_PORT) answer(readOutputPort(), 0);
    else if (command === R.CMD_DISABLE_A20) writeOutputPort(s.outputPort & ~R.OUT_A20);
    else if (command === R.CMD_ENABLE_A20) writeOutputPort(s.outputPort | R.OUT_A20);
    else if (command === R.CMD_READ_TEST_INPUTS) answer(0, 0);
  };

  const writeData = (value: number): void => {
    const command = s.pendingCommand;
    s.lastWrite = 0;
    s.pendingCommand = 0;
    if (command >= R.CMD_WRITE_RAM && command < R.CMD_WRITE_RAM + R.RAM_SIZE) {
      s.ram[command - R.CMD_WRITE_RAM] = value;
      updateIrqs();
    } else if (command === R.CMD_WRITE_OUTPUT_PORT) writeOutputPort(value);
    else if (command === R.CMD_WRITE_KEYBOARD_BUFFER) answer(value, 0);
    else if (command === R.CMD_WRITE_AUX_BUFFER) answer(value, R.STATUS_AUX_OBF);
    else if (command === R.CMD_WRITE_AUX) answer(R.NO_ANSWER, R.STATUS_AUX_OBF | R.STATUS_TIMEOUT);
    else {
      // A byte for the keyboard enables its clock line again (IBM PS/2 technical reference, command ADh).
      s.ram[0] &= ~R.CB_KEYBOARD_DISABLED;
      answer(R.NO_ANSWER, R.STATUS_TIMEOUT);
    }
  };

  new Uint8Array(state.buffer, state.byteOffset, i8042Layout.size).fill(0);
  s.ram[0] = R.CB_KEYBOARD_INT | R.CB_SYSTEM | R.CB_TRANSLATE | R.CB_AUX_DISABLED;
  s.outputPort = R.OUT_LINES_HIGH | R.OUT_NOT_RESET | R.OUT_A20;

  return {
    data: byteDevice(1, readData, (_, value) => writeData(value)),
    command: byteDevice(1, readStatus, (_, value) => writeCommand(value)),
    save: () => saveState(i8042Layout, I8042_STATE_VERSION, state),
    restore: (saved) => {
      restoreState(i8042Layout, I8042_STATE_VERSION, state, saved, isPossible);
      ports.onA20((s.outputPort & R.OUT_A20) !== 0);
      keyboardIrq.resend(keyboardRaised());
      auxIrq.resend(auxRaised());
    },
  };
}

function isPossible(candidate: View<typeof i8042Layout.schema>): boolean {
  const flags = R.STATUS_AUX_OBF | R.STATUS_TIMEOUT;
  return (
    candidate.queueHead < QUEUE_SIZE &&
    candidate.queueCount <= QUEUE_SIZE &&
    (candidate.lastWrite & ~R.STATUS_COMMAND) === 0 &&
    candidate.queueFlags.every((bits) => (bits & ~flags) === 0)
  );
}
