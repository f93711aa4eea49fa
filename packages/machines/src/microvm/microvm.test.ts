import type { ProcessorConfig, ProcessorExit } from '@tsvisor/vmm-core';
import { describe, expect, it } from 'vitest';
import type { MachineConfig } from '../machine.ts';
import { createFakeEngine } from '../testing/fake-engine.ts';
import { makeKernel } from '../testing/kernels.ts';
import { createMicrovmFactory } from './microvm.ts';

type Step = (cpu: ProcessorConfig) => ProcessorExit | undefined;

/** A machine whose guest does one step per stay and, after the last, powers off through ACPI. */
async function setup(steps: readonly Step[] = [], change: Partial<MachineConfig> = {}) {
  let at = 0;
  const engine = createFakeEngine((config) => {
    const step = steps[at++];
    if (step === undefined) config.pio.write(0x604, 2, 0x2000 | (5 << 10));
    return step?.(config) ?? { reason: 'budget' };
  });
  const output = ['', ''];
  const sink = (port: 0 | 1) => ({
    write: (bytes: Uint8Array) => {
      output[port] += Buffer.from(bytes).toString('latin1');
    },
  });
  const machine = await createMicrovmFactory(engine).create({
    memoryBytes: 32 << 20,
    cpuModel: 'fake',
    kernel: makeKernel(),
    cmdline: 'console=ttyS0',
    serial: [sink(0), sink(1)],
    ...change,
  });
  return { machine, engine, output };
}

/** Reads guest memory as the processor would: through its paging unit, with paging off. */
function guestByte(config: ProcessorConfig, gpa: number): number {
  const fill = config.mmu.exports.fill as (va: bigint, access: number) => number;
  const host = fill(BigInt(gpa), 0);
  return host === 0 || host === -1 ? -1 : new Uint8Array(config.memory.buffer)[host >>> 0];
}

describe('a microvm ends', () => {
  const endings: readonly [string, string, Step][] = [
    ['poweroff', 'PM1a control: SLP_TYP 5 with SLP_EN (ACPI 6.4 §4.8.3.2)', () => undefined],
    ['reset', 'the reset register 0xcf9', (cpu) => void cpu.pio.write(0xcf9, 1, 6)],
    ['reset', "the keyboard controller's pulse", (cpu) => void cpu.pio.write(0x64, 1, 0xfe)],
    ['reset', 'port 0x92', (cpu) => void cpu.pio.write(0x92, 1, 3)],
    ['triple-fault', 'a triple fault', () => ({ reason: 'shutdown' })],
    ['error', 'a defect of the engine', () => ({ reason: 'error', message: 'opcode' })],
  ];
  it.each(endings)('with %s by %s', async (reason, _how, step) => {
    const { machine } = await setup([step]);
    const exit = await machine.start();
    expect(exit.reason).toBe(reason);
    if (reason === 'error') expect(exit.message).toBe('opcode');
  });

  it('not by a PCI configuration address that has the reset bits where the register is', async () => {
    const { machine } = await setup([(cpu) => void cpu.pio.write(0xcf8, 4, 0x8000_0600), () => ({ reason: 'shutdown' })]);
    expect((await machine.start()).reason).toBe('triple-fault');
  });

  it('with stopped when told to, also while the guest has halted for good', async () => {
    const { machine } = await setup(Array.from({ length: 100 }, () => () => ({ reason: 'halt' as const })));
    setTimeout(machine.stop, 5);
    expect(await machine.start()).toEqual({ reason: 'stopped' });
  });
});

describe('serial ports of a microvm', () => {
  it('COM1 at 0x3f8 and COM2 at 0x2f8 go to their sinks, complete when the machine ends', async () => {
    const { machine, output } = await setup([
      (cpu) => {
        for (const char of 'hello') cpu.pio.write(0x3f8, 1, char.charCodeAt(0));
        cpu.pio.write(0x2f8, 1, 0x21);
        return undefined;
      },
    ]);
    await machine.start();
    expect(output).toEqual(['hello', '!']);
  });

  it('without a second sink there is no COM2', async () => {
    let seen = -1;
    const step: Step = (cpu) => void (seen = cpu.pio.read(0x2fd, 1));
    const { machine } = await setup([step], { serial: [{ write: () => undefined }] });
    await machine.start();
    expect(seen).toBe(0xff);
  });

  it('input larger than the FIFO arrives complete and in order, and wakes a halted guest', async () => {
    let got = '';
    const read: Step = (cpu) => {
      if (cpu.interrupts.pending()) expect(cpu.interrupts.acknowledge()).toBe(0x24);
      cpu.pio.write(0x20, 1, 0x20);
      while (cpu.pio.read(0x3fd, 1) & 1) got += String.fromCharCode(cpu.pio.read(0x3f8, 1));
      return got.length < 100 ? { reason: 'halt' } : undefined;
    };
    const { machine } = await setup([
      (cpu) => {
        cpu.pio.write(0x3fa, 1, 1);
        cpu.pio.write(0x3f9, 1, 1);
        cpu.pio.write(0x3fc, 1, 8);
        // ICW1–ICW4 of the master, then all but IRQ 4 masked.
        cpu.pio.write(0x20, 1, 0x11);
        for (const value of [0x20, 4, 1, 0xef]) cpu.pio.write(0x21, 1, value);
        return { reason: 'halt' };
      },
      ...Array.from({ length: 20 }, () => read),
    ]);
    const text = Array.from({ length: 100 }, (_, i) => String.fromCharCode(33 + (i % 90))).join('');
    setTimeout(() => {
      const bytes = Buffer.from(text);
      machine.sendSerial(0, bytes.subarray(0, 60));
      machine.sendSerial(0, bytes.subarray(60));
      bytes.fill(0);
    }, 5);
    expect((await machine.start()).reason).toBe('poweroff');
    expect(got).toBe(text);
  });
});

describe('what a microvm presents', () => {
  it('RAM with a hole under 1 MiB, the ACPI tables in the BIOS area, the kernel where it wants to be', async () => {
    const { engine } = await setup();
    const [config] = engine.configs;
    expect(guestByte(config, 0x9_ffff)).toBe(0);
    expect(guestByte(config, 0xa_0000)).toBe(-1);
    expect(guestByte(config, 0x10_0000)).toBe(0xf4);
    expect(guestByte(config, (32 << 20) - 1)).toBe(0);
    expect(guestByte(config, 32 << 20)).toBe(-1);
    const signature = Array.from({ length: 8 }, (_, i) => String.fromCharCode(guestByte(config, 0xe_0000 + i))).join('');
    expect(signature).toBe('RSD PTR ');
  });

  it('no RAM between 3 and 4 GiB', async () => {
    const { engine, machine } = await setup([], { memoryBytes: 3200 * 2 ** 20 });
    expect(guestByte(engine.configs[0], 0xbfff_ffff)).toBe(0);
    expect(guestByte(engine.configs[0], 0xc000_0000)).toBe(-1);
    machine.dispose();
  });

  it('the entry state of the boot protocol in the first processor', async () => {
    const { engine } = await setup();
    const [processor] = engine.processors;
    const sregs = processor.getSregs();
    expect(processor.getRegs()).toMatchObject({ rip: 0x10_0000n, rflags: 2n, rsi: 0x1_0000n });
    expect(sregs.cs).toMatchObject({ selector: 0x10, type: 11, s: 1, present: 1, l: 1, db: 0, g: 1, limit: 0xffff_ffff });
    expect(sregs.ds).toMatchObject({ selector: 0x18, type: 3, s: 1, present: 1, db: 1, g: 1 });
    expect(sregs.tr).toMatchObject({ type: 11, s: 0, present: 1, unusable: 0 });
    expect(sregs.ldt).toMatchObject({ unusable: 1 });
    expect([sregs.cr0, sregs.cr4, sregs.efer]).toEqual([0x8000_0011n, 0x20n, 0x500n]);
  });

  it('a second 8259A, an RTC, a PM timer that counts, and the delay port', async () => {
    const { engine } = await setup();
    const { pio } = engine.configs[0];
    pio.write(0xa1, 1, 0x5a);
    expect(pio.read(0xa1, 1)).toBe(0x5a);
    pio.write(0x70, 1, 0x0d);
    expect(pio.read(0x71, 1) & 0x80).toBe(0x80);
    const before = pio.read(0x608, 4);
    await new Promise((resolve) => setTimeout(resolve, 5));
    expect(pio.read(0x608, 4) - before).toBeGreaterThan(10_000);
    pio.write(0x80, 1, 0x42);
    expect(pio.read(0x80, 1)).toBe(0x42);
  });

  it('A20 is closed when both of its gates are, and open again with either', async () => {
    const { engine } = await setup();
    const [config] = engine.configs;
    const fill = config.mmu.exports.fill as (va: bigint, access: number) => number;
    const wraps = (): boolean => fill(0x10_0000n, 0) === fill(0n, 0);
    config.pio.write(0x92, 1, 0);
    expect(wraps()).toBe(false);
    config.pio.write(0x64, 1, 0xdd);
    expect(wraps()).toBe(true);
    config.pio.write(0x92, 1, 2);
    expect(wraps()).toBe(false);
  });

  it('counters with instructions and what the engine counts', async () => {
    const { machine } = await setup();
    await machine.start();
    expect(machine.stats()).toMatchObject({ 'guest.instructions': 1000, 'cpu.blocks': 5 });
  });

  it('is gone after dispose', async () => {
    const { machine, engine } = await setup();
    await machine.dispose();
    expect(engine.processors[0].disposed).toBe(true);
    expect(engine.configs[0].pio.read(0x3fd, 1)).toBe(0xff);
  });
});

describe('input that makes no machine is refused with a code and one line', () => {
  it('a processor model that there is not', async () => {
    await expect(setup([], { cpuModel: 'other' })).rejects.toMatchObject({ code: 'FAKE_MODEL' });
  });

  it('a 64-bit kernel for a processor without long mode', async () => {
    const engine = createFakeEngine(() => ({ reason: 'halt' }), 0);
    const config = { memoryBytes: 32 << 20, cpuModel: 'fake', cmdline: '', kernel: makeKernel() };
    const made = createMicrovmFactory(engine).create({ ...config, serial: [{ write: () => undefined }] });
    await expect(made).rejects.toMatchObject({
      code: 'MACHINES_CPU_FEATURE',
      message: "a 64-bit kernel needs long mode, which the processor model 'fake' lacks",
    });
  });

  it('more memory than there can be', async () => {
    await expect(setup([], { memoryBytes: 4 * 2 ** 30 })).rejects.toMatchObject({ code: 'MACHINES_MEMORY' });
  });

  it('something that is no kernel', async () => {
    await expect(setup([], { kernel: new Uint8Array(5000) })).rejects.toMatchObject({ code: 'BOOT_NOT_A_KERNEL' });
  });
});
