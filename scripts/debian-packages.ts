/**
 * Debian packages for tests and benchmarks, without root and without installing anything: the host's own apt downloads them and what
 * they depend on into the repository's `.cache/`, and dpkg unpacks them there. What is installed already is used where it is.
 */
import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

export type DebianPackages = {
  /** Folder with the unpacked packages; laid out like `/`, and perhaps empty when everything is installed. */
  readonly root: string;
  /** Packages that cannot be had, with one line that says why. */
  readonly missing: ReadonlyMap<string, string>;
  /** Absolute path of a file that a package brings (`usr/bin/qemu-system-x86_64`), from the host first; undefined when there is none. */
  readonly find: (file: string) => string | undefined;
  /** Environment in which unpacked programs find each other and their libraries. */
  readonly env: Readonly<Record<string, string>>;
};

const run = promisify(execFile);
const cache = join(dirname(dirname(fileURLToPath(import.meta.url))), '.cache', 'debian');
const say = (text: string): boolean => process.stderr.write(`debian packages: ${text}\n`);

/** How long another process may hold the cache: longer than any download that is worth waiting for. */
const lockTimeoutMs = 300_000;
const hostStatus = '/var/lib/dpkg/status';
/** Debian package names, Policy §5.6.1, with the `:arch` that apt accepts. */
const validName = /^[a-z0-9][a-z0-9+.-]+(?::[a-z0-9-]+)?$/;

/**
 * Makes the named packages available.
 * @throws TypeError when a name is not a Debian package name. All else that goes wrong is reported in `missing`.
 */
export async function ensurePackages(names: readonly string[], folder = cache): Promise<DebianPackages> {
  checkNames(names);
  const root = join(folder, 'root');
  mkdirSync(root, { recursive: true });
  const missing = new Map<string, string>();
  const absent: string[] = [];
  for (const name of new Set(names)) if (!unpacked(folder, name) && !(await installed(name))) absent.push(name);
  if (absent.length > 0) await locked(folder, () => fetchAll(folder, absent, missing));
  const find = (file: string): string | undefined => [join('/', file), join(root, file)].find((path) => existsSync(path));
  return { root, missing, find, env: environment(root) };
}

const treeCache = join(dirname(cache), 'debian-tree');

/**
 * A folder that holds the named packages and all that they depend on, the C library included, whatever the host has installed: what a guest
 * can be given, or a chroot entered with. One folder holds the packages of all calls.
 * @throws TypeError when a name is not a Debian package name. All else that goes wrong is reported in `missing`.
 */
export async function debianTree(
  names: readonly string[],
  folder = treeCache,
): Promise<Pick<DebianPackages, 'root' | 'missing'>> {
  checkNames(names);
  const root = join(folder, 'root');
  mkdirSync(root, { recursive: true });
  const nothingInstalled = join(folder, 'status');
  writeFileSync(nothingInstalled, '');
  const missing = new Map<string, string>();
  const absent = [...new Set(names)].filter((name) => !unpacked(folder, name));
  if (absent.length > 0) await locked(folder, () => fetchAll(folder, absent, missing, nothingInstalled));
  return { root, missing };
}

function checkNames(names: readonly string[]): void {
  for (const name of names) if (!validName.test(name)) throw new TypeError(`not a Debian package name: '${name}'`);
}

const stampOf = (folder: string, name: string): string => join(folder, 'unpacked', name);
const unpacked = (folder: string, name: string): boolean => existsSync(stampOf(folder, name));

async function installed(name: string): Promise<boolean> {
  const status = await run('dpkg-query', ['-W', '-f', '${db:Status-Status}', name]).catch(() => undefined);
  return status?.stdout === 'installed';
}

async function fetchAll(
  folder: string,
  names: readonly string[],
  missing: Map<string, string>,
  status = hostStatus,
): Promise<void> {
  for (const name of names) {
    if (unpacked(folder, name)) continue; // by the process that held the lock before us
    const problem = await fetchPackage(folder, name, status).catch((error: Error) => firstLine(error));
    if (problem === undefined) continue;
    missing.set(name, problem);
    say(`${name} cannot be had: ${problem}`);
  }
}

/** Downloads a package with its dependencies and unpacks all of them. Returns why it failed, if it did. */
async function fetchPackage(folder: string, name: string, status: string): Promise<string | undefined> {
  const archives = join(folder, 'archives');
  const options = aptOptions(folder, archives, status);
  if (!(await known(options, name))) {
    say('fetching the package lists');
    await run('apt-get', [...options, 'update'], { maxBuffer: 1 << 26 });
    if (!(await known(options, name))) return 'apt knows no such package';
  }
  say(`fetching ${name}`);
  rmSync(archives, { recursive: true, force: true });
  mkdirSync(join(archives, 'partial'), { recursive: true });
  const install = ['install', '--yes', '--download-only', '--no-install-recommends', name];
  await run('apt-get', [...options, ...install], {
    maxBuffer: 1 << 26,
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
  });
  const files = readdirSync(archives).filter((file) => file.endsWith('.deb'));
  if (files.length === 0) return 'apt downloaded nothing';
  for (const file of files) await run('dpkg-deb', ['-x', join(archives, file), join(folder, 'root')]);
  rmSync(archives, { recursive: true, force: true });
  mkdirSync(dirname(stampOf(folder, name)), { recursive: true });
  writeFileSync(stampOf(folder, name), files.join('\n'));
  return undefined;
}

const known = (options: readonly string[], name: string): Promise<boolean> =>
  run('apt-cache', [...options, 'show', '--no-all-versions', name], { maxBuffer: 1 << 26 }).then(
    ({ stdout }) => stdout.includes('Package:'),
    () => false,
  );

/** apt with lists and archives of its own; what dpkg's `status` file says is installed counts as there. */
function aptOptions(folder: string, archives: string, status: string): string[] {
  const state = join(folder, 'apt');
  mkdirSync(join(state, 'lists', 'partial'), { recursive: true });
  mkdirSync(join(archives, 'partial'), { recursive: true });
  const settings = {
    'Dir::State': state,
    'Dir::State::Lists': join(state, 'lists'),
    'Dir::State::status': status,
    'Dir::Cache': join(folder, 'cache'),
    'Dir::Cache::archives': archives,
    'Debug::NoLocking': '1',
    'APT::Sandbox::User': '',
    'Acquire::Retries': '2',
  };
  mkdirSync(join(folder, 'cache'), { recursive: true });
  return Object.entries(settings).flatMap(([key, value]) => ['-o', `${key}=${value}`]);
}

/** One process at a time changes the cache; a lock whose owner has died is taken over. */
async function locked(folder: string, work: () => Promise<void>): Promise<void> {
  const lock = join(folder, 'lock');
  const deadline = Date.now() + lockTimeoutMs;
  for (;;) {
    try {
      writeFileSync(lock, String(process.pid), { flag: 'wx' });
      break;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
    if (!ownerLives(lock)) rmSync(lock, { force: true });
    else if (Date.now() > deadline) throw new Error(`${lock} has been held for ${lockTimeoutMs / 1000} s`);
    else await sleep(200);
  }
  try {
    await work();
  } finally {
    rmSync(lock, { force: true });
  }
}

function ownerLives(lock: string): boolean {
  try {
    const owner = readFileSync(lock, 'utf8');
    // Between its creation and its first byte a lock is empty.
    if (owner === '') return Date.now() - statSync(lock).mtimeMs < 5000;
    process.kill(Number(owner), 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

function environment(root: string): Record<string, string> {
  const within = (...folders: string[]): string[] => folders.map((folder) => join(root, folder));
  const { PATH = '', LD_LIBRARY_PATH = '' } = process.env;
  const libraries = within('usr/lib/x86_64-linux-gnu', 'lib/x86_64-linux-gnu', 'usr/lib', 'lib');
  return {
    PATH: [PATH, ...within('usr/bin', 'bin', 'usr/sbin', 'sbin')].filter(Boolean).join(':'),
    LD_LIBRARY_PATH: [LD_LIBRARY_PATH, ...libraries].filter(Boolean).join(':'),
  };
}

function firstLine(error: Error & { stderr?: string }): string {
  const lines = (error.stderr || error.message).split('\n').filter((line) => line.trim() !== '');
  return (
    lines
      .find((line) => line.startsWith('E:'))
      ?.slice(2)
      .trim() ??
    lines[0] ??
    'unknown error'
  );
}

if (import.meta.main) {
  const { root, missing } = await ensurePackages(process.argv.slice(2));
  console.log(root);
  process.exitCode = missing.size === 0 ? 0 : 1;
}
