/**
 * Debian programs in a folder that a chroot can enter and a guest can be given: the same files, the same commands, on the host's processor
 * and on ours.
 */
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { debianTree } from '@tsvisor/scripts/debian-packages';
import { manyLines } from './source.ts';

const PACKAGES = ['dash', 'coreutils', 'grep', 'sed', 'openssl', 'python3.11', 'libpython3.11-testsuite', 'gcc-12', 'g++-12'];
/** Of Python's own tests, those for what a processor could get wrong. */
export const PYTHON_TESTS = ['math', 'float', 'decimal', 'struct', 're', 'json', 'zlib', 'hashlib'];
export const SOURCE_LINES = 5000;

const here = (name: string): string => join(dirname(fileURLToPath(import.meta.url)), name);

/** What compilers need to make programs, and nobody to run them. A guest holds all of its files in memory, twice while it starts. */
const NOT_FOR_THE_GUEST = [
  'usr/share',
  'usr/include/c++',
  'usr/include/linux',
  'usr/lib/gcc/x86_64-linux-gnu/12/cc1plus',
  'usr/lib/gcc/x86_64-linux-gnu/12/lto1',
  'usr/lib/gcc/x86_64-linux-gnu/12/plugin',
  'usr/sbin',
  'var',
];
const isLeftOut = (path: string): boolean =>
  NOT_FOR_THE_GUEST.includes(path) || /\/lib(asan|tsan|ubsan|lsan|gprofng|itm|quadmath)\b.*|\.a$/.test(path);

/** Runs a program in a folder as its root; as root that may be done, and else in a user namespace. */
export function inChroot(root: string, command: string) {
  const enter = process.getuid?.() === 0 ? ['chroot'] : ['unshare', '--map-root-user', 'chroot'];
  const [file, ...args] = [...enter, root, '/bin/dash', '-c', command];
  return spawnSync(file, args, {
    encoding: 'utf8',
    env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C.UTF-8' },
    maxBuffer: 1 << 26,
  });
}

/** The folder of all programs, compilers included; or why there is none. */
export async function witnessTree(): Promise<{ readonly root: string } | { readonly missing: string }> {
  const { root, missing } = await debianTree(PACKAGES).catch((error: Error) => ({
    root: '',
    missing: new Map([['apt', error.message.split('\n')[0]]]),
  }));
  for (const [name, why] of missing) return { missing: `${name}: ${why}` };
  for (const folder of ['dev', 'proc', 'tmp', 'witness']) mkdirSync(join(root, folder), { recursive: true });
  const { status, stderr, error } = inChroot(root, 'exit 0');
  if (status !== 0) return { missing: `no chroot: ${(error?.message ?? stderr).trim().split('\n')[0]}` };
  return { root };
}

/** Compiles the programs and writes the files that commands name under /witness. */
export function makeWitness(root: string): void {
  const folder = join(root, 'witness');
  for (const name of ['shapes.cpp', 'long-double.c']) cpSync(here(name), join(folder, name));
  writeFileSync(join(folder, 'many-lines.c'), manyLines(SOURCE_LINES));
  const compile = [
    'cd /witness',
    'g++-12 -O2 -std=c++17 -o shapes shapes.cpp',
    // Without -frounding-math the compiler would work out with its own rounding what the program does with another.
    'gcc-12 -O1 -frounding-math -fno-builtin -o long-double long-double.c -lm',
    'openssl rand -out random -hex 300000',
  ];
  const { status, stderr } = inChroot(root, compile.join(' && '));
  if (status !== 0) throw new Error(`the programs cannot be made: ${stderr}`);
}

/** Copies what a guest needs of the tree. */
export function guestTree(root: string, to: string): void {
  const filter = (path: string): boolean => !isLeftOut(relative(root, path));
  cpSync(root, to, { recursive: true, verbatimSymlinks: true, filter });
}
