/** The core module ready for use, with what its processors have to know of it. One serves all processors, on all threads. */
import type { FuncType } from '@tsvisor/wasm-codegen';
import { commonForms } from '../records/common-forms.ts';
import { hotForms } from '../records/hot-forms.ts';
import { buildCore, type CoreImage } from './build.ts';
import type { CoreLayouts } from './imports.ts';

/** Can be posted to another thread, which then shares what the host compiles of it. */
export type CoreCode = Omit<CoreImage, 'bytes'> & {
  readonly module: WebAssembly.Module;
  /** What it is for, as text. */
  readonly layouts: string;
};

/** The same as JSON. */
export type SavedCore = {
  readonly layouts: string;
  /** Base64. */
  readonly wasm: string;
  readonly handlers: readonly (readonly [string, number])[];
  readonly alone: readonly string[];
  readonly pairs: readonly (readonly [number, number])[];
  readonly nextHandler: number;
  readonly routines: readonly (readonly [string, FuncType])[];
};

/** Two layouts with the same text are the same to the core. */
function textOf({ mmu, doorbells }: CoreLayouts): string {
  const { cr3, faultError, gpaLo, gpaHi, kind, host } = mmu;
  return JSON.stringify({ mmu: { cr3, faultError, gpaLo, gpaHi, kind, host }, doorbells });
}

function build(layouts: CoreLayouts): CoreImage {
  const hot = hotForms();
  return buildCore(layouts, hot, commonForms(hot));
}

/** Builds a core to be loaded by others later: it takes some hundred milliseconds, loading one. */
export function saveCore(layouts: CoreLayouts): SavedCore {
  const { bytes, handlers, alone, pairs, nextHandler, routines } = build(layouts);
  const text = Array.from(bytes, (byte) => String.fromCharCode(byte)).join('');
  return {
    layouts: textOf(layouts),
    wasm: btoa(text),
    handlers: [...handlers],
    alone,
    pairs: [...pairs],
    nextHandler,
    routines: [...routines],
  };
}

/** @param compile for whoever has the module, or part of it, compiled already */
export function loadCore(
  { layouts, wasm, handlers, alone, pairs, nextHandler, routines }: SavedCore,
  compile = (bytes: Uint8Array<ArrayBuffer>): WebAssembly.Module => new WebAssembly.Module(bytes),
): CoreCode {
  const text = atob(wasm);
  const bytes = new Uint8Array(text.length);
  for (let n = 0; n < text.length; n++) bytes[n] = text.charCodeAt(n);
  return {
    layouts,
    module: compile(bytes),
    handlers: new Map(handlers),
    alone,
    pairs: new Map(pairs),
    nextHandler,
    routines: new Map(routines),
    atomic: false,
  };
}

let built: CoreCode | undefined;

/** The given core if it is one for these layouts; else one that is built here, once per thread. */
export function coreFor(layouts: CoreLayouts, given: CoreCode | undefined): CoreCode {
  const text = textOf(layouts);
  if (given?.layouts === text) return given;
  if (built?.layouts === text) return built;
  const { bytes, ...image } = build(layouts);
  built = { ...image, module: new WebAssembly.Module(bytes), layouts: text };
  return built;
}
