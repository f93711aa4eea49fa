/** The folder of kept code: each engine, V8 and kind of processor has files of its own, and those of yesterday's are in nobody's use. */
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, renameSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';

/** Files of a kind that stay. */
const MOST = 8;

/** A file of a kind: one for each V8 and whatever else its content depends on. */
export function fileOf(folder: string, kind: string, dependsOn: string | Uint8Array): string {
  const hash = createHash('sha256').update(`${process.versions.v8} ${process.arch} `).update(dependsOn).digest('hex');
  return join(folder, `${kind}-${hash.slice(0, 16)}`);
}

/** Puts a file in the place of the one there is. @throws what the file system says */
export function replaceFile(path: string, content: Uint8Array): void {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  const temporary = `${path}.${process.pid}`;
  try {
    writeFileSync(temporary, content, { mode: 0o600 });
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
}

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
