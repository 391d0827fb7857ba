"""Text files of known kinds, generated: programs, markup, configuration."""

import csv
import difflib
import io
import json
from collections.abc import Callable, Mapping
from email.message import EmailMessage

import numpy as np

VOCABULARY = """
account address amount archive balance batch border branch buffer button cache channel client
color column config count customer date default delay device document driver entry event field
file filter folder format frame group handle header height image index input invoice item label
language length level limit line list locale market member memory message method model module
month name network number option order output owner package page parent parser path payment
point policy port price process product profile project queue range record region report request
result role route sample schema score section sensor server session setting shape signal size
source stage state status store stream style symbol table target task temperature thread ticket
token total track update user value vector version weight width
"""
WORDS = tuple(VOCABULARY.split())


class Author:
    """Makes up names, sentences and numbers."""

    def __init__(self, generator: np.random.Generator) -> None:
        self.generator = generator

    def word(self) -> str:
        """Return one word."""
        return WORDS[self.number(0, len(WORDS))]

    def name(self, joint: str = "_") -> str:
        """Return two words as one name."""
        return f"{self.word()}{joint}{self.word()}"

    def title(self) -> str:
        """Return a name of words with capitals."""
        return self.word().capitalize() + self.word().capitalize()

    def sentence(self) -> str:
        """Return a sentence."""
        words = [self.word() for _ in range(self.number(5, 14))]
        return " ".join(words).capitalize() + "."

    def text(self, low: int = 2, high: int = 6) -> str:
        """Return some sentences."""
        return " ".join(self.sentence() for _ in range(self.number(low, high)))

    def number(self, low: int = 0, high: int = 1000) -> int:
        """Return an integer from `low` to below `high`."""
        return int(self.generator.integers(low, high))

    def some(self, make: Callable[[], str], low: int = 3, high: int = 12) -> list[str]:
        """Return several of what `make` makes."""
        return [make() for _ in range(self.number(low, high))]


def _python(a: Author) -> str:
    def function() -> str:
        first, second = a.word(), a.word()
        return (
            f"def {a.name()}(self, {first}, {second}=None):\n"
            f'    """{a.sentence()}"""\n'
            f"    if {second} is None:\n        {second} = [{a.number()}, {a.number()}]\n"
            f"    for item in {second}:\n        self.{a.word()}[item] = {first} + {a.number()}\n"
            f"    return len({second})\n"
        )

    body = "\n".join(a.some(function, 2, 6)).replace("\n", "\n    ")
    return f"import os\nimport sys\n\n\nclass {a.title()}:\n    {body}\n"


def _javascript(a: Author) -> str:
    def function() -> str:
        return (
            f"function {a.word()}{a.title()}({a.word()}, callback) {{\n"
            f"  const {a.word()} = document.getElementById('{a.name('-')}');\n"
            f"  let total = {a.number()};\n  if (total === undefined) {{ return null; }}\n"
            f"  callback(null, {{ {a.word()}: total, {a.word()}: '{a.word()}' }});\n}}\n"
        )

    return "'use strict';\n\n" + "\n".join(a.some(function, 2, 6)) + "\nmodule.exports = {};\n"


def _c(a: Author) -> str:
    def function() -> str:
        return (
            f"static int {a.name()}(struct {a.word()} *p, size_t n)\n{{\n"
            f"    unsigned int i;\n    for (i = 0; i < n; i++) {{\n"
            f"        if (p->{a.word()}[i] == NULL)\n            return -{a.number(1, 30)};\n"
            f'        printf("{a.word()} %u\\n", i);\n    }}\n    free(p);\n    return 0;\n}}\n'
        )

    head = "#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n\n"
    return f"{head}#define {a.name().upper()} {a.number()}\n\n" + "\n".join(a.some(function, 2, 6))


def _java(a: Author) -> str:
    def method() -> str:
        return (
            f"    public List<String> get{a.title()}(int {a.word()}) throws IOException {{\n"
            f"        Map<String, Integer> map = new HashMap<>();\n"
            f'        map.put("{a.word()}", {a.number()});\n'
            f"        return new ArrayList<>(map.keySet());\n    }}\n"
        )

    head = f"package com.{a.word()}.{a.word()};\n\nimport java.util.*;\nimport java.io.*;\n\n"
    methods = "\n".join(a.some(method, 2, 6))
    return f"{head}public class {a.title()} extends {a.title()} {{\n{methods}}}\n"


def _go(a: Author) -> str:
    def function() -> str:
        return (
            f"func (s *{a.title()}) {a.title()}(ctx context.Context, id int) (string, error) {{\n"
            f'\tif id < {a.number()} {{\n\t\treturn "", fmt.Errorf("{a.word()} %d", id)\n\t}}\n'
            f"\tdefer s.mu.Unlock()\n\treturn s.{a.word()}[id], nil\n}}\n"
        )

    head = f'package {a.word()}\n\nimport (\n\t"context"\n\t"fmt"\n)\n\n'
    return head + "\n".join(a.some(function, 2, 6))


def _rust(a: Author) -> str:
    def function() -> str:
        return (
            f"    pub fn {a.name()}(&mut self, {a.word()}: &str) -> Result<u32, Error> {{\n"
            f"        let mut total = {a.number()}u32;\n        match self.{a.word()}.get(0) {{\n"
            f"            Some(v) => total += *v,\n            None => return Err(Error::Empty),\n"
            f"        }}\n        Ok(total)\n    }}\n"
        )

    name = a.title()
    head = f"use std::collections::HashMap;\n\n#[derive(Debug, Clone)]\npub struct {name} {{\n"
    fields = "".join(a.some(lambda: f"    {a.name()}: Vec<u32>,\n"))
    return f"{head}{fields}}}\n\nimpl {name} {{\n" + "\n".join(a.some(function, 2, 5)) + "}\n"


def _shell(a: Author) -> str:
    def step() -> str:
        return (
            f'if [ ! -d "${a.word().upper()}" ]; then\n    echo "no {a.word()}" >&2\n    exit 1\n'
            f"fi\nfor f in *.{a.word()[:3]}; do\n"
            f'    grep -q {a.word()} "$f" && cp "$f" /tmp/{a.word()}\ndone\n'
        )

    return f"#!/bin/bash\nset -euo pipefail\n{a.word().upper()}=$1\n\n" + "\n".join(a.some(step))


def _sql(a: Author) -> str:
    table = a.name()

    def row() -> str:
        return f"INSERT INTO {table} VALUES ({a.number()}, '{a.word()}', {a.number()}.50);"

    create = (
        f"CREATE TABLE {table} (\n  id INTEGER PRIMARY KEY,\n  {a.word()} VARCHAR({a.number()}) "
        f"NOT NULL,\n  {a.name()} DECIMAL(10, 2)\n);\n"
    )
    query = f"SELECT id, COUNT(*) FROM {table} WHERE id > {a.number()} GROUP BY id ORDER BY 1;\n"
    return create + "\n".join(a.some(row, 4, 15)) + "\n" + query


def _css(a: Author) -> str:
    def rule() -> str:
        return (
            f".{a.name('-')}, #{a.word()}:hover {{\n  margin: {a.number(0, 40)}px auto;\n"
            f"  background-color: #{a.number(0, 1 << 24):06x};\n  display: flex;\n}}\n"
        )

    return "\n".join(a.some(rule, 4, 15))


def _html(a: Author) -> str:
    def part() -> str:
        return f'<div class="{a.word()}"><h2>{a.name(" ")}</h2>\n<p>{a.text()}</p></div>\n'

    head = f'<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8"><title>{a.word()}'
    return f"{head}</title></head>\n<body>\n{''.join(a.some(part))}</body>\n</html>\n"


def _xml(a: Author) -> str:
    tags = a.some(a.word, 4, 15)
    rows = "".join(f'  <{t} id="{a.number()}"><name>{a.name(" ")}</name></{t}>\n' for t in tags)
    root = f"{a.word()}s"
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<{root}>\n{rows}</{root}>\n'


def _svg(a: Author) -> str:
    def shape() -> str:
        return (
            f'  <rect x="{a.number()}" y="{a.number()}" width="{a.number()}" height="9" '
            f'fill="#{a.number(0, 1 << 24):06x}"/>\n  <path d="M{a.number()} {a.number()}L9 9z"/>\n'
        )

    head = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1000 1000">\n'
    return head + "".join(a.some(shape)) + "</svg>\n"


def _json(a: Author) -> str:
    rows = [
        {"id": a.number(), a.word(): a.word(), a.name(): [a.number(), None, True]}
        for _ in range(a.number(3, 12))
    ]
    return json.dumps({a.word(): a.sentence(), "items": rows}, indent=a.number(1, 5))


def _csv(a: Author) -> str:
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(["id", *(a.name() for _ in range(4))])
    for number in range(a.number(8, 40)):
        writer.writerow([number, a.word(), a.number(), f"{a.number()}.{a.number()}", a.name(" ")])
    return file.getvalue()


def _ini(a: Author) -> str:
    def section() -> str:
        lines = [f"{a.name()} = {a.word()}\n{a.word()} = {a.number()}\n" for _ in range(3)]
        return f"[{a.word()}]\n; {a.sentence()}\n{''.join(lines)}"

    return "\n".join(a.some(section, 2, 8))


def _toml(a: Author) -> str:
    def section() -> str:
        return (
            f'[{a.word()}.{a.word()}]\n{a.name("-")} = "{a.word()}"\n{a.word()} = {a.number()}\n'
            f'{a.name()} = ["{a.word()}", "{a.word()}"]\nenabled = true\n'
        )

    head = f'[package]\nname = "{a.name("-")}"\nversion = "0.{a.number()}.{a.number()}"\n\n'
    return head + "\n".join(a.some(section, 2, 8))


def _yaml(a: Author) -> str:
    def entry() -> str:
        return (
            f"  - name: {a.name('-')}\n    {a.word()}: {a.number()}\n    {a.word()}:\n"
            f"      {a.word()}: true\n      args: [{a.word()}, {a.word()}]\n"
        )

    return f"---\nversion: {a.number(1, 9)}\n{a.word()}s:\n" + "".join(a.some(entry))


def _markdown(a: Author) -> str:
    def section() -> str:
        points = "".join(a.some(lambda: f"- **{a.word()}**: {a.sentence()}\n"))
        link = f"See [{a.word()}](https://example.org/{a.word()}) and `{a.name()}()`."
        return f"## {a.name(' ').capitalize()}\n\n{a.text()} {link}\n\n{points}"

    return f"# {a.title()}\n\n" + "\n".join(a.some(section, 2, 6))


def _rst(a: Author) -> str:
    def section() -> str:
        title = a.name(" ").capitalize()
        return (
            f"{title}\n{'=' * len(title)}\n\n{a.text()}\n\n.. code-block:: python\n\n"
            f"    {a.name()}({a.number()})\n\n:param {a.word()}: {a.sentence()}\n"
            f".. note:: {a.sentence()} See :func:`{a.name('.')}`.\n"
        )

    return "\n".join(a.some(section, 2, 6))


def _latex(a: Author) -> str:
    def section() -> str:
        return (
            f"\\section{{{a.name(' ').capitalize()}}}\n{a.text()}\n\\begin{{equation}}\n"
            f"  x_{{{a.number()}}} = \\frac{{{a.number()}}}{{\\sqrt{{2}}}}\n\\end{{equation}}\n"
        )

    head = "\\documentclass[11pt]{article}\n\\usepackage{amsmath}\n\\begin{document}\n"
    return head + "\n".join(a.some(section, 2, 6)) + "\\end{document}\n"


def _diff(a: Author) -> str:
    before = a.some(a.sentence, 10, 30)
    after = [line if a.number(0, 4) else a.sentence() for line in before]
    name = f"{a.word()}.txt"
    return "".join(
        f"{line}\n"
        for line in difflib.unified_diff(before, after, f"a/{name}", f"b/{name}", lineterm="")
    )


def _mail(a: Author) -> str:
    mail = EmailMessage()
    mail["From"] = f"{a.title()} <{a.word()}@example.org>"
    mail["To"], mail["Subject"] = f"{a.word()}@example.com", a.name(" ")
    mail["Date"] = f"Mon, {a.number(1, 28)} Jan 2024 10:00:00 +0000"
    mail["Message-ID"] = f"<{a.number()}.{a.number()}@example.org>"
    mail.set_content(a.text())
    return mail.as_string()


def _makefile(a: Author) -> str:
    def rule() -> str:
        name = a.word()
        return f"{name}: {a.word()}.o {a.word()}.h\n\t$(CC) $(CFLAGS) -o $@ $<\n"

    head = f"CC = gcc\nCFLAGS := -O2 -Wall\n.PHONY: all clean\n\nall: {a.word()}\n\n"
    return head + "\n".join(a.some(rule)) + "\nclean:\n\trm -f *.o\n"


def _dockerfile(a: Author) -> str:
    steps = a.some(lambda: f"RUN apt-get update && apt-get install -y {a.word()}\n", 2, 5)
    head = f"FROM debian:{a.number(10, 13)}-slim\nENV {a.word().upper()}={a.number()}\n"
    tail = f'WORKDIR /{a.word()}\nCOPY . .\nEXPOSE {a.number()}\nCMD ["./{a.word()}"]\n'
    return head + "".join(steps) + tail


TEXT_FILES: Mapping[str, Callable[[Author], str]] = {
    "c": _c,
    "css": _css,
    "csv": _csv,
    "diff": _diff,
    "dockerfile": _dockerfile,
    "eml": _mail,
    "go": _go,
    "html": _html,
    "ini": _ini,
    "java": _java,
    "javascript": _javascript,
    "json": _json,
    "latex": _latex,
    "makefile": _makefile,
    "markdown": _markdown,
    "python": _python,
    "rst": _rst,
    "rust": _rust,
    "shell": _shell,
    "sql": _sql,
    "svg": _svg,
    "toml": _toml,
    "xml": _xml,
    "yaml": _yaml,
}
"""By the name that Magika has for the kind."""
