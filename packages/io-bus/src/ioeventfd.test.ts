import { describe, expect, it } from 'vitest';
import { createMmioBus, createPioBus, type IoBus, IoBusError, type IoBusOptions, type IoEventFd } from './index.ts';

/** An event that counts. */
const bell = () => {
  const self = { rings: 0, signal: () => void self.rings++ };
  return self;
};
const recorder = () => {
  const seen: string[] = [];
  const device = {
    read: (offset: number, len: number) => {
      seen.push(`r${len}@${offset}`);
      return 0x5a;
    },
    write: (offset: number, len: number, value: number) => void seen.push(`w${len}@${offset}=${value.toString(16)}`),
  };
  return { seen, device };
};
const code = (code: string): object => expect.objectContaining({ name: 'IoBusError', code }) as object;

const buses: readonly (readonly [string, (options?: IoBusOptions) => IoBus, limit: number])[] = [
  ['port bus', createPioBus, 2 ** 16],
  ['memory bus', createMmioBus, 2 ** 52],
];

describe.each(buses)('ioeventfd on the %s', (_, createBus, limit) => {
  it('answers writes of its length at its address, and no others', () => {
    const bus = createBus();
    const { seen, device } = recorder();
    bus.register({ base: 0x100, size: 16, name: 'device' }, device);
    const event = bell();
    bus.assignIoeventfd({ address: 0x104, length: 2 }, event);
    bus.write(0x104, 2, 7);
    bus.write(0x104, 2, 0xffff);
    expect(event.rings).toBe(2);
    expect(seen).toEqual([]);
    bus.write(0x104, 1, 1);
    bus.write(0x104, 4, 2);
    bus.write(0x105, 2, 3);
    bus.write(0x102, 4, 4);
    bus.read(0x104, 2);
    expect(event.rings).toBe(2);
    expect(seen.slice(0, 3)).toEqual(['w1@4=1', 'w4@4=2', 'w2@5=3']);
    expect(seen.at(-1)).toBe('r2@4');
  });
  it('each datamatch of one address has its event; other values reach the device', () => {
    const bus = createBus();
    const { seen, device } = recorder();
    bus.register({ base: 0x100, size: 16, name: 'device' }, device);
    const queues = Array.from({ length: 64 }, (_, queue) => {
      const event = bell();
      bus.assignIoeventfd({ address: 0x100, length: 2, datamatch: queue }, event);
      return event;
    });
    for (let queue = 0; queue < 66; queue++) for (let i = 0; i <= queue; i++) bus.write(0x100, 2, queue);
    expect(queues.map(({ rings }) => rings)).toEqual(queues.map((_, queue) => queue + 1));
    expect(new Set(seen)).toEqual(new Set(['w2@0=40', 'w2@0=41']));
  });
  it('for the value 0 stays when one of another length for any value goes', () => {
    const bus = createBus();
    const event = bell();
    bus.assignIoeventfd({ address: 8, length: 2, datamatch: 0 }, event);
    bus.assignIoeventfd({ address: 8, length: 1 }, bell())[Symbol.dispose]();
    bus.write(8, 2, 0);
    expect(event.rings).toBe(1);
  });
  it('compares the bytes that are written, not those above them', () => {
    const bus = createBus();
    const event = bell();
    bus.assignIoeventfd({ address: 8, length: 1, datamatch: 0x80 }, event);
    bus.write(8, 1, 0xffff_ff80 | 0);
    bus.write(8, 1, 0x81);
    expect(event.rings).toBe(1);
  });
  it('8 bytes are one write, whose halves are both compared', () => {
    const bus = createBus();
    const any = bell();
    const exact = bell();
    bus.assignIoeventfd({ address: 0x10, length: 8 }, any);
    bus.assignIoeventfd({ address: 0x20, length: 8, datamatch: 0x8000_0001_ffff_fffen }, exact);
    bus.write64(0x10, 1, 2);
    bus.write64(0x20, 0xffff_fffe, 0x8000_0001);
    bus.write64(0x20, -2, 0x8000_0001 | 0);
    bus.write64(0x20, 0xffff_fffe, 1);
    bus.write64(0x20, 1, 0x8000_0001);
    bus.write(0x20, 4, 0xffff_fffe);
    expect([any.rings, exact.rings]).toEqual([1, 2]);
  });
  it('the parts that the bus splits a write into ring nothing', () => {
    const bus = createBus();
    const { seen, device } = recorder();
    bus.register({ base: 0x10, size: 8, name: 'device', width: 2 }, device);
    const event = bell();
    for (const length of [1, 2] as const) bus.assignIoeventfd({ address: 0x10, length }, event);
    bus.write64(0x10, 0x1111_2222, 0x3333_4444);
    bus.write(0x10, 4, 0x5555_6666);
    expect(event.rings).toBe(0);
    expect(seen).toEqual(['w2@0=2222', 'w2@2=1111', 'w2@4=4444', 'w2@6=3333', 'w2@0=6666', 'w2@2=5555']);
  });
  it('length 0 answers writes of every length', () => {
    const bus = createBus();
    const event = bell();
    bus.assignIoeventfd({ address: 0x40, length: 0 }, event);
    bus.write(0x40, 1, 1);
    bus.write(0x40, 2, 2);
    bus.write(0x40, 4, 3);
    bus.write64(0x40, 4, 5);
    bus.write(0x41, 1, 1);
    expect(event.rings).toBe(4);
  });
  it('is found in an unaligned write, before the bus splits it', () => {
    const bus = createBus();
    const event = bell();
    bus.assignIoeventfd({ address: 0x43, length: 4 }, event);
    bus.write(0x43, 4, 1);
    expect(event.rings).toBe(1);
  });
  it('reads zeros where no device is, and ones beside it', () => {
    const seen: string[] = [];
    const bus = createBus({
      onUnclaimed: (direction, address, len, value) => seen.push(`${direction} ${address} ${len} ${value.toString(16)}`),
    });
    bus.assignIoeventfd({ address: 0x100, length: 2 }, bell());
    bus.assignIoeventfd({ address: 0x200, length: 8 }, bell());
    bus.assignIoeventfd({ address: 0x300, length: 0 }, bell());
    expect([bus.read(0x100, 2), bus.read(0x100, 4), bus.read(0xff, 2), bus.read(0x102, 1)]).toEqual([
      0, 0xffff_0000, 0x00ff, 0xff,
    ]);
    const out = new Uint32Array(2);
    bus.read64(0x200, out);
    expect([...out]).toEqual([0, 0]);
    expect(bus.read(0x300, 2)).toBe(0xff00);
    expect(seen[1]).toBe('read 256 4 ffff0000');
  });
  it('KVM EEXIST: what one write could mean twice', () => {
    const bus = createBus();
    const event = bell();
    const taken: [IoEventFd, IoEventFd][] = [
      [
        { address: 0, length: 2 },
        { address: 0, length: 2 },
      ],
      [
        { address: 8, length: 2, datamatch: 1 },
        { address: 8, length: 2, datamatch: 1n },
      ],
      [
        { address: 16, length: 2, datamatch: 1 },
        { address: 16, length: 2 },
      ],
      [
        { address: 24, length: 2 },
        { address: 24, length: 2, datamatch: 1 },
      ],
      [
        { address: 32, length: 0 },
        { address: 32, length: 4 },
      ],
      [
        { address: 40, length: 8, datamatch: 1 },
        { address: 40, length: 0 },
      ],
    ];
    for (const [first, second] of taken) {
      bus.assignIoeventfd(first, event);
      expect(() => bus.assignIoeventfd(second, event)).toThrow(code('IO_BUS_EXISTS'));
    }
    bus.assignIoeventfd({ address: 8, length: 2, datamatch: 2 }, event);
    bus.assignIoeventfd({ address: 8, length: 4, datamatch: 1 }, event);
    bus.assignIoeventfd({ address: 40, length: 8, datamatch: 0x1_0000_0001n }, event);
  });
  it('KVM EINVAL: impossible lengths, addresses and values', () => {
    const bus = createBus();
    const bad: object[] = [
      { address: 0, length: 3 },
      { address: 0, length: 16 },
      { address: -1, length: 1 },
      { address: 0.5, length: 1 },
      { address: limit, length: 0 },
      { address: limit - 1, length: 2 },
      { address: 0, length: 0, datamatch: 0 },
      { address: 0, length: 1, datamatch: 256 },
      { address: 0, length: 4, datamatch: -1 },
      { address: 0, length: 8, datamatch: 1n << 64n },
      { address: 0, length: 8, datamatch: 1.5 },
    ];
    for (const where of bad) {
      expect(() => bus.assignIoeventfd(where as IoEventFd, bell()), JSON.stringify(where, String)).toThrow(
        code('IO_BUS_INVALID'),
      );
    }
    bus.assignIoeventfd({ address: limit - 8, length: 8 }, bell());
  });
  it('KVM ENOSPC: as many as the bus takes; taking one away makes room', () => {
    const bus = createBus({ ioeventfdLimit: 3 });
    const assigned = [0, 1, 2].map((address) => bus.assignIoeventfd({ address, length: 1 }, bell()));
    expect(() => bus.assignIoeventfd({ address: 3, length: 1 }, bell())).toThrow(code('IO_BUS_FULL'));
    assigned[1][Symbol.dispose]();
    assigned[1][Symbol.dispose]();
    bus.assignIoeventfd({ address: 3, length: 1 }, bell());
    expect(() => bus.assignIoeventfd({ address: 4, length: 1 }, bell())).toThrow(IoBusError);
  });
  it('KVM ENOENT: de-assigning takes away exactly what was assigned', () => {
    const bus = createBus();
    const event = bell();
    const where = { address: 0x50, length: 2, datamatch: 3 } as const;
    bus.assignIoeventfd(where, event);
    for (const other of [
      { ...where, datamatch: 4 },
      { ...where, length: 4 },
      { ...where, address: 0x51 },
      { address: 0x50, length: 2 },
    ] as const)
      expect(() => bus.deassignIoeventfd(other, event)).toThrow(code('IO_BUS_NOT_FOUND'));
    expect(() => bus.deassignIoeventfd(where, bell())).toThrow(code('IO_BUS_NOT_FOUND'));
    bus.write(0x50, 2, 3);
    bus.deassignIoeventfd(where, event);
    bus.write(0x50, 2, 3);
    expect(event.rings).toBe(1);
    expect(() => bus.deassignIoeventfd(where, event)).toThrow(code('IO_BUS_NOT_FOUND'));
    expect(bus.read(0x50, 2)).toBe(0xffff);
  });
  it('an event may take its own doorbell away, or put another there', () => {
    const bus = createBus();
    const after = bell();
    const once = {
      signal: () => {
        first[Symbol.dispose]();
        bus.assignIoeventfd({ address: 0, length: 1 }, after);
      },
    };
    const first = bus.assignIoeventfd({ address: 0, length: 1 }, once);
    bus.write(0, 1, 1);
    bus.write(0, 1, 1);
    expect(after.rings).toBe(1);
  });
});
