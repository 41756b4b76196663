// Parses and binds queries in KQL. On standard input: {"scripts": [...], "tables": {name: "column: type, ..."}, "queries": {name: text}}.
// On standard output, for each query: {"diagnostics": [...], "columns": {name: type}} of its result.
"use strict";
const fs = require("fs");
const vm = require("vm");

const asked = JSON.parse(fs.readFileSync(0, "utf8"));
for (const script of asked.scripts) vm.runInThisContext(fs.readFileSync(script, "utf8"), { filename: script });
const language = globalThis.Kusto.Language;
const symbols = language.Symbols;

const elements = (list) => (list ? Array.from({ length: list.Count ?? list.length }, (_, at) => (list.getItem ? list.getItem(at) : list[at])) : []);
const tables = Object.entries(asked.tables).map(([name, columns]) => new symbols.TableSymbol.$ctor7(name, `(${columns})`, null));
const globals = language.GlobalState.Default.WithDatabase(new symbols.DatabaseSymbol.$ctor1("logs", tables, false));

function bound(text) {
  const code = language.KustoCode.ParseAndAnalyze(text, globals);
  const diagnostics = elements(code.GetDiagnostics()).map((said) => `${said.Code} at ${said.Start}: ${said.Message}`);
  const columns = elements(code.ResultType && code.ResultType.Columns).map((column) => [column.Name, column.Type.Name]);
  return { diagnostics, columns: Object.fromEntries(columns) };
}

process.stdout.write(JSON.stringify(Object.fromEntries(Object.entries(asked.queries).map(([name, text]) => [name, bound(text)]))));
