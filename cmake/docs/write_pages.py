#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes the Markdown pages of the tree as Doxygen reads them, and a page for each example.

    python3 cmake/docs/write_pages.py SOURCE BUILD

Doxygen 1.9 knows neither GitHub's names of headings nor links to files that are no pages. So every
heading gets a name of its own, links to pages and headings become references, and files that are
linked are copied beside the HTML.
"""

import pathlib
import re
import shutil
import sys

PAGES = {
    "README.md": "index",
    "include/batchnorm/coming_from.md": "coming_from",
    "examples/README.md": "examples_read_me",
    "include/batchnorm/README.md": "headers",
    "include/batchnorm/kernels/README.md": "instruction_sets",
    "include/batchnorm/io/README.md": "files_of_others",
    "include/batchnorm/distributed/README.md": "many_processes",
    "cmake/packages/README.md": "packages",
    "tests/benchmarks/README.md": "benchmarks",
    "tests/benchmarks/results/report.md": "all_rows",
    "tests/benchmarks/results/accuracy.md": "all_errors",
    "tests/reference/README.md": "reference_values",
    ".github/CONTRIBUTING.md": "contributing",
}
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]+)\)")


def slug(heading):
    """GitHub's name of a heading."""
    kept = re.sub(r"[^\w\- ]", "", re.sub(r"[`*]", "", heading.strip().lower()))
    return kept.replace(" ", "-")


def label(page, anchor):
    return PAGES[page] if not anchor else PAGES[page] + "_" + re.sub(r"\W", "_", anchor)


class Writer:
    def __init__(self, source, build):
        self.source, self.build = source, build

    def copy(self, path):
        """Puts a file or folder of the tree beside the HTML; returns where."""
        target = self.build / "html" / "files" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(self.source / path, target)
        return f"files/{path}"

    def link(self, page, match):
        picture, text, address = match.groups()
        if re.match(r"[a-z]+:", address):
            return match.group(0)
        path, _, anchor = address.partition("#")
        here = (self.source / page).parent
        target = (here / path).resolve().relative_to(self.source).as_posix() if path else page
        if picture:
            return f'<img src="{self.copy(target)}" alt="{text}">'
        if target in PAGES:
            return f"[{text}](@ref {label(target, anchor)})"
        if re.fullmatch(r"examples/\w+\.cpp", target):
            return f"[{text}]({pathlib.Path(target).stem}_8cpp-example.html)"
        if (self.source / target).is_dir():
            return text
        return f"[{text}]({self.copy(target)})"

    def page(self, page):
        lines, fenced, titled = [], False, False
        for line in (self.source / page).read_text(encoding="utf-8").splitlines():
            if line.startswith("```"):
                fenced = not fenced
            heading = re.match(r"(#+) (.*)", line)
            if not fenced and heading:
                name = "mainpage" if page == "README.md" else label(page, "")
                if titled:
                    name = label(page, slug(heading.group(2)))
                titled = True
                line = f"{heading.group(1)} {heading.group(2)} {{#{name}}}"
            elif not fenced:
                line = LINK.sub(lambda match: self.link(page, match), line)
            lines.append(line)
        if not titled:
            lines[:0] = [f"# {pathlib.Path(page).stem} {{#{label(page, '')}}}", ""]
        target = self.build / "pages" / page.replace("/", "_")
        target.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def examples(self):
        """One page for each program, behind the sentence that it opens with."""
        entries = []
        for program in sorted((self.source / "examples").glob("[0-9][0-9]_*.cpp")):
            comment = re.findall(r"^// ?(.*)$", program.read_text(encoding="utf-8"), re.MULTILINE)
            opening = " ".join(" ".join(comment[1:]).split())
            sentence = re.match(r".*?(?<!et al)[.:?](?= |$)", opening).group(0).rstrip(":.") + "."
            entries.append(f"/** @example {program.name}\n{sentence}\n*/\n")
        (self.build / "pages" / "examples.dox").write_text("".join(entries), encoding="utf-8")


def refuse_forgotten(source):
    """Every README.md is a page."""
    for folder in ("include", "examples", "tests"):
        for page in sorted((source / folder).rglob("README.md")):
            if page.relative_to(source).as_posix() not in PAGES:
                sys.exit(f"{page.relative_to(source)} is no page: add it to {pathlib.Path(__file__).name}")


def main(source, build):
    writer = Writer(pathlib.Path(source).resolve(), pathlib.Path(build).resolve())
    refuse_forgotten(writer.source)
    for page in PAGES:
        writer.page(page)
    writer.examples()


if __name__ == "__main__":
    main(*sys.argv[1:])
