import { VmmError } from './errors.ts';

/** What a plugin makes; the machine holds it until it is taken down. */
export type Device = { readonly dispose: () => void };

/**
 * A part that a machine is built from: it names the services it needs and gets these and no others. `S` are the services there can
 * be; `provides` are those that exist once this plugin has been created.
 */
export type Plugin<S, N extends keyof S = never, P extends keyof S = never, D extends Device = Device> = {
  /** Unique in a machine; for errors and for finding the device. */
  readonly name: string;
  readonly needs: readonly N[];
  readonly provides?: readonly P[];
  readonly create: (services: Pick<S, N>) => D & { readonly services?: Pick<S, P> };
};

/** Any plugin over the services `S`. */
type AnyPlugin<S> = {
  readonly name: string;
  readonly needs: readonly (keyof S)[];
  readonly provides?: readonly (keyof S)[];
  readonly create: (services: S) => Device & { readonly services?: Partial<S> };
};

/** Built plugins. */
export type Built<S> = {
  /** The services there are now. */
  readonly services: Partial<S>;
  /** Takes all devices down, the last one built first. */
  readonly dispose: () => void;
};

/**
 * Builds plugins in the order given. Everything is checked before the first is created: names, and that each need is met by
 * `initial` or by what an earlier plugin provides. If one of them cannot be created, those before it are taken down again.
 * @throws VmmError `VMM_PLUGIN_DUPLICATE`, `VMM_PLUGIN_NEEDS`, and whatever a plugin's `create` throws
 */
export function buildPlugins<S extends object>(initial: Partial<S>, plugins: readonly AnyPlugin<S>[]): Built<S> {
  checkPlugins(new Set(Object.keys(initial) as (keyof S)[]), plugins);
  const services: Partial<S> = { ...initial };
  const devices: Device[] = [];
  const dispose = (): void => {
    for (const device of devices.splice(0).reverse()) device.dispose();
  };
  try {
    for (const plugin of plugins) {
      const device = plugin.create(pick(services as S, plugin.needs));
      devices.push(device);
      Object.assign(services, device.services);
    }
  } catch (error) {
    dispose();
    throw error;
  }
  return { services, dispose };
}

function checkPlugins<S>(known: Set<keyof S>, plugins: readonly AnyPlugin<S>[]): void {
  const names = new Set<string>();
  for (const { name, needs, provides = [] } of plugins) {
    if (names.has(name)) throw new VmmError('VMM_PLUGIN_DUPLICATE', `there are two plugins named ${name}`);
    names.add(name);
    const missing = needs.filter((need) => !known.has(need));
    if (missing.length > 0)
      throw new VmmError('VMM_PLUGIN_NEEDS', `${name} needs ${missing.map(String).join(', ')}, which nothing before it provides`);
    for (const service of provides) {
      if (known.has(service))
        throw new VmmError('VMM_PLUGIN_DUPLICATE', `${name} provides ${String(service)}, which is there already`);
      known.add(service);
    }
  }
}

/** A plugin gets what it asked for: one that uses more than it says fails where it was written, not in another machine. */
function pick<S>(services: S, needs: readonly (keyof S)[]): S {
  const picked: Partial<S> = {};
  for (const need of needs) picked[need] = services[need];
  return picked as S;
}
