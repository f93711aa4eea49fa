/** Where things are in a microvm. Ports and interrupts are those of every PC since the AT, so that kernels find them blind. */
export const KEYBOARD = { data: 0x60, command: 0x64, irq: 1, auxIrq: 12 } as const;
export const RTC = { port: 0x70, irq: 8 } as const;
export const DELAY_PORT = 0x80;
export const FW_CFG = 0x510;
export const PORT_92 = 0x92;
export const SERIAL = [
  { name: 'com1', port: 0x3f8, irq: 4 },
  { name: 'com2', port: 0x2f8, irq: 3 },
] as const;

/** ACPI fixed hardware; the FADT says where. GSI 9 is where PC chipsets have their SCI. */
export const PM = { event: 0x600, control: 0x604, timer: 0x608, timerBits: 32, resetPort: 0xcf9, sciGsi: 9 } as const;

/** PCI's configuration address, which has the reset register in its second byte. */
export const PCI_ADDRESS = 0xcf8;

export const LOCAL_APIC = 0xfee0_0000;
export const IO_APIC = 0xfec0_0000;

/**
 * F000:FFF0, where firmware starts: there is none, but software that goes there means to start the machine again. It pulses the
 * keyboard controller's reset line, in whatever mode it is run.
 */
export const RESET_ENTRY = {
  address: 0xf_fff0,
  code: [0xb0, 0xfe, 0xe6, KEYBOARD.command, 0xf4, 0xeb, 0xfd], // mov al, 0xfe; out 0x64, al; hlt; jmp to the hlt
} as const;

/** RAM ends at 640 KiB and goes on after the window of a display adapter, 128 KiB, which is empty here. */
export const VIDEO_WINDOW = { start: 0xa_0000, end: 0xc_0000 } as const;
