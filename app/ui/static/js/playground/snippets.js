/** The same request for a shell, Python and the command line; the key stays a variable. */

/**
 * @typedef {object} Told
 * @property {string} learnerId
 * @property {{label: string, images: number}[]} classes
 * @property {number | null} coverage
 * @property {string} server  the address of this server
 */

/** @param {Told} told */
export function asCurl({ learnerId, classes, coverage, server }) {
  const parts = shown(classes).flatMap(({ label, files }) =>
    files.flatMap((file) => [`-F support=@${file}`, `-F ${shellWord(`labels=${label}`)}`]),
  );
  if (coverage !== null) parts.push(`-F coverage=${coverage}`);
  return [
    `# KEY holds your API key; the files are yours to name`,
    `curl -H "Authorization: Bearer $KEY" \\`,
    ...pairs(parts).map((pair) => `  ${pair} \\`),
    `  -F query=@query.jpg \\`,
    `  ${server}/v1/meta-learners/${learnerId}/predictions`,
  ].join("\n");
}

/** With the project's own client. @param {Told} told */
export function asPython({ learnerId, classes, coverage, server }) {
  const lines = shown(classes).flatMap(({ label, files }) =>
    files.map((file) => `    (${JSON.stringify(label)}, ${JSON.stringify(file)}),`),
  );
  return [
    `import os`,
    `from pathlib import Path`,
    ``,
    `from modelpool import Client  # the folder client/ of the project: pip install ./client`,
    ``,
    `support = [`,
    ...lines,
    `]`,
    `with Client("${server}", os.environ["MODELPOOL_KEY"]) as pool:`,
    `    answer = pool.predict(`,
    `        "${learnerId}",`,
    `        support=[(label, Path(file).read_bytes()) for label, file in support],`,
    `        query=[Path("query.jpg").read_bytes()],`,
    ...(coverage === null ? [] : [`        coverage=${coverage},`]),
    `    )`,
    `for prediction in answer["predictions"]:`,
    `    print(prediction["label"], prediction["probabilities"])`,
  ].join("\n");
}

/** With the project's own command line. @param {Told} told */
export function asCommand({ learnerId, classes, coverage, server }) {
  const folders = shown(classes).map(({ label, files }) => `#   ${shellWord(`classes/${label}`)}/ with ${files.join(" ")}`);
  const held = coverage === null ? "" : ` --coverage ${coverage}`;
  return [
    `# pip install ./client; MODELPOOL_KEY holds your API key. A folder for each class:`,
    ...folders,
    `export MODELPOOL_URL=${server}`,
    `modelpool predict ${learnerId} --support classes --query query.jpg${held}`,
  ].join("\n");
}

/** Names of files that somebody could have: of each class as many as there are images. */
function shown(classes) {
  const named = classes.length ? classes : [{ label: "cat", images: 1 }, { label: "dog", images: 1 }];
  return named.map(({ label, images }, at) => ({
    label,
    files: Array.from({ length: images }, (_, i) => `${fileWord(label, at)}${i + 1}.jpg`),
  }));
}

const fileWord = (label, at) => label.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "") || `class${at + 1}-`;

/** One argument for a POSIX shell, whatever is in it. @param {string} text */
export function shellWord(text) {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

function pairs(parts) {
  const lines = [];
  for (let at = 0; at < parts.length; at += 2) lines.push(parts.slice(at, at + 2).join(" "));
  return lines;
}
