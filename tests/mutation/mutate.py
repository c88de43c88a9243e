#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""How many small wrong changes of a header does its own test notice?

    python3 tests/mutation/mutate.py --sample 200 --seed 1      measure, list what goes unnoticed
    python3 tests/mutation/mutate.py --headers view/overlap     all changes of some headers
    python3 tests/mutation/mutate.py --only 1a2b3c4d,...        some changes again
    python3 tests/mutation/mutate.py --list                     the changes

A header's own tests are the one at its path and those of that folder that have no header at theirs
and include this one first. The sampled changes of a header are compiled into them together, and an
environment variable says which one is in force; only those that cannot be had that way, such as
sizes of arrays, are compiled one by one. Changes that do not compile do not count. Neither do those
in equivalent.txt, with the reason why nobody could notice them. Kernels are left out: tests of tiles
and drivers meet several of their headers at once. The test of distributed/mpi.hpp is the program that
mpirun starts, where MPICH is. Needs Python, CMake, and g++ or clang++.
"""
import argparse
import json
import os
import random
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from changes import Source, blamed, changed, changes_of, with_switches

TREE = Path(__file__).resolve().parents[2]
SWITCH = """#pragma once
#include <cstdlib>
namespace mutation {
inline bool is(int change) {
  static const char* const text = std::getenv("MUTATION");
  static const int active = text != nullptr ? std::atoi(text) : 0;
  return change == active;
}
}  // namespace mutation
"""


# Of a header without a unit test: the target, the program in the folder of tests, and how it is run.
PROGRAMS = {"distributed/mpi": ("mpi_ranks_mpich", "distributed/mpi_ranks_mpich", ["mpirun.mpich", "-n", "3"])}


def program_of(test):
    """The target, the program and the command before it of a test."""
    name = "test_" + test.replace("/", "_")
    return PROGRAMS.get(test, (name, name, []))


class Project:
    """A copy of the headers that is found before the real ones, and the tests built with it."""

    def __init__(self, build, more_flags):
        self.build = build.resolve()
        self.include = self.build / "include"
        self.sanitized = "-fsanitize" in more_flags
        self.patience = 0  # seconds that a test may take
        self.tests = sorted(str(path.relative_to(TREE / "tests"))[:-len(".test.cpp")]
                            for path in (TREE / "tests").rglob("*.test.cpp"))
        shutil.rmtree(self.include, ignore_errors=True)
        shutil.copytree(TREE / "include", self.include, copy_function=shutil.copyfile)
        (self.include / "mutation.hpp").write_text(SWITCH)
        flags = f"-w -iquote '{self.include}' {more_flags}"
        self.run(["cmake", "-S", str(TREE), "-B", str(self.build), "-DBATCHNORM_BUILD_EXAMPLES=OFF",
                  "-DBATCHNORM_TEST_APART=ON", f"-DCMAKE_CXX_FLAGS={flags}"]
                 + (["-G", "Ninja"] if shutil.which("ninja") else []))

    @staticmethod
    def run(command):
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode != 0:
            sys.exit(f"{' '.join(command)}\n{done.stdout}")

    def headers(self):
        base = TREE / "include" / "batchnorm"
        return sorted(str(path.relative_to(base)) for path in base.rglob("*.hpp"))

    def own_tests(self, header):
        """The test at the path of a header, and those of its folder that include it first."""
        def owner(test):
            if test + ".hpp" in self.headers():
                return test + ".hpp"
            first = re.search(r'#include "batchnorm/(.*?)"', (TREE / "tests" / (test + ".test.cpp")).read_text())
            return first.group(1) if first else ""
        folder = Path(header).parent
        started = header[:-len(".hpp")]
        if started in PROGRAMS:
            return [started] if shutil.which(program_of(started)[2][0]) else []
        return [test for test in self.tests if Path(test).parent == folder and owner(test) == header]

    def put(self, header, text):
        (self.include / "batchnorm" / header).write_text(text)

    def compile(self, tests):
        """Builds tests with the headers as they stand; None, or what the compiler said."""
        names = [program_of(test)[0] for test in tests]
        done = subprocess.run(["cmake", "--build", str(self.build), "--target"] + names,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        return None if done.returncode == 0 else done.stdout

    def passes(self, tests, change, folder, seconds=60):
        """Whether all tests pass with a change in force; hanging or filling the memory is failing."""
        def limits():
            resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
            if not self.sanitized:  # their shadow memory is larger than any limit
                resource.setrlimit(resource.RLIMIT_DATA, (4 << 30, 4 << 30))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        for test in tests:
            _, program, starter = program_of(test)
            try:
                done = subprocess.run(starter + [str(self.build / "tests" / program)],
                                      stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                      stderr=subprocess.DEVNULL, cwd=folder, preexec_fn=limits, timeout=self.patience,
                                      env=dict(os.environ, MUTATION=str(change), TMPDIR=folder))
            except subprocess.TimeoutExpired:
                return False
            if done.returncode != 0:
                return False
        return True


def compile_together(project, source, tests, numbered):
    """Compiles as many changes together as possible; returns those that were left out."""
    together = dict(numbered)
    while True:
        text, alone = with_switches(source, together)
        for change in alone:
            together.pop(change)
        if not together:
            return dict(numbered)
        text = text.replace("\nnamespace ", '\n#include "mutation.hpp"\nnamespace ', 1)
        project.put(source.header, text)
        said = project.compile(tests)
        if said is None:
            return {k: c for k, c in numbered.items() if k not in together}
        bad = set()
        for pattern in (r":(\d+)(?::\d+)?: error", r":(\d+)(?::\d+)?:"):
            lines = {int(line) for line in re.findall(re.escape(source.header) + pattern, said)}
            bad = bad or blamed(text, lines)
        for change in bad & set(together) or list(together)[len(together) // 2:]:
            together.pop(change)


def measure(project, header, changes, record):
    """Tries changes of one header; record(change, outcome) for each."""
    tests = project.own_tests(header)
    if not tests:
        for change in changes:
            record(change, "no test")
        return
    source = Source(header, (TREE / "include" / "batchnorm" / header).read_text())
    numbered = dict(enumerate(changes, 1))

    def outcome(change, folder):
        return "unnoticed" if project.passes(tests, change, folder) else "noticed"

    with tempfile.TemporaryDirectory() as folder:
        project.put(header, source.text)
        fails = project.compile(tests) is not None
        project.patience = 1200
        began = time.monotonic()
        if fails or outcome(0, folder) == "noticed":
            print(f"{header}: its tests fail without any change", file=sys.stderr)
            return
        project.patience = 30 + 20 * (time.monotonic() - began)  # one that waits for ever ends then
        while True:
            alone = compile_together(project, source, tests, numbered)
            if len(numbered) - len(alone) < 2:
                break
            if outcome(0, folder) == "noticed":  # the switches alone have changed something
                print(f"{header}: its tests fail with switches, none in force", file=sys.stderr)
                break
            for k in sorted(set(numbered) - set(alone)):
                record(numbered[k], outcome(k, folder))
            numbered = alone
        for change in numbered.values():
            project.put(header, changed(source, change))
            fails = project.compile(tests) is not None
            record(change, "does not compile" if fails else outcome(0, folder))
    project.put(header, source.text)


def equivalents():
    """The changes judged equivalent, as they are printed, without id and number of the line."""
    lines = (Path(__file__).parent / "equivalent.txt").read_text().splitlines()
    return [line for line in lines if line and line[0] not in "# "]


def report(changes, results, known):
    """Prints what goes unnoticed and the score; whether nothing is left to judge."""
    count = {}
    for change in changes:
        outcome = results.get(change.id, "not tried")
        judged = [entry for entry in known if f"{change.header}: {change.shown}".startswith(entry)]
        if outcome == "unnoticed" and judged:
            outcome = "equivalent"
        elif outcome == "noticed" and any(entry.endswith("]") for entry in judged):
            print(f"noticed, although judged equivalent: {judged[0]}")
        count[outcome] = count.get(outcome, 0) + 1
        if outcome in ("unnoticed", "no test"):
            print(f"{change.id} {change.header}:{change.line}: {change.shown}")
    noticed, missed = count.get("noticed", 0), count.get("unnoticed", 0) + count.get("no test", 0)
    print(", ".join(f"{number} {outcome}" for outcome, number in sorted(count.items())))
    if noticed + missed:
        print(f"{100.0 * noticed / (noticed + missed):.1f} % noticed, {noticed} of {noticed + missed}")
    return missed == 0


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--headers", default="", help="regular expression for paths below include/batchnorm")
    parser.add_argument("--without", default="^kernels/", help="the same for those left out (default: %(default)s)")
    parser.add_argument("--sample", type=int, help="so many changes, drawn at random")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", help="ids of changes, separated by commas")
    parser.add_argument("--list", action="store_true", help="print the changes and do nothing")
    parser.add_argument("--flags", default="", help="for the compiler, such as --flags=-fsanitize=address,undefined")
    parser.add_argument("--build", type=Path, default=TREE / "build" / "mutation")
    parser.add_argument("--continue", dest="go_on", action="store_true", help="keep the results of the last run")
    parser.add_argument("--again", action="store_true", help="try again what went unnoticed in the last run")
    return parser.parse_args()


def main():
    given = arguments()
    base = TREE / "include" / "batchnorm"
    changes = []
    for path in sorted(base.rglob("*.hpp")):
        header = str(path.relative_to(base))
        if re.search(given.headers, header) and not (given.without and re.search(given.without, header)):
            changes += changes_of(Source(header, path.read_text()))
    if given.only:
        changes = [c for c in changes if c.id in given.only.split(",")]
    if given.sample and given.sample < len(changes):
        changes = sorted(random.Random(given.seed).sample(changes, given.sample), key=lambda c: (c.header, c.start))
    if given.list:
        for change in changes:
            print(f"{change.id} {change.header}:{change.line}: {change.shown}")
        return 0
    project = Project(given.build, given.flags)
    file = project.build / "mutation.json"
    results = json.loads(file.read_text()) if (given.go_on or given.again) and file.exists() else {}
    if given.again:
        results = {i: r for i, r in results.items() if r != "unnoticed"}
    began = time.monotonic()

    def record(change, outcome):
        results[change.id] = outcome
        file.write_text(json.dumps(results, indent=0))

    for header in sorted({c.header for c in changes}):
        waiting = [c for c in changes if c.header == header and c.id not in results]
        if waiting:
            measure(project, header, waiting, record)
            print(f"{header}: {len(waiting)} tried, {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return 0 if report(changes, results, equivalents()) else 1


if __name__ == "__main__":
    sys.exit(main())
