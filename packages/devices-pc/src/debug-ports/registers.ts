/** What the debug console reads as; guests look for it before they write (Bochs, port 0xe9). */
export const DEBUG_CONSOLE_PRESENT = 0xe9;
