const NOTHING: readonly never[] = [];

/** Things by host addresses, several at each. */
export class ByHost<T> {
  readonly #all = new Map<number, Set<T>>();

  at(host: number): Iterable<T> {
    return this.#all.get(host) ?? NOTHING;
  }

  add(host: number, thing: T): void {
    const known = this.#all.get(host);
    if (known) known.add(thing);
    else this.#all.set(host, new Set([thing]));
  }

  delete(host: number, thing: T): void {
    const known = this.#all.get(host);
    known?.delete(thing);
    if (known?.size === 0) this.#all.delete(host);
  }

  clear(): void {
    this.#all.clear();
  }
}
