/** Pages of devices are remembered as those of memory are: nothing of that may be seen (SDM vol. 3 §4.10). */
import { describe, expect, it } from 'vitest';
import { TIERS } from './engine.ts';
import { LongModeMachine, Page, Place } from './long-mode.ts';

const DEVICE = 0xd000_0000;
/** Pages that the tests map to the device. */
const VA = 0x5_0000;
const USER_VA = 0x40_0000;
const ROUNDS = 10;

describe.each(TIERS)('a page of a device, %s', (_, tier) => {
  const machineWith = (program: string, at: number = Place.code): LongModeMachine => {
    const machine = new LongModeMachine(tier);
    machine.load(program, at);
    return machine;
  };
  const map = (machine: LongModeMachine, gpa: number, bits = 0n): void => machine.setPte(VA, BigInt(gpa) | Page.P | bits);

  it('is where its translation says after INVLPG, and not before', () => {
    const machine = machineWith(`
      be 0a 00 00 00               # mov esi, 10
      89 34 25 00 00 05 00         # mov [VA], esi
      8b 04 25 00 70 00 00         # mov eax, [Place.pt]
      81 04 25 80 72 00 00 00 10 00 00  # add dword [PTE of VA], 1000h
      89 34 25 04 00 05 00         # mov [VA + 4], esi
      0f 01 3c 25 00 00 05 00      # invlpg [VA]
      ff ce 75 d4 f4               # dec esi; jnz; hlt`);
    map(machine, DEVICE, Page.RW);
    expect(machine.run()).toBe('halt');
    const expected = Array.from({ length: ROUNDS }, (_, n) => [0, 4].map((offset) => DEVICE + 0x1000 * n + offset)).flat();
    expect(machine.stores.map(({ gpa }) => gpa)).toEqual(expected);
  });

  it('becomes memory, and again the device, by MOV to CR3', () => {
    const machine = machineWith(`
      be 0a 00 00 00               # mov esi, 10
      89 34 25 00 00 05 00         # mov [VA], esi
      48 8b 04 25 80 72 00 00      # mov rax, [PTE of VA]
      48 33 05 00 04 00 00         # xor rax, [rip + 400h]
      48 89 04 25 80 72 00 00      # mov [PTE of VA], rax
      0f 20 d8 0f 22 d8            # mov rax, cr3; mov cr3, rax
      ff ce 75 d8 f4               # dec esi; jnz; hlt`);
    machine.setU64(Place.code + 5 + 7 + 8 + 7 + 0x400, BigInt(DEVICE) ^ 0x6_0000n);
    map(machine, DEVICE, Page.RW);
    expect(machine.run()).toBe('halt');
    expect(machine.stores.map(({ value }) => value)).toEqual([10, 8, 6, 4, 2]);
    expect(machine.u32(0x6_0000)).toBe(1);
  });

  it('that was read is not writable by that', () => {
    const machine = machineWith(`
      b9 0a 00 00 00               # mov ecx, 10
      8b 04 25 00 00 05 00         # mov eax, [VA]
      ff c9 75 f5                  # dec ecx; jnz
      89 04 25 00 00 05 00         # mov [VA], eax`);
    map(machine, DEVICE);
    expect(machine.event()).toMatchObject({ vector: 14, error: 3, rip: Place.code + 16 });
    expect(machine.state.cr2).toBe(BigInt(VA));
    expect(machine.stores).toEqual([]);
  });

  it('of the supervisor is none of the user, whoever was there first', () => {
    const machine = machineWith('b9 0a 00 00 00 89 0c 25 08 00 40 00 ff c9 75 f5 f4'); // mov ecx, 10; mov [USER_VA + 8], ecx; dec ecx; jnz; hlt
    machine.setU64(Place.pd + 8 * 2, BigInt(DEVICE) | Page.P | Page.RW | Page.PS);
    expect(machine.run()).toBe('halt');
    expect(machine.stores).toHaveLength(ROUNDS);
    machine.state.halted = 0;
    machine.enterUser();
    machine.load('89 0c 25 08 00 40 00', Place.user);
    expect(machine.event()).toMatchObject({ vector: 14, error: 7 });
    expect(machine.state.cr2).toBe(BigInt(USER_VA + 8));
    expect(machine.stores).toHaveLength(ROUNDS);
  });

  it('has its A and D bits set by the first access of each kind', () => {
    const machine = machineWith(`8b 04 25 00 00 05 00             # mov eax, [VA]
      48 8b 1c 25 80 72 00 00      # mov rbx, [PTE of VA]
      89 04 25 00 00 05 00         # mov [VA], eax
      48 8b 0c 25 80 72 00 00 f4   # mov rcx, [PTE of VA]; hlt`);
    map(machine, DEVICE, Page.RW);
    expect(machine.run()).toBe('halt');
    expect([machine.gpr(3) & 0x60n, machine.gpr(1) & 0x60n]).toEqual([0x20n, 0x60n]);
  });

  it('is not met by an address that is not canonical and differs in no lower bit', () => {
    // mov ecx, 10; loop: mov [rax], ecx; dec ecx; jnz; bts rax, 62; mov [rax], ecx
    const machine = machineWith('b8 00 00 05 00 b9 0a 00 00 00 89 08 ff c9 75 fa 48 0f ba e8 3e 89 08');
    map(machine, DEVICE, Page.RW);
    expect(machine.event()).toMatchObject({ vector: 13, error: 0 });
    expect(machine.stores).toHaveLength(ROUNDS);
  });
});

const RAX = 0;

describe.each(TIERS)('a hypercall, %s', (_, tier) => {
  /** mov ecx, 10; loop: mov eax, number; mov rbx, 8000000000000007h; the instruction; dec ecx; jnz; hlt */
  const program = (instruction: string, number = '00 01 00 00'): string =>
    `b9 0a 00 00 00 b8 ${number} 48 bb 07 00 00 00 00 00 00 80 ${instruction} ff c9 75 e8 f4`;

  it.each([
    ['VMCALL', '0f 01 c1'],
    ['VMMCALL', '0f 01 d9'],
  ])('by %s tells its number and argument; one that nobody answers gives KVM_ENOSYS', (_name, instruction) => {
    const machine = new LongModeMachine(tier);
    machine.load(program(instruction));
    const heard: string[] = [];
    machine.hypercalls.set(0x100, (lo, hi) => heard.push(`${lo} ${hi >>> 0}`) > 0);
    expect(machine.run()).toBe('halt');
    expect(heard).toEqual(Array.from({ length: ROUNDS }, () => `7 ${0x8000_0000}`));
    expect(machine.gpr(RAX)).toBe(0n);
    machine.hypercalls.clear();
    machine.load(program(instruction));
    machine.state.halted = 0;
    expect(machine.run()).toBe('halt');
    expect(BigInt.asIntN(64, machine.gpr(RAX))).toBe(-1000n);
  });

  it('at CPL 3 gives EPERM, and does nothing', () => {
    const machine = new LongModeMachine(tier);
    machine.hypercalls.set(0x100, () => {
      throw new Error('it was heard');
    });
    machine.enterUser();
    machine.load('b8 00 01 00 00 0f 01 c1 cd 80', Place.user); // mov eax, 100h; vmcall; int 80h
    machine.setGate(0x80, { dpl: 3 });
    expect(machine.event().vector).toBe(0x80);
    expect(BigInt.asIntN(64, machine.gpr(RAX))).toBe(-1n);
  });
});

it('there are no hypercalls without a hypervisor: #UD', () => {
  const machine = new LongModeMachine({ cpu: 'max,-hypervisor' });
  machine.load('0f 01 c1');
  expect(machine.event().vector).toBe(6);
});

describe.each(TIERS)('OUT, %s', (_, tier) => {
  /** mov ecx, 10; loop: mov dx, 500h; out dx, eax; out 80h, al; dec ecx; jnz; hlt */
  const LOOP = 'b9 0a 00 00 00 66 ba 00 05 ef e6 80 ff c9 75 f5 f4';

  it('reaches the ports, each time once', () => {
    const machine = new LongModeMachine(tier);
    machine.state.gpr[RAX] = 0x1234_5678n;
    machine.load(LOOP);
    expect(machine.run()).toBe('halt');
    const round = [
      { port: 0x500, length: 4, value: 0x1234_5678 },
      { port: 0x80, length: 1, value: 0x78 },
    ];
    expect(machine.outs).toEqual(Array.from({ length: ROUNDS }, () => round).flat());
  });

  it('at CPL 3 needs IOPL 3 or the map of the TSS', () => {
    const machine = new LongModeMachine(tier);
    machine.enterUser();
    machine.load(LOOP, Place.user);
    expect(machine.event()).toMatchObject({ vector: 13, error: 0, rip: Place.user + 9 });
    expect(machine.outs).toEqual([]);
  });
});
