/**
 * Global system interrupts: which pins and messages a GSI number stands for, and the wired OR of the sources that share one.
 */
import { array, defineLayout } from '@tsvisor/state-layout';
import { IrqChipError } from './errors.ts';
import type { DeliveryCount, StatePlace } from './ports.ts';
import { bytesAt, openImage, saveImage } from './state-image.ts';

/** GSI numbers run from 0 to this, exclusive. KVM allows 4096 routes; a machine with 64 virtio devices needs about 300. */
export const GSI_COUNT = 1024;
const SOURCES = 32;

export const GSI_LAYOUT = defineLayout('gsi', {
  /** One bit for each source that holds the GSI active. Source 0 is the machine's own `setIrq`. */
  active: array('u32', GSI_COUNT),
});

const IMAGE = { name: 'GSI', id: 5, version: 1, size: GSI_LAYOUT.size } as const;

export type GsiRoute =
  | { readonly gsi: number; readonly to: 'pic'; readonly pin: number }
  | { readonly gsi: number; readonly to: 'ioapic'; readonly pin: number }
  | { readonly gsi: number; readonly to: 'msi'; readonly addressLo: number; readonly addressHi: number; readonly data: number };

export type GsiRouterOptions = {
  readonly state: StatePlace;
  readonly pic: PinSink;
  readonly ioapic: PinSink;
  readonly msi: { readonly signalMsi: (addressLo: number, addressHi: number, data: number) => DeliveryCount };
};

/** A chip with numbered inputs. */
export type PinSink = { readonly setIrq: (pin: number, level: 0 | 1) => DeliveryCount };

/** One source's share of a GSI. Disposing it releases the line and the source number. */
export type GsiLine = {
  readonly setLevel: (level: 0 | 1) => DeliveryCount;
  readonly [Symbol.dispose]: () => void;
};

/** GSI 0–15 to the 8259A pair (but not its cascade) and the IOAPIC, where 0 is wired to pin 2; 16–23 to the IOAPIC alone. */
export function defaultGsiRoutes(): GsiRoute[] {
  const routes: GsiRoute[] = [];
  for (let gsi = 0; gsi < 24; gsi++) {
    if (gsi < 16 && gsi !== 2) routes.push({ gsi, to: 'pic', pin: gsi });
    if (gsi !== 2) routes.push({ gsi, to: 'ioapic', pin: gsi === 0 ? 2 : gsi });
  }
  return routes;
}

export class GsiRouter {
  private readonly active: Uint32Array;
  private readonly bytes: Uint8Array;
  private readonly options: GsiRouterOptions;
  private readonly claimed = new Uint32Array(GSI_COUNT).fill(1);
  private targets: GsiRoute[][] = [];

  constructor(options: GsiRouterOptions) {
    const { buffer, byteOffset } = options.state;
    this.active = GSI_LAYOUT.view(buffer, byteOffset).active;
    this.bytes = bytesAt(buffer, byteOffset, GSI_LAYOUT.size);
    this.options = options;
    this.setGsiRouting(defaultGsiRoutes());
  }

  /**
   * Replaces the whole table. Levels that sources hold are not sent again.
   * @throws IrqChipError IRQCHIP_BAD_ROUTE, and then the old table stays.
   */
  setGsiRouting(routes: readonly GsiRoute[]): void {
    const targets: GsiRoute[][] = [];
    for (const route of routes) {
      checkRoute(route);
      (targets[route.gsi] ??= []).push({ ...route });
    }
    this.targets = Array.from({ length: GSI_COUNT }, (_, gsi) => targets[gsi] ?? []);
  }

  /** Whether `gsi` drives input `pin` of a chip. */
  drives(gsi: number, to: 'pic' | 'ioapic', pin: number): boolean {
    const targets = this.targets[gsi];
    for (let i = 0; i < targets.length; i++) {
      const route = targets[i];
      if (route.to === to && route.pin === pin) return true;
    }
    return false;
  }

  /** The message that `gsi` is, if it is one and nothing else. */
  messageOf(gsi: number): (GsiRoute & { readonly to: 'msi' }) | undefined {
    const [first, ...others] = this.targets[gsi] ?? [];
    return first?.to === 'msi' && others.length === 0 ? first : undefined;
  }

  /**
   * Sets what `source` (0–31) wants of `gsi`. The line is active while any source is.
   * @returns as KVM_IRQ_LINE_STATUS: processors reached, 0 coalesced, negative masked, unrouted or no such GSI.
   */
  setIrq(gsi: number, level: 0 | 1, source = 0): DeliveryCount {
    if (!(gsi >= 0 && gsi < GSI_COUNT)) return -1;
    const bit = 1 << source;
    const held = level ? this.active[gsi] | bit : this.active[gsi] & ~bit;
    this.active[gsi] = held;
    const line = held !== 0 ? 1 : 0;
    const targets = this.targets[gsi];
    let result = -1;
    for (let i = 0; i < targets.length; i++) {
      const count = this.drive(targets[i], line);
      if (count >= 0) result = Math.max(result, 0) + count;
    }
    return result;
  }

  private drive(route: GsiRoute, level: 0 | 1): DeliveryCount {
    switch (route.to) {
      case 'pic':
        return this.options.pic.setIrq(route.pin, level);
      case 'ioapic':
        return this.options.ioapic.setIrq(route.pin, level);
      case 'msi':
        return level ? this.options.msi.signalMsi(route.addressLo, route.addressHi, route.data) : -1;
    }
  }

  /**
   * A line of its own for one more source of `gsi`.
   * @throws IrqChipError IRQCHIP_BAD_ROUTE for a number out of range, IRQCHIP_TOO_MANY_SOURCES beyond 31 lines.
   */
  line(gsi: number): GsiLine {
    if (!Number.isInteger(gsi) || gsi < 0 || gsi >= GSI_COUNT)
      throw new IrqChipError('IRQCHIP_BAD_ROUTE', `there is no GSI ${gsi}`);
    const free = ~this.claimed[gsi];
    if (free === 0) throw new IrqChipError('IRQCHIP_TOO_MANY_SOURCES', `GSI ${gsi} already has ${SOURCES - 1} lines`);
    const source = 31 - Math.clz32(free & -free);
    this.claimed[gsi] |= 1 << source;
    let open = true;
    return {
      setLevel: (level) => (open ? this.setIrq(gsi, level, source) : -1),
      [Symbol.dispose]: () => {
        if (!open) return;
        this.setIrq(gsi, 0, source);
        open = false;
        this.claimed[gsi] &= ~(1 << source);
      },
    };
  }

  save(): Uint8Array {
    return saveImage(IMAGE, 0, this.bytes);
  }

  /** @throws IrqChipError IRQCHIP_BAD_STATE. The routing table is configuration and not part of the image. */
  restore(image: unknown): void {
    this.prepareRestore(image)();
  }

  prepareRestore(image: unknown): () => void {
    const { bytes } = openImage(IMAGE, image);
    return () => this.bytes.set(bytes);
  }
}

function checkRoute(route: GsiRoute): void {
  const fail = (what: string): never => {
    throw new IrqChipError('IRQCHIP_BAD_ROUTE', what);
  };
  if (!Number.isInteger(route.gsi) || route.gsi < 0 || route.gsi >= GSI_COUNT)
    fail(`route for GSI ${route.gsi}: 0–${GSI_COUNT - 1} exist`);
  if (route.to === 'msi') return;
  const pins = route.to === 'pic' ? 16 : 24;
  if (!Number.isInteger(route.pin) || route.pin < 0 || route.pin >= pins)
    fail(`route for GSI ${route.gsi}: ${route.to} has no pin ${route.pin}`);
}

/** A router with the default table over `options.state`. */
export function createGsiRouter(options: GsiRouterOptions): GsiRouter {
  return new GsiRouter(options);
}
