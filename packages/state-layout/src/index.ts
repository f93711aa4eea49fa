/**
 * State layouts: one schema per component, from which TypeScript and generated WebAssembly take the same offsets.
 *
 * A schema names fields in order; the layout aligns each to its own size. A view gives typed access to one instance of the
 * layout inside a (shared) buffer. Because a component keeps *all* its state in such a buffer, threads can share it, a snapshot
 * is a copy of bytes, and two runs can be compared bit for bit.
 */

/** Scalar field types. `u64` fields are read and written as BigInt; code on hot paths uses `lo32`/`hi32` of the offset instead. */
export type ScalarType = 'u8' | 'u16' | 'u32' | 'i32' | 'f64' | 'u64';

/** A field that holds `count` scalars in a row, seen through the matching typed array. */
export type ArrayType<T extends ScalarType = ScalarType> = { readonly of: T; readonly count: number };

export type FieldType = ScalarType | ArrayType;
export type Schema = Readonly<Record<string, FieldType>>;

type TypedArrayOf<T extends ScalarType> = T extends 'u8'
  ? Uint8Array
  : T extends 'u16'
    ? Uint16Array
    : T extends 'u32'
      ? Uint32Array
      : T extends 'i32'
        ? Int32Array
        : T extends 'f64'
          ? Float64Array
          : BigUint64Array;

type FieldValue<F extends FieldType> = F extends 'u64'
  ? bigint
  : F extends ScalarType
    ? number
    : F extends ArrayType<infer T>
      ? TypedArrayOf<T>
      : never;

/** Typed access to one instance: scalars are plain properties, arrays are typed arrays over the same bytes. */
export type View<S extends Schema> = {
  -readonly [K in keyof S as S[K] extends ScalarType ? K : never]: FieldValue<S[K]>;
} & {
  readonly [K in keyof S as S[K] extends ScalarType ? never : K]: FieldValue<S[K]>;
};

export type Layout<S extends Schema> = {
  readonly name: string;
  readonly schema: S;
  /** Bytes, a multiple of `align`. */
  readonly size: number;
  /** Bytes; 8 for any layout with a 64-bit field, and never less than 4. */
  readonly align: number;
  /** Byte offset of each field from the start of the instance. */
  readonly offset: { readonly [K in keyof S]: number };
  /**
   * A view of the instance at `byteOffset` of `buffer`.
   * @throws RangeError when the instance does not fit or is misaligned.
   */
  readonly view: (buffer: ArrayBufferLike, byteOffset?: number) => View<S>;
};

const SIZE: Readonly<Record<ScalarType, number>> = { u8: 1, u16: 2, u32: 4, i32: 4, f64: 8, u64: 8 };

type TypedArrayConstructor = new (buffer: ArrayBufferLike, byteOffset: number, length: number) => ArrayBufferView;

const ARRAY: Readonly<Record<ScalarType, TypedArrayConstructor>> = {
  u8: Uint8Array,
  u16: Uint16Array,
  u32: Uint32Array,
  i32: Int32Array,
  f64: Float64Array,
  u64: BigUint64Array,
};

/** An array field: `array('u32', 24)`. */
export function array<T extends ScalarType>(of: T, count: number): ArrayType<T> {
  if (!Number.isInteger(count) || count < 1) throw new RangeError(`array field needs a positive count, not ${count}`);
  return { of, count };
}

const scalarOf = (type: FieldType): ScalarType => (typeof type === 'string' ? type : type.of);
const countOf = (type: FieldType): number => (typeof type === 'string' ? 1 : type.count);

/**
 * Lays out a schema. Fields keep their order and are aligned to their scalar's size.
 * @param options.size asserts the size in bytes: a snapshot format or generated code that depends on it then fails at start-up,
 * not at run time.
 */
export function defineLayout<const S extends Schema>(name: string, schema: S, options: { size?: number } = {}): Layout<S> {
  let at = 0;
  let align = 4;
  const offset: Record<string, number> = {};
  for (const [field, type] of Object.entries(schema)) {
    const size = SIZE[scalarOf(type)];
    align = Math.max(align, size);
    at = Math.ceil(at / size) * size;
    offset[field] = at;
    at += size * countOf(type);
  }
  const size = Math.ceil(at / align) * align;
  if (options.size !== undefined && options.size !== size)
    throw new RangeError(`layout ${name} is ${size} bytes, its schema says ${options.size}`);

  const View = viewClass(schema, offset);
  return {
    name,
    schema,
    size,
    align,
    offset: offset as Layout<S>['offset'],
    view: (buffer, byteOffset = 0) => {
      if (byteOffset % align !== 0) throw new RangeError(`${name} at ${byteOffset}: not aligned to ${align} bytes`);
      if (byteOffset + size > buffer.byteLength)
        throw new RangeError(`${name} at ${byteOffset}: ${size} bytes do not fit in ${buffer.byteLength}`);
      return new View(buffer, byteOffset) as View<S>;
    },
  };
}

type Arrays = {
  readonly $u8: Uint8Array;
  readonly $u16: Uint16Array;
  readonly $u32: Uint32Array;
  readonly $i32: Int32Array;
  readonly $f64: Float64Array;
  readonly $u64: BigUint64Array;
};
type Accessor = (index: number) => PropertyDescriptor & ThisType<Arrays>;
const accessor = (descriptor: PropertyDescriptor & ThisType<Arrays>): PropertyDescriptor & ThisType<Arrays> => descriptor;

/** Written out for each type: functions that name one property and meet one kind of array are several times faster than a common one. */
// biome-ignore format: table
const ACCESSORS: Readonly<Record<ScalarType, Accessor>> = {
  u8: (n) => accessor({ get() { return this.$u8[n]; }, set(value: number) { this.$u8[n] = value; } }),
  u16: (n) => accessor({ get() { return this.$u16[n]; }, set(value: number) { this.$u16[n] = value; } }),
  u32: (n) => accessor({ get() { return this.$u32[n]; }, set(value: number) { this.$u32[n] = value; } }),
  i32: (n) => accessor({ get() { return this.$i32[n]; }, set(value: number) { this.$i32[n] = value; } }),
  f64: (n) => accessor({ get() { return this.$f64[n]; }, set(value: number) { this.$f64[n] = value; } }),
  u64: (n) => accessor({ get() { return this.$u64[n]; }, set(value: bigint) { this.$u64[n] = value; } }),
};

/** One class per layout, so that every view of it has the same hidden class and its accessors stay monomorphic. */
function viewClass(schema: Schema, offset: Record<string, number>): new (buffer: ArrayBufferLike, base: number) => object {
  const scalarTypes = new Set(Object.values(schema).map(scalarOf));
  class StateView {
    constructor(buffer: ArrayBufferLike, base: number) {
      const self = this as unknown as Record<string, unknown>;
      for (const type of scalarTypes) {
        const elements = Math.floor((buffer.byteLength - base) / SIZE[type]);
        Object.defineProperty(self, `$${type}`, { value: new ARRAY[type](buffer, base, elements) });
      }
      for (const [field, type] of Object.entries(schema)) {
        if (typeof type === 'string') continue;
        Object.defineProperty(self, field, {
          value: new ARRAY[type.of](buffer, base + offset[field], type.count),
          enumerable: true,
        });
      }
    }
  }
  for (const [field, type] of Object.entries(schema)) {
    if (typeof type !== 'string') continue;
    Object.defineProperty(StateView.prototype, field, { enumerable: true, ...ACCESSORS[type](offset[field] / SIZE[type]) });
  }
  return StateView;
}
