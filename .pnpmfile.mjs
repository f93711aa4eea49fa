/** Published manifests lose what only this repository understands: the condition that resolves to sources, and build scripts. */
function beforePacking(manifest) {
  for (const target of Object.values(manifest.exports ?? {})) if (typeof target === 'object') delete target['tsvisor-source'];
  delete manifest.scripts;
  delete manifest.devDependencies;
  return manifest;
}

export const hooks = { beforePacking };
