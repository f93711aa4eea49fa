/**
 * Checks that the code has the shape that ARCHITECTURE.md describes:
 *
 * - imports between packages follow the table in `architecture.ts`, and there are no cycles, tests included;
 * - what a manifest declares and what the sources import agree, both ways; so do the project references of TypeScript;
 * - relative imports stay inside the package and name the `.ts` file, because Node runs the sources as they are;
 * - packages that must run in a browser do not use Node's modules outside their tests.
 *
 * `--fix` writes the project references.
 */
import { existsSync, globSync, readFileSync, writeFileSync } from 'node:fs';
import { isBuiltin } from 'node:module';
import { dirname, join, relative, resolve, sep } from 'node:path';
import ts from 'typescript';
import { importableByAll, nodeOnly, ruleFor } from './architecture.ts';
import { root, rootManifest, type WorkspacePackage, workspacePackages } from './workspace.ts';

type Import = { readonly file: string; readonly line: number; readonly specifier: string; readonly test: boolean };

/** Everything a file imports: static, dynamic, re-exported and type-only. */
export function importsOf(file: string, text: string, test: boolean): Import[] {
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.Latest);
  const found: Import[] = [];
  const visit = (node: ts.Node): void => {
    const specifier = specifierOf(node);
    if (specifier !== undefined) {
      const { line } = source.getLineAndCharacterOfPosition(node.getStart(source));
      found.push({ file, line: line + 1, specifier, test });
    }
    ts.forEachChild(node, visit);
  };
  visit(source);
  return found;
}

/** What an import, export, `import()` or `import('…').Type` names; undefined for any other node. */
function specifierOf(node: ts.Node): string | undefined {
  const name =
    ts.isImportDeclaration(node) || ts.isExportDeclaration(node)
      ? node.moduleSpecifier
      : ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword
        ? node.arguments[0]
        : ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)
          ? node.argument.literal
          : undefined;
  return name && ts.isStringLiteralLike(name) ? name.text : undefined;
}

/** `@scope/name/deep` → `@scope/name`. */
const packageName = (specifier: string): string => specifier.split('/', specifier.startsWith('@') ? 2 : 1).join('/');

const isTest = (file: string): boolean => /\.test\.ts$|(?:^|\/)(?:test|testing|fixtures)\//.test(file);

function packageImports(pkg: WorkspacePackage): Import[] {
  const files = globSync('{src,test,scripts}/**/*.ts', { cwd: pkg.path });
  return files.flatMap((file) => {
    const path = file.split(sep).join('/');
    const outside = path.startsWith('scripts/');
    return importsOf(`${pkg.folder}/${path}`, readFileSync(join(pkg.path, file), 'utf8'), outside || isTest(path));
  });
}

/** What is wrong with the packages of a repository; nothing when the list is empty. */
export function checkImports(packages: readonly WorkspacePackage[], base = root): string[] {
  const shared = new Set(Object.keys(rootManifest().devDependencies ?? {}));
  const byName = new Map(packages.map((pkg) => [pkg.name, pkg]));
  return [...packages.flatMap((pkg) => checkPackage(pkg, byName, shared, base)), ...cycles(packages, byName)];
}

function checkPackage(
  pkg: WorkspacePackage,
  byName: ReadonlyMap<string, WorkspacePackage>,
  shared: ReadonlySet<string>,
  base: string,
): string[] {
  const problems: string[] = [];
  const { dependencies = {}, devDependencies = {}, peerDependencies = {} } = pkg.manifest;
  const declared = { ...dependencies, ...peerDependencies };
  const used = new Set<string>();
  const usedInTests = new Set<string>();
  const rule = ruleFor(pkg.folder);
  if (rule === undefined) problems.push(`${pkg.folder}: not in the table of scripts/architecture.ts`);

  for (const { file, line, specifier, test } of packageImports(pkg)) {
    const report = (text: string): number => problems.push(`${file}:${line}: ${text}`);
    if (specifier.startsWith('.')) {
      if (!/\.(?:ts|mts|json|mjs|js)$/.test(specifier)) report(`'${specifier}' must name the file, with its .ts`);
      else if (!existsSync(join(base, dirname(file), specifier))) report(`'${specifier}' does not exist`);
      if (relative(pkg.path, resolve(base, dirname(file), specifier)).startsWith('..'))
        report(`'${specifier}' leaves the package`);
      continue;
    }
    if (specifier.startsWith('/')) {
      report(`'${specifier}' leaves the package`);
      continue;
    }
    if (isBuiltin(specifier)) {
      if (!specifier.startsWith('node:')) report(`write 'node:${specifier}'`);
      const allowed = nodeOnly.some((folder) => pkg.folder === folder || pkg.folder.startsWith(`${folder}/`));
      if (!test && !allowed && !file.endsWith('.node.ts')) report(`'${specifier}' keeps the package out of browsers`);
      continue;
    }
    const name = packageName(specifier);
    (test ? usedInTests : used).add(name);
    if (name === pkg.name) report('a package imports its own files by path');
    else if (test && !(name in declared) && !(name in devDependencies) && !shared.has(name)) report(`'${name}' is not declared`);
    else if (!test && !(name in declared)) report(`'${name}' is not among the package's dependencies`);

    const target = byName.get(name);
    if (!target || test || rule === undefined || rule === 'all') continue;
    const short = target.folder.replace(/^packages\//, '');
    if (!rule.includes(short) && !importableByAll.includes(short))
      report(`${pkg.folder} may not import '${name}' (ARCHITECTURE.md)`);
  }

  for (const name of Object.keys(declared)) if (!used.has(name)) problems.push(`${pkg.folder}: dependency '${name}' is not used`);
  for (const name of Object.keys(devDependencies)) {
    if (byName.has(name) && !usedInTests.has(name)) problems.push(`${pkg.folder}: devDependency '${name}' is not used`);
  }
  for (const [name, version] of Object.entries({ ...dependencies, ...devDependencies })) {
    if (byName.has(name) && version !== 'workspace:*') problems.push(`${pkg.folder}: '${name}' must be 'workspace:*'`);
  }
  return problems;
}

function workspaceDependencies(pkg: WorkspacePackage, byName: ReadonlyMap<string, WorkspacePackage>): WorkspacePackage[] {
  const names = Object.keys({ ...pkg.manifest.dependencies, ...pkg.manifest.devDependencies });
  return names.flatMap((name) => byName.get(name) ?? []);
}

function cycles(packages: readonly WorkspacePackage[], byName: ReadonlyMap<string, WorkspacePackage>): string[] {
  const done = new Set<WorkspacePackage>();
  const problems: string[] = [];
  const visit = (pkg: WorkspacePackage, trail: readonly WorkspacePackage[]): void => {
    const at = trail.indexOf(pkg);
    if (at >= 0) {
      const names = [...trail.slice(at), pkg].map(({ name }) => name);
      problems.push(`cycle: ${names.join(' → ')}`);
    }
    if (at >= 0 || done.has(pkg)) return;
    for (const next of workspaceDependencies(pkg, byName)) visit(next, [...trail, pkg]);
    done.add(pkg);
  };
  for (const pkg of packages) visit(pkg, []);
  return problems;
}

type ProjectFile = { readonly file: string; readonly wanted: readonly string[] };

/** The `references` that every tsconfig.json must have: the packages' own dependencies, and all packages at the root. */
function projectFiles(packages: readonly WorkspacePackage[], base: string): ProjectFile[] {
  const byName = new Map(packages.map((pkg) => [pkg.name, pkg]));
  const own = packages.map((pkg) => ({
    file: join(pkg.path, 'tsconfig.json'),
    wanted: workspaceDependencies(pkg, byName).map((target) => relative(pkg.path, target.path).split(sep).join('/')),
  }));
  return [...own, { file: join(base, 'tsconfig.json'), wanted: packages.map(({ folder }) => folder) }];
}

export function checkReferences(packages: readonly WorkspacePackage[], fix: boolean, base = root): string[] {
  return projectFiles(packages, base).flatMap(({ file, wanted }) => {
    const name = relative(base, file);
    if (!existsSync(file)) return [`${name}: missing`];
    const config = ts.parseConfigFileTextToJson(file, readFileSync(file, 'utf8')).config as {
      compilerOptions?: Record<string, unknown>;
      references?: { path: string }[];
    };
    const moved = config.compilerOptions?.outDir === undefined ? [] : [`${name}: outDir comes from tsconfig.base.json`];
    const present = (config.references ?? []).map(({ path }) => path.replace(/\/$/, ''));
    if ([...present].sort().join() === [...wanted].sort().join()) return moved;
    if (!fix)
      return [...moved, `${name}: references must be [${[...wanted].sort().join(', ')}] (npm run check:imports -- --fix)`];
    writeFileSync(file, withReferences(config, [...wanted].sort()));
    return moved;
  });
}

/** The file as a person would write it: one line per reference. */
function withReferences(config: object, paths: readonly string[]): string {
  const text = JSON.stringify({ ...config, references: paths.map((path) => ({ path })) }, null, 2);
  return `${text.replace(/\{\s+("path": "[^"]*")\s+\}/g, '{ $1 }')}\n`;
}

if (import.meta.main) {
  const packages = workspacePackages();
  const problems = [...checkImports(packages), ...checkReferences(packages, process.argv.includes('--fix'))];
  for (const problem of problems) console.error(problem);
  console.error(problems.length === 0 ? `imports of ${packages.length} packages are in order` : `${problems.length} problems`);
  process.exitCode = problems.length === 0 ? 0 : 1;
}
