/** The PC/AT keyboard controller (Intel 8042/8742 with IBM's program; IBM PS/2 technical reference, "keyboard and auxiliary device controller"). */

/** Status register, read at the command port. */
export const STATUS_OBF = 0x01;
export const STATUS_SYSTEM = 0x04;
/** Last write went to the command port. */
export const STATUS_COMMAND = 0x08;
/** Keyboard not locked. */
export const STATUS_UNLOCKED = 0x10;
export const STATUS_AUX_OBF = 0x20;
export const STATUS_TIMEOUT = 0x40;

/** Command byte: cell 0 of the controller's RAM. */
export const CB_KEYBOARD_INT = 0x01;
export const CB_AUX_INT = 0x02;
export const CB_SYSTEM = 0x04;
export const CB_KEYBOARD_DISABLED = 0x10;
export const CB_AUX_DISABLED = 0x20;
export const CB_TRANSLATE = 0x40;

/** Output port. The two upper bits follow the output buffer. */
export const OUT_NOT_RESET = 0x01;
export const OUT_A20 = 0x02;
export const OUT_KEYBOARD_OBF = 0x10;
export const OUT_AUX_OBF = 0x20;
export const OUT_LINES_HIGH = 0xcc;

export const RAM_SIZE = 32;

/** Commands, written at the command port. */
export const CMD_READ_RAM = 0x20;
export const CMD_WRITE_RAM = 0x60;
export const CMD_DISABLE_AUX = 0xa7;
export const CMD_ENABLE_AUX = 0xa8;
export const CMD_TEST_AUX = 0xa9;
export const CMD_SELF_TEST = 0xaa;
export const CMD_TEST_KEYBOARD = 0xab;
export const CMD_DISABLE_KEYBOARD = 0xad;
export const CMD_ENABLE_KEYBOARD = 0xae;
export const CMD_READ_INPUT_PORT = 0xc0;
export const CMD_READ_OUTPUT_PORT = 0xd0;
export const CMD_WRITE_OUTPUT_PORT = 0xd1;
export const CMD_WRITE_KEYBOARD_BUFFER = 0xd2;
export const CMD_WRITE_AUX_BUFFER = 0xd3;
export const CMD_WRITE_AUX = 0xd4;
export const CMD_DISABLE_A20 = 0xdd;
export const CMD_ENABLE_A20 = 0xdf;
export const CMD_READ_TEST_INPUTS = 0xe0;
/** 0xf0 to 0xff pulse the output port bits whose command bit is 0. */
export const CMD_PULSE = 0xf0;

export const SELF_TEST_PASSED = 0x55;
export const TEST_PASSED = 0x00;
/** What the controller puts in place of an answer when no device starts clocking (with STATUS_TIMEOUT). */
export const NO_ANSWER = 0xfe;
/** Input port: keyboard not inhibited, manufacturing jumper absent. */
export const INPUT_PORT = 0xa0;
