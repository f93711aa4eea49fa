/**
 * Who may import whom. ARCHITECTURE.md explains the table, `check-imports.ts` enforces it.
 *
 * Keys are folders; values are folder names under `packages/`. A package that is missing here may import nothing, and the check says
 * so: a new package is added with a reason (docs/adr). `@tsvisor/state-layout` may be imported by all (ADR 0001).
 */
const defaultsOfTheCore = ['eventfd', 'io-bus', 'irqchip', 'mmu-ept-npt', 'kvmclock', 'snapshot'];

export const mayImport: Readonly<Record<string, readonly string[] | 'all'>> = {
  'packages/state-layout': [],
  'packages/wasm-codegen': [],
  'packages/eventfd': [],
  'packages/io-bus': [],
  'packages/irqchip': [],
  'packages/mmu-ept-npt': ['wasm-codegen'],
  'packages/kvmclock': [],
  'packages/x86-cpu': ['wasm-codegen'],
  'packages/devices-virtio': [],
  'packages/devices-pc': [],
  'packages/boot': [],
  'packages/net-user': [],
  'packages/snapshot': [],
  'packages/gdbstub': [],
  'packages/vmm-core': defaultsOfTheCore,
  'packages/machines': [
    ...defaultsOfTheCore,
    'wasm-codegen',
    'x86-cpu',
    'devices-virtio',
    'devices-pc',
    'boot',
    'net-user',
    'gdbstub',
    'vmm-core',
  ],
  'packages/conformance': 'all',
  'apps/runner': ['machines', 'vmm-core', 'boot', 'gdbstub', 'net-user'],
  'apps/playground': ['machines', 'vmm-core'],
  bench: 'all',
  scripts: [],
  examples: 'all',
};

/** Importable from every package. */
export const importableByAll: readonly string[] = ['state-layout'];

/** Folders whose sources may use Node's own modules. All others run in a browser tab, too. */
export const nodeOnly: readonly string[] = ['apps/runner', 'bench', 'examples', 'scripts'];

/** The row of the table for a folder; all of `examples/*` share one. */
export const ruleFor = (folder: string): readonly string[] | 'all' | undefined =>
  mayImport[folder.startsWith('examples/') ? 'examples' : folder];
