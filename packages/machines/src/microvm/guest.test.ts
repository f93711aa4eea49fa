/** The microvm with the real engine: guests of a few instructions that need most of the machine to work. */
import { Worker } from 'node:worker_threads';
import { EventFd } from '@tsvisor/eventfd';
import { Kvm } from '@tsvisor/vmm-core';
import { describe, expect, it } from 'vitest';
import { type CompiledRegion, type MachineConfig, microvm, x86Engine } from '../index.ts';
import { KERNEL_GPA, loadEax, makeKernel, POWER_OFF, print, store, storeAtRax } from '../testing/kernels.ts';

/** Where the handler of vector 0x40 is; `SET_UP_INTERRUPTS` needs `IDT_POINTER` at offset 256. */
const HANDLER = 0x200;
const IDT = 0x8_0000;
const IDT_POINTER = [0xff, 0x0f, 0, 0, 8, 0, 0, 0, 0, 0]; // limit 0xfff, base 0x80000
/** A stack, the IDT with a gate for vector 0x40, and a local APIC that is enabled; RAX holds its address. */
const SET_UP_INTERRUPTS: readonly number[] = [
  ...[0xbc, 0, 0, 9, 0], // mov esp, 0x90000
  // Code segment 0x10, present, interrupt gate.
  ...store(IDT + 0x400, (0x10 << 16) | ((KERNEL_GPA + HANDLER) & 0xffff)),
  ...store(IDT + 0x404, ((KERNEL_GPA + HANDLER) & 0xffff_0000) | 0x8e00),
  ...[0x0f, 0x01, 0x1c, 0x25, 0x00, 0x01, 0x10, 0x00], // lidt [KERNEL_GPA + 0x100]
  ...loadEax(0xfee0_0000),
  ...storeAtRax(0xf0, 0x1ff), // SVR: enabled
];

async function boot(parts: Readonly<Record<number, readonly number[]>>, more: Pick<MachineConfig, 'tier' | 'onRegion'> = {}) {
  let output = '';
  const machine = await microvm.create({
    ...more,
    memoryBytes: 32 << 20,
    cpuModel: 'max',
    kernel: makeKernel(parts),
    cmdline: '',
    serial: [
      {
        write: (bytes) => {
          output += Buffer.from(bytes).toString('latin1');
        },
      },
    ],
  });
  return { machine, output: () => output };
}

describe('a guest in a microvm', () => {
  it('prints through COM1 and powers off through ACPI', async () => {
    const { machine, output } = await boot({ 0: [...print('Hi'), ...POWER_OFF] });
    expect(await machine.start()).toEqual({ reason: 'poweroff' });
    expect(output()).toBe('Hi');
    expect(machine.stats()['guest.instructions']).toBeGreaterThan(8);
    machine.dispose();
  });

  it('tells of code that it compiles, and counts what ran in it', async () => {
    const regions: CompiledRegion[] = [];
    const loop = [0xb9, 0xe8, 0x03, 0, 0, 0xff, 0xc9, 0x75, 0xfc]; // mov ecx, 1000; dec ecx; jnz -4
    const { machine } = await boot({ 0: [...loop, ...POWER_OFF] }, { tier: 'jit', onRegion: (region) => regions.push(region) });
    expect(await machine.start()).toEqual({ reason: 'poweroff' });
    expect(regions.map(({ holds }) => [holds(BigInt(KERNEL_GPA + 6)), holds(BigInt(KERNEL_GPA))])).toEqual([[true, false]]);
    expect(regions[0].text()).toContain('dec ecx');
    const { 'cpu.compiled': compiled, 'guest.instructions': all } = machine.stats();
    expect(Number(compiled)).toBeGreaterThan(1800);
    expect(Number(compiled)).toBeLessThan(Number(all));
    machine.dispose();
  });

  it('is woken from HLT by its local APIC timer, through its IDT, when the time has come', async () => {
    const { machine, output } = await boot({
      0: [
        ...SET_UP_INTERRUPTS,
        ...storeAtRax(0x3e0, 0xb), // divide by 1
        ...storeAtRax(0x320, 0x40), // LVT timer: one-shot, vector 0x40
        ...storeAtRax(0x380, 200_000_000), // 200 ms: long beside what a busy host takes from the guest
        ...[0xfb, 0xf4], // sti; hlt
        ...print('woken'),
        ...POWER_OFF,
      ],
      256: IDT_POINTER,
      [HANDLER]: [...loadEax(0xfee0_0000), ...storeAtRax(0xb0, 0), 0x48, 0xcf], // EOI; iretq
    });
    const before = performance.now();
    expect(await machine.start()).toEqual({ reason: 'poweroff' });
    const took = performance.now() - before;
    expect(output()).toBe('woken');
    expect(took).toBeGreaterThanOrEqual(199);
    expect(took).toBeLessThan(5000);
    expect(machine.stats()['guest.idle ms']).toBeGreaterThan(10);
    machine.dispose();
  });

  it('rings doorbells of every length by ports and memory, and reaches the device with other values', async () => {
    const seen: string[] = [];
    const { machine } = await boot({
      0: [
        ...loadEax(0xd000_0000),
        ...[0x48, 0xbb, 1, 2, 3, 4, 5, 6, 7, 8], // mov rbx, 0x0807060504030201
        ...[0x88, 0x18], // mov [rax], bl
        ...[0x66, 0x89, 0x18], // mov [rax], bx
        ...[0x89, 0x18], // mov [rax], ebx
        ...[0x48, 0x89, 0x18], // mov [rax], rbx
        ...[0x48, 0xff, 0xc3, 0x48, 0x89, 0x18], // inc rbx; mov [rax], rbx
        ...[0x66, 0xba, 0, 5, 0x89, 0xd8, 0xee, 0x66, 0xef, 0xef], // mov dx, 0x500; mov eax, ebx; out dx, al; out dx, ax; out dx, eax
        ...POWER_OFF,
      ],
    });
    const { vm } = machine;
    const event = (name: string) => ({ signal: () => void seen.push(name) });
    const device = {
      read: () => 0,
      write: (offset: number, len: number, value: number) => void seen.push(`${offset} ${len} ${value.toString(16)}`),
    };
    vm.mmio.register({ base: 0xd000_0000, size: 8, name: 'device' }, device);
    for (const length of [1, 2, 4] as const) {
      vm.assignIoeventfd({ bus: 'mmio', address: 0xd000_0000, length, event: event(`mmio ${length}`) });
      vm.assignIoeventfd({ bus: 'pio', address: 0x500, length, event: event(`pio ${length}`) });
    }
    vm.assignIoeventfd({ bus: 'mmio', address: 0xd000_0000, length: 8, datamatch: 0x0807060504030201n, event: event('mmio 8') });
    expect(await machine.start()).toEqual({ reason: 'poweroff' });
    // The last 8 bytes are not the value of their doorbell: the device gets them as two doublewords, which ring no other.
    expect(seen).toEqual(['mmio 1', 'mmio 2', 'mmio 4', 'mmio 8', '0 4 4030202', '4 4 8070605', 'pio 1', 'pio 2', 'pio 4']);
    machine.dispose();
  });

  it('rings a doorbell that a device in another thread hears, and sleeps until its interrupt', async () => {
    const doorbell = 0xd000_0000;
    const { machine, output } = await boot({
      0: [
        ...SET_UP_INTERRUPTS,
        ...[0xbb, 0, 1, 0, 0], // mov ebx, 256
        ...loadEax(doorbell),
        ...[0xfa], // cli
        ...storeAtRax(0, 7), // 10 bytes: the doorbell
        ...[0xfb, 0xf4], // sti; hlt
        ...[0xff, 0xcb, 0x75, 0xef], // dec ebx; jnz to the cli
        ...print('answered'),
        ...POWER_OFF,
      ],
      256: IDT_POINTER,
      [HANDLER]: [0x50, ...loadEax(0xfee0_0000), ...storeAtRax(0xb0, 0), 0x58, 0x48, 0xcf], // push rax; EOI; pop rax; iretq
    });
    const ring = EventFd.create();
    const answer = EventFd.create();
    machine.vm.assignIoeventfd({ bus: 'mmio', address: doorbell, length: 4, datamatch: 7, event: ring });
    machine.vm.setGsiRouting([{ gsi: 40, to: 'msi', addressLo: 0xfee0_0000, addressHi: 0, data: 0x40 }]);
    machine.vm.assignIrqfd({ gsi: 40, event: answer });
    const device = new Worker(new URL('../testing/echo-device.ts', import.meta.url), {
      workerData: { ring: ring.handle, answer: answer.handle },
      execArgv: ['--conditions=tsvisor-source', '--no-warnings'],
    });
    const heard = new Promise((resolve, reject) => {
      device.once('message', resolve);
      device.once('error', reject);
    });
    expect(await machine.start()).toEqual({ reason: 'poweroff' });
    expect(output()).toBe('answered');
    ring.close();
    expect(await heard).toBe(256);
    machine.dispose();
  });

  it('dies of a triple fault when it has no IDT', async () => {
    // lidt of zeros, int3
    const { machine } = await boot({ 0: [0x0f, 0x01, 0x1c, 0x25, 0x00, 0x01, 0x10, 0x00, 0xcc] });
    expect(await machine.start()).toEqual({ reason: 'triple-fault' });
    machine.dispose();
  });

  it('resets when it jumps to where firmware would start', async () => {
    const { machine } = await boot({ 0: [...loadEax(0xf_fff0), 0xff, 0xe0] }); // jmp rax
    expect(await machine.start()).toEqual({ reason: 'reset' });
    machine.dispose();
  });

  it('reads what is typed, in a loop that never halts', async () => {
    const { machine, output } = await boot({
      0: [
        ...[0x66, 0xba, 0xfd, 0x03, 0xec, 0xa8, 0x01, 0x74, 0xf7], // mov dx, 0x3fd; in al, dx; test al, 1; jz to the mov
        ...[0x66, 0xba, 0xf8, 0x03, 0xec, 0xee], // mov dx, 0x3f8; in al, dx; out dx, al
        ...[0x3c, 0x71, 0x75, 0xed], // cmp al, 'q'; jne to the start
        ...POWER_OFF,
      ],
    });
    setTimeout(() => machine.sendSerial(0, Buffer.from('a longer text than the FIFO holds, q')), 5);
    expect(await machine.start()).toEqual({ reason: 'poweroff' });
    expect(output()).toBe('a longer text than the FIFO holds, q');
    machine.dispose();
  });

  it('is stopped in the middle of an endless loop', async () => {
    const { machine } = await boot({ 0: [0xeb, 0xfe] });
    setTimeout(machine.stop, 10);
    expect(await machine.start()).toEqual({ reason: 'stopped' });
    machine.dispose();
  });

  it('sees a HLT with interrupts off as the end of its activity, and costs nothing then', async () => {
    const { machine } = await boot({ 0: [0xf4, 0xeb, 0xfd] });
    setTimeout(machine.stop, 100);
    const before = process.cpuUsage();
    expect(await machine.start()).toEqual({ reason: 'stopped' });
    expect(process.cpuUsage(before).user / 1000).toBeLessThan(80);
    machine.dispose();
  });
});

describe('the KVM-shaped API with the real engine', () => {
  it('runs the real-mode program every tutorial of KVM begins with', () => {
    const model = x86Engine.model('max');
    const seen: number[] = [];
    const vm = new Kvm({ createProcessor: model.createProcessor }).createVm({ memoryBytes: 0x1000 });
    vm.setUserMemoryRegion({ slot: 0, guestPhysAddr: 0x1000, memorySize: 0x1000 });
    // mov dx, 0x3f8; add al, bl; add al, '0'; out dx, al; mov al, '\n'; out dx, al; hlt
    vm.memory.write(0x1000, Uint8Array.of(0xba, 0xf8, 0x03, 0x00, 0xd8, 0x04, 0x30, 0xee, 0xb0, 0x0a, 0xee, 0xf4));
    const com1 = { read: () => 0, write: (_offset: number, _len: number, value: number) => void seen.push(value) };
    vm.pio.register({ base: 0x3f8, size: 1, name: 'com1' }, com1);
    const vcpu = vm.createVcpu(0, model);
    const sregs = vcpu.getSregs();
    vcpu.setSregs({ ...sregs, cs: { ...sregs.cs, base: 0n, selector: 0 } });
    vcpu.setRegs({ ...vcpu.getRegs(), rip: 0x1000n, rax: 2n, rbx: 2n, rflags: 2n });
    expect(vcpu.run(1000)).toEqual({ reason: 'hlt' });
    expect(String.fromCharCode(...seen)).toBe('4\n');
    expect(vcpu.getRegs().rip).toBe(0x100cn);
  });

  it('round-trips registers exactly', () => {
    const model = x86Engine.model('max');
    const vm = new Kvm({ createProcessor: model.createProcessor }).createVm({ memoryBytes: 0x1000 });
    const vcpu = vm.createVcpu(0, model);
    const regs = Object.fromEntries(Object.keys(vcpu.getRegs()).map((name, n) => [name, 0x8123_4567_89ab_cd00n + BigInt(n)]));
    const wanted = { ...regs, rflags: 0x246n } as ReturnType<typeof vcpu.getRegs>;
    vcpu.setRegs(wanted);
    expect(vcpu.getRegs()).toEqual(wanted);
    const sregs = vcpu.getSregs();
    // Expand-down data, limit 0xfff.
    const ds = { ...sregs.ds, type: 7, db: 1, limit: 0xfff, base: 0x1000n, selector: 8 };
    vcpu.setSregs({ ...sregs, ds, gdt: { base: 0x5000n, limit: 0x2f } });
    expect(vcpu.getSregs()).toEqual({ ...sregs, ds, gdt: { base: 0x5000n, limit: 0x2f } });
  });
});
