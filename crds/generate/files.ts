/** Everything that is generated from the schemas of the kinds: path from the repository's root → content. */
export function generateCrds(): { folders: string[]; files: Map<string, string> } {
  return { folders: ['crds/generated'], files: new Map() };
}
