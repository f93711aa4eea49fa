/**
 * Modules together with what V8's optimising compiler made of them. Chromium keeps them so, for pages that are visited again; Node has no other way to it
 * than V8's own functions for tests. What V8 refuses (other version, processor or flags) is compiled as ever.
 */
import { setFlagsFromString } from 'node:v8';

type Natives = {
  readonly isOptimised: (fn: WebAssembly.ExportValue) => boolean;
  readonly serialize: (module: WebAssembly.Module) => ArrayBuffer | undefined;
  readonly deserialize: (optimised: ArrayBuffer, wasm: Uint8Array) => WebAssembly.Module | undefined;
};

let natives: Natives | undefined;

function load(): Natives {
  setFlagsFromString('--allow-natives-syntax');
  try {
    return {
      isOptimised: new Function('fn', 'return %IsTurboFanFunction(fn)') as Natives['isOptimised'],
      serialize: new Function('module', 'return %SerializeWasmModule(module)') as Natives['serialize'],
      deserialize: new Function('code', 'wasm', 'return %DeserializeWasmModule(code, wasm)') as Natives['deserialize'],
    };
  } finally {
    setFlagsFromString('--no-allow-natives-syntax');
  }
}

/** Calls one of V8's functions; undefined where V8 does not have it, or does not want to. */
function call<T>(run: (natives: Natives) => T | undefined): T | undefined {
  for (const again of [true, false]) {
    try {
      natives ??= load();
      return run(natives);
    } catch {
      // V8 forgets what it has parsed of a function that is seldom called, and does not parse it anew without the flag.
      natives = undefined;
      if (!again) break;
    }
  }
  return undefined;
}

/**
 * What the optimising compiler made of a module so far; undefined if that is nothing. `fn`: a function of it, which is optimised if any is: V8 ends the
 * process rather than serialize a module without optimised code.
 */
export function optimisedCode(module: WebAssembly.Module, fn: WebAssembly.ExportValue): Uint8Array<ArrayBuffer> | undefined {
  const code = call(({ isOptimised, serialize }) => (isOptimised(fn) ? serialize(module) : undefined));
  return code === undefined ? undefined : new Uint8Array(code);
}

/** The same WebAssembly with other bytes: V8 has but one module of the same bytes in a process, and that may be one that is not optimised. */
export function another(wasm: Uint8Array, number: number): Uint8Array<ArrayBuffer> {
  // A custom section: its id, its size, and its name.
  const name = Buffer.from(`run ${number}`);
  const bytes = new Uint8Array(wasm.length + name.length + 3);
  bytes.set(wasm);
  bytes.set([0, name.length + 1, name.length, ...name], wasm.length);
  return bytes;
}

/** Has V8's optimising compiler make all of some WebAssembly at once, where V8 compiles nothing lazily; undefined where what it makes cannot be had. */
export function optimise(wasm: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> | undefined {
  setFlagsFromString('--no-liftoff');
  let module: WebAssembly.Module;
  try {
    module = new WebAssembly.Module(wasm);
  } finally {
    setFlagsFromString('--liftoff');
  }
  const fn = Object.values(instanceToAsk(module).exports).find((one) => typeof one === 'function');
  return fn && optimisedCode(module, fn);
}

/** The module of some WebAssembly of which V8 compiles what runs, when it does. */
export function lazyModule(wasm: Uint8Array<ArrayBuffer>): WebAssembly.Module {
  setFlagsFromString('--wasm-lazy-compilation');
  try {
    return new WebAssembly.Module(wasm);
  } finally {
    setFlagsFromString('--no-wasm-lazy-compilation');
  }
}

/** An instance of a module that is not to be run, only to be asked about. */
export function instanceToAsk(module: WebAssembly.Module): WebAssembly.Instance {
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 65536, shared: true });
  const imports: Record<string, Record<string, WebAssembly.ImportValue>> = {};
  for (const { module: from, name, kind } of WebAssembly.Module.imports(module)) {
    imports[from] ??= {};
    if (kind === 'memory') imports[from][name] = memory;
    else imports[from][name] = kind === 'global' ? new WebAssembly.Global({ value: 'i32' }, 0) : () => 0;
  }
  return new WebAssembly.Instance(module, imports);
}

/** The module of some WebAssembly, whose optimised code is given, in memory of its own, which is free afterwards. Undefined if that is not for this V8, this processor and these flags. */
export function moduleOf(wasm: Uint8Array, { buffer }: Uint8Array<ArrayBuffer>): WebAssembly.Module | undefined {
  const module = call(({ deserialize }) => deserialize(buffer, wasm));
  // Some 20 MB, which the next collection of garbage would find late.
  buffer.transfer(0);
  return module instanceof WebAssembly.Module ? module : undefined;
}
