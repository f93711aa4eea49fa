/** The folder of kept code: each engine, V8 and kind of processor has files of its own, and those of yesterday's are in nobody's use. */
import { readdirSync, rmSync, statSync, utimesSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';

/** Files of a kind that stay. */
const MOST = 16;

/** Notes that a file is in use. */
export function touch(path: string): void {
  const now = new Date();
  utimesSync(path, now, now);
}

/** Removes files of the same kind, which is what stands before a name's hyphen, that have not been in use for longest. */
export function dropOldFiles(path: string): void {
  const folder = dirname(path);
  const [kind] = basename(path).split('-');
  const files = readdirSync(folder)
    .filter((name) => name.startsWith(`${kind}-`))
    .flatMap((name) => {
      const stat = statSync(join(folder, name), { throwIfNoEntry: false });
      return stat ? [{ name, time: stat.mtimeMs }] : [];
    })
    .sort((a, b) => b.time - a.time);
  for (const { name } of files.slice(MOST)) rmSync(join(folder, name), { force: true });
}
