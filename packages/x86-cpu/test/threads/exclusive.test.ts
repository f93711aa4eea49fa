/** How long one processor keeps the others from running: for the instruction that needs it, whatever becomes of that. */
import { describe, expect, it } from 'vitest';
import { TIERS } from '../system/engine.ts';
import { handlerOf, hex, LongModeMachine, Place } from '../system/long-mode.ts';

const PAGE_FAULT = 14;

const dword = (value: number): string => Buffer.from(Uint32Array.of(value).buffer).toString('hex');

/** `log`: what happened in order; `out` of a byte to port 0x80 appears in it. */
function machine(options: (typeof TIERS)[number][1]) {
  const log: string[] = [];
  const made = new LongModeMachine({
    ...options,
    exclusive: { enter: () => void log.push('alone'), leave: () => void log.push('together'), serve: () => undefined },
  });
  const { outs } = made;
  outs.push = (...all) => log.push(...all.map(({ value }) => `out ${value}`));
  return { machine: made, log };
}

describe.each(TIERS)('a locked instruction, %s,', (_name, options) => {
  it('stops the others where its operand is not within eight aligned bytes, and only there', () => {
    const { machine: m, log } = machine(options);
    m.load(`b9 04 00 00 00 # mov ecx, 4
      f0 ff 04 25 00 00 04 00 # lock inc dword [0x40000]
      f0 ff 04 25 02 00 04 00 # lock inc dword [0x40002]
      f0 ff 04 25 06 00 04 00 # lock inc dword [0x40006]
      b0 01 e6 80 # mov al, 1; out 0x80, al
      ff c9 75 e0 f4 # dec ecx; jnz`);
    expect(m.run()).toBe('halt');
    expect(log).toEqual(Array.from({ length: 4 }, () => ['alone', 'together', 'out 1']).flat());
    expect(m.u64(Place.data)).toBe(0x0004_0000_0004_0004n);
  });

  it.each([
    ['stops nobody for a page fault', 0x5_0000, 0],
    ['stops the others for an operand in two pages, and lets them go on before the handler of its fault runs', 0x4_fffe, 4],
  ])('%s', (_what, address, stops) => {
    const { machine: m, log } = machine(options);
    m.setPte(0x5_0000, 0n);
    // The handler says so, maps the page, and returns.
    m.write(
      handlerOf(PAGE_FAULT),
      hex('e9 fb 0f 00 00'), // jmp, to where there is room
    );
    m.write(
      handlerOf(PAGE_FAULT) + 0x1000,
      hex(`50 b0 02 e6 80 # push rax; mov al, 2; out 0x80, al
        c7 04 25 80 72 00 00 03 00 05 00 # mov dword [pt + 8 * 0x50], 0x50003
        0f 01 3c 25 00 00 05 00 58 # invlpg [0x50000]; pop rax
        48 83 c4 08 48 cf # add rsp, 8; iretq`),
    );
    m.load(`b9 04 00 00 00 # mov ecx, 4
      c7 04 25 80 72 00 00 00 00 00 00 0f 01 3c 25 00 00 05 00 # mov dword [pt + 8 * 0x50], 0; invlpg [0x50000]
      f0 ff 04 25 ${dword(address)} # lock inc dword [address]
      ff c9 75 df f4 # dec ecx; jnz`);
    expect(m.run()).toBe('halt');
    expect(m.u32(address)).toBe(4);
    const round = stops ? ['alone', 'together', 'out 2', 'alone', 'together'] : ['out 2'];
    expect(log).toEqual(Array.from({ length: 4 }, () => round).flat());
  });

  it('lets the others go on when its fault is the end', () => {
    const { machine: m, log } = machine(options);
    m.setPte(0x5_0000, 0n);
    m.state.idtrLimit = 0;
    m.load('f0 ff 04 25 fe ff 04 00 f4');
    expect(m.run()).toBe('shutdown');
    expect(log).toEqual(['alone', 'together']);
  });
});
