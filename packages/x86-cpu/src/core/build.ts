/** Builds the modules of the interpreter tier: the core (helpers, numeric routines, interpreter) and modules of further forms. */
import type { FuncRef, FuncType, GlobalRef, I32, I64 } from '@tsvisor/wasm-codegen';
import { ModuleBuilder } from '@tsvisor/wasm-codegen';
import type { Helpers } from '../emit/emitter.ts';
import { FunctionEmitter, Status } from '../emit/interpreter.ts';
import type { Form } from '../form.ts';
import { addRoutines } from '../numeric/index.ts';
import { hotPairs, pairKey } from '../records/hot-pairs.ts';
import { semantics } from '../semantics/index.ts';
import { addDelivery } from './deliver.ts';
import { addDivide128, addMulHighS, addMulHighU } from './division.ts';
import { addDoorbells } from './doorbells.ts';
import { addExclusivity } from './exclusivity.ts';
import type { CoreLayouts } from './imports.ts';
import { importCore, importMemory } from './imports.ts';
import { addChain, addInterpreter, FIRST_CASE, HANDLER_TYPE } from './interpreter.ts';
import { addCheckCrossing, addCheckPage, addResolve } from './lookup.ts';
import { addMappings } from './mappings.ts';
import { addMemoryHelpers } from './memory.ts';
import { addPageReach } from './page-reach.ts';
import { addLoadSegment } from './segments.ts';
import { addSettleFlags } from './settle-flags.ts';

/** Slots of the handler table: cases, function forms and, later, compiled regions. */
export const TABLE_SIZE = 0x10000;

export type CoreImage = {
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Form key → handler number of the forms that are cases, or functions of the core. */
  readonly handlers: ReadonlyMap<string, number>;
  /** Those that are other functions where other processors run at the same time. */
  readonly alone: readonly string[];
  /** Handler numbers of pairs that are cases, by `pairKey` of their forms' handlers. */
  readonly pairs: ReadonlyMap<number, number>;
  /** First free handler number. */
  readonly nextHandler: number;
  /** Other processors run at the same time as those that this is for. */
  readonly atomic: boolean;
  /** What modules beside the core import from it. */
  readonly routines: ReadonlyMap<string, FuncType>;
};

const HELPERS = [
  'loadSlow',
  'storeSlow',
  'reference',
  'readPage',
  'sourcePage',
  'writePage',
  'modifyPage',
  'settleFlags',
  'commit',
  'plainHost',
  'translate',
  'segmentAddress',
  'segmentOffset',
  'raise',
  'mulHighU',
  'mulHighS',
  'divide128',
  'canonical',
  'systemHost',
  'deliverSoftware',
  'loadSegment',
  'writeCr3',
  'invalidatePage',
  'system',
  'readTsc',
  'exclusiveEnter',
  'exclusiveLeave',
  'standAside',
  'ringPort',
  'ringHypercall',
] as const satisfies readonly (keyof Helpers)[];

/** Those that are not the core's own. */
const IMPORTED: ReadonlySet<string> = new Set(['system', 'readTsc']);

/** The variants of helpers that compiled regions use. */
const SAFE: Readonly<Record<string, 'storeSafe' | 'referenceSafe'>> = { storeSlow: 'storeSafe', reference: 'referenceSafe' };

/** The core's helpers and routines for a module that is to run beside it: each imported when it is first asked for. */
export function importedHelpers(module: ModuleBuilder, image: Pick<CoreImage, 'routines' | 'atomic'>, safe = false): Helpers {
  const imported = new Map<string, FuncRef<never, unknown>>();
  const get = (name: string): FuncRef<never, unknown> | undefined => {
    const known = imported.get(name);
    const type = image.routines.get(name);
    if (known || !type) return known;
    const source = safe ? (SAFE[name] ?? name) : name;
    const ref = module.importFunction('core', source, type.params, type.results) as unknown as FuncRef<never, unknown>;
    imported.set(name, ref);
    return ref;
  };
  const helpers = { atomic: image.atomic, routines: { get: (name: string) => get(`routine.${name}`) } };
  for (const name of HELPERS) Object.defineProperty(helpers, name, { get: () => get(name) });
  return helpers as unknown as Helpers;
}

/** The core module, with `forms` as cases of the interpreter function and `others` as functions. */
export function buildCore(
  layouts: CoreLayouts,
  forms: readonly Form[],
  others: readonly Form[] = [],
  options: { checked?: boolean } = {},
): CoreImage {
  const module = new ModuleBuilder(options);
  const io = importCore(module, layouts);
  const { ringMemory, ...doorbells } = addDoorbells(module, io);
  const memory = addMemoryHelpers(module, io, ringMemory);
  const mulHighU = addMulHighU(module);
  const routines = addRoutines(module, io.cpu);
  const mulHighS = addMulHighS(module, mulHighU).ref<[I64, I64], I64>();
  const delivery = addDelivery(module, io, memory);
  let asked = false;
  const helpers: Helpers = {
    ...memory,
    ...addPageReach(module, io, memory),
    systemHost: delivery.systemHost,
    deliverSoftware: delivery.deliverSoftware,
    loadSegment: addLoadSegment(module, io, delivery.systemHost),
    ...addMappings(module, io),
    readTsc: io.readTsc,
    ...addExclusivity(module, io),
    // No locked form is a case; those that are functions are noted.
    get atomic() {
      asked = true;
      return false;
    },
    ...doorbells,
    mulHighU: mulHighU.ref(),
    mulHighS,
    settleFlags: addSettleFlags(module, io, mulHighS),
    divide128: addDivide128(module).ref(),
    system: io.system,
    routines,
  };
  const pairs = hotPairs(forms);
  const resolve = addResolve(module, io, memory);
  const interpret = addInterpreter(module, io, helpers, resolve, addCheckCrossing(module, io), delivery, forms, pairs, semantics);
  module.table({ min: TABLE_SIZE }, 'table');
  module.exportFunction('interpret', interpret);
  module.exportFunction('chain', addChain(module, io));
  module.exportFunction('checkPage', addCheckPage(module, io));
  module.exportFunction('deliverInterrupt', delivery.deliverInterrupt);
  module.exportFunction('translateAddress', memory.walk);
  for (const name of HELPERS) if (!IMPORTED.has(name)) module.exportFunction(name, helpers[name]);
  for (const name of Object.values(SAFE)) module.exportFunction(name, memory[name]);
  for (const [name, ref] of routines) module.exportFunction(`routine.${name}`, ref);
  const firstFunction = FIRST_CASE + forms.length + pairs.length;
  const alone: string[] = [];
  const functions = others.map((form) => {
    asked = false;
    const f = formFunction(module, form, helpers, io.cpu);
    if (asked) alone.push(form.key);
    return f;
  });
  module.elements(firstFunction, functions);
  const handlers = new Map([
    ...forms.map((form, n) => [form.key, FIRST_CASE + n] as const),
    ...others.map((form, n) => [form.key, firstFunction + n] as const),
  ]);
  return {
    bytes: module.build({ names: true }),
    handlers,
    atomic: false,
    pairs: new Map(
      pairs.map(({ first, second }, n) => [
        pairKey(handlers.get(first.key) as number, handlers.get(second.key) as number),
        FIRST_CASE + forms.length + n,
      ]),
    ),
    alone,
    nextHandler: firstFunction + others.length,
    routines: new Map([
      ...HELPERS.map((name) => [name, helpers[name].type] as const),
      ...[...routines].map(([name, ref]) => [`routine.${name}`, ref.type] as const),
    ]),
  };
}

/** A module of forms as functions, exported by their position. */
export function buildForms(
  image: Pick<CoreImage, 'routines' | 'atomic'>,
  forms: readonly Form[],
  options: { checked?: boolean } = {},
): Uint8Array<ArrayBuffer> {
  const module = new ModuleBuilder(options);
  importMemory(module);
  const cpu = module.importGlobal('env', 'cpu', 'i32');
  const helpers = importedHelpers(module, image);
  forms.forEach((form, n) => {
    module.exportFunction(String(n), formFunction(module, form, helpers, cpu));
  });
  return module.build();
}

function formFunction(module: ModuleBuilder, form: Form, helpers: Helpers, cpu: GlobalRef<I32>) {
  const f = module.function(form.key, HANDLER_TYPE.params, HANDLER_TYPE.results);
  const emitter = new FunctionEmitter(f, helpers, () => f.globalGet(cpu));
  emitter.begin(form);
  semantics[form.sem](emitter);
  f.i32.const(Status.Next);
  return f;
}
