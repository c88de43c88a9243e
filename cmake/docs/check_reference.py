#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Counts what the docstrings of public names say, in the XML that Doxygen has made of them.

    python3 cmake/docs/check_reference.py FOLDER/xml

Public is what stands in the namespace batchnorm, but for its inner namespaces, and is not private; and
macros.
What is asked of a name (CONTRIBUTING.md, "Docstrings", says it in words):

    everything         a description
    function           each parameter by its name, and errors, also without parameters where its code
                       refuses something; where it takes data: shapes and cost
    class with members thread safety
    number             its unit
    formula            its source

Errors, shapes, cost, thread safety and source may be said once: by the class, or by one overload of
a set. Ends with the number of demands that are met, and fails unless that is all of them.
"""

import pathlib
import re
import sys
import xml.etree.ElementTree as xml

# Places in the XML are relative to it.
SOURCE_TREE = pathlib.Path(__file__).resolve().parent.parent.parent
COMPOUNDS = ("class", "struct", "union", "namespace")
# Those of guards; the macros of the inside are no part of the XML.
GUARD = re.compile(r".*_HPP$")
# What holds values, gradients, statistics or weights: it has a shape, and a call that takes it costs
# something. Files and models cost something. All other arguments are settings.
ARRAYS = re.compile(
    r"\b(Input|Output|GradientOutput|BatchView|MatrixBase|ArrayBase|DenseBase|Moments|BatchMoments|"
    r"BatchSums|GradientSums|State|StatisticVector|VectorXd|In|Matrix|Tensor|WeightView|Bias)\b|\bT ?\*")
STORED = re.compile(r"\b(Tensors|OnnxModel|OnnxBatchNorm|vector)\b|void ?\*")
# What a function calls when something is wrong, or may be.
FAILS = re.compile(r"\b(fail_\w+|check\w*|validate\w*|raise_\w+|throw)\b")
NUMBER = re.compile(r"^(const )?(static )?(constexpr )?(double|float|Index|int|long|std::size_t|std::u?int\d+_t|A|C|T)$")
UNIT = re.compile(
    r"\b(number|numbers|count|counts|counted|share|shares|weight|factor|ratio|fraction|times|values?|"
    r"channels?|minibatch(es)?|samples?|positions?|elements?|bytes?|seconds|threads?|ranks?|tasks?|"
    r"deviations?|variances?|units?|steps?|layers?|slope|opset|axis|version|percent|bits|stride|ulps?|"
    r"rounds?|epsilon|place|index|examples?|scale|shift|mean|gamma|beta)\b", re.IGNORECASE)
SOURCE = re.compile(r"\b(1[89]|20)\d\d\b|arXiv|\bSource\b|derivation|RFC|source code", re.IGNORECASE)


def text_of(node):
    """The words of a name's description, headings included."""
    parts = (node.find(tag) for tag in ("briefdescription", "detaileddescription", "inbodydescription"))
    return " ".join(" ".join(part.itertext()) for part in parts if part is not None).strip()


def said_by(node):
    """What a description says: the headings of its paragraphs, and errors where it names exceptions."""
    said = {title.text.strip().lower() for title in node.findall("./detaileddescription//simplesect/title")}
    said |= {title.text.strip().lower() for title in node.findall("./briefdescription//simplesect/title")}
    exceptions = node.findall("./detaileddescription//parameterlist[@kind='exception']//parametername")
    if any(re.match(r"std::\w+", "".join(name.itertext())) for name in exceptions):
        said.add("errors")
    if "noexcept" in (node.findtext("argsstring") or ""):
        said.add("errors")
    return said


def has_formula(node):
    """Whether an indented block of the description has an equation that is no assignment of C++."""
    blocks = node.findall("./detaileddescription//verbatim") + node.findall("./detaileddescription//preformatted")
    return any(re.search(r"\w\)? += +\S", line) and ";" not in line
               for block in blocks for line in "".join(block.itertext()).splitlines())


def denies_errors(node):
    """Whether a description says that nothing fails."""
    for section in node.findall("./detaileddescription//simplesect"):
        if (section.findtext("title") or "").strip() == "Errors":
            words = " ".join(" ".join(part.itertext()) for part in section.findall("para")).strip()
            return words == "none." or words.startswith("none;")
    return False


class Report:
    """Demands, met or not."""

    def __init__(self):
        self.names = 0
        self.demands = {}
        self.complaints = []

    def ask(self, met, place, name, demand):
        good, every = self.demands.get(demand.split(":")[0], (0, 0))
        self.demands[demand.split(":")[0]] = (good + bool(met), every + 1)
        if not met:
            self.complaints.append(f"{place}: {name} lacks {demand}")


def place_of(node):
    where = node.find("location")
    return f"{where.get('file')}:{where.get('line')}" if where is not None else "?"


def body_of(member):
    """The code of a function, as it stands in its header."""
    where = member.find("location")
    if where is None or where.get("bodyfile") is None or int(where.get("bodyend")) < 0:
        return ""
    lines = (SOURCE_TREE / where.get("bodyfile")).read_text(encoding="utf-8").splitlines()
    return "\n".join(lines[int(where.get("bodystart")) - 1:int(where.get("bodyend"))])


def set_of(member):
    """What the overloads of a set have in common: their name, and the header that they stand in."""
    return member.findtext("name"), member.find("location").get("file")


def type_of(node):
    part = node.find("type")
    return "".join(part.itertext()).strip() if part is not None else ""


def parameters_of(member):
    for parameter in member.findall("param"):
        name = parameter.findtext("declname")
        if name:
            yield name, type_of(parameter)


def is_special(member, owner):
    """Comparisons, and what a class has of every kind: its meaning is that of the language."""
    name, arguments = member.findtext("name"), member.findtext("argsstring") or ""
    return (re.fullmatch(r"operator(==|!=|=)", name) is not None or name.startswith("~") or
            "=default" in arguments or "=delete" in arguments or owner is None)


def check_function(report, member, around, overloads):
    """`around` is what the class says, with its words, and whether it says that nothing fails; `overloads`
    is the set of overloads, this one among them."""
    place, name = place_of(member), member.findtext("name")
    said = said_by(member) | around[0]
    for other in overloads:
        said |= said_by(other)
    words = " ".join([around[1], *map(text_of, overloads)])
    if name in ("operator==", "operator!="):
        return
    parameters = list(parameters_of(member))
    fails = FAILS.search(body_of(member))
    if fails or parameters:
        own = any("errors" in said_by(other) for other in overloads)
        report.ask(own or ("errors" in said and not (fails and around[2])), place, name, "errors")
    for parameter, _ in parameters:
        report.ask(re.search(rf"\b{re.escape(parameter)}\b", words, re.IGNORECASE), place, name,
                   f"parameter: {parameter}")
    has_arrays = any(ARRAYS.search(kind) for _, kind in parameters)
    if has_arrays:
        report.ask("shapes" in said, place, name, "shapes")
    if has_arrays or any(STORED.search(kind) or parameter == "path" for parameter, kind in parameters):
        report.ask("cost" in said, place, name, "cost")


def check_member(report, member, compound, around, functions):
    place, kind = place_of(member), member.get("kind")
    name = compound.findtext("compoundname") + "::" + member.findtext("name")
    words = text_of(member)
    report.names += 1
    report.ask(words, place, name, "description")
    if has_formula(member):
        report.ask(SOURCE.search(words + around[1]), place, name, "source")
    if kind == "enum":
        for value in member.findall("enumvalue"):
            report.names += 1
            report.ask(text_of(value), place, f"{name}::{value.findtext('name')}", "description")
    elif kind == "variable" and NUMBER.match(type_of(member)):
        report.ask(UNIT.search(words), place, name, "unit")
    elif kind == "function":
        if NUMBER.match(type_of(member)):
            report.ask(UNIT.search(words + " " + member.findtext("name").replace("_", " ")), place, name, "unit")
        check_function(report, member, around, functions[set_of(member)])


def check_compound(report, compound):
    kind = compound.get("kind")
    around = (set(), "", False)
    name = compound.findtext("compoundname")
    members = [member for member in compound.iter("memberdef")
               if member.get("prot") != "private" and not type_of(member).startswith("friend class")]
    functions = {}
    for member in members:
        if member.get("kind") == "function":
            functions.setdefault(set_of(member), []).append(member)
    if kind != "namespace":
        report.names += 1
        words = text_of(compound)
        around = (said_by(compound), words, denies_errors(compound))
        report.ask(words, place_of(compound), name, "description")
        if any(not is_special(member, compound) for several in functions.values() for member in several):
            report.ask("thread safety" in around[0], place_of(compound), name, "thread safety")
        if has_formula(compound):
            report.ask(SOURCE.search(words), place_of(compound), name, "source")
    for member in members:
        check_member(report, member, compound, around, functions)


def check_macros(report, compound):
    for macro in compound.iter("memberdef"):
        name = macro.findtext("name")
        if macro.get("kind") == "define" and not GUARD.match(name):
            report.names += 1
            report.ask(text_of(macro), place_of(macro), name, "description")


def is_public(compound):
    name = compound.findtext("compoundname")
    if compound.get("prot") == "private" or not name.startswith("batchnorm"):
        return False
    if "::detail" in name or "::program" in name:
        return False
    return compound.get("kind") in COMPOUNDS


def main(folder):
    report = Report()
    files = sorted(pathlib.Path(folder).glob("*.xml"))
    for file in files:
        if file.name == "index.xml" or file.name == "Doxyfile.xml":
            continue
        for compound in xml.parse(file).getroot().findall("compounddef"):
            if compound.get("kind") == "file":
                check_macros(report, compound)
            elif compound.get("kind") in COMPOUNDS and is_public(compound):
                check_compound(report, compound)
    for complaint in sorted(set(report.complaints)):
        print(complaint)
    met = sum(good for good, _ in report.demands.values())
    every = sum(count for _, count in report.demands.values())
    for demand, (good, count) in sorted(report.demands.items()):
        print(f"{demand:14} {good:5} of {count:5}")
    print(f"{report.names} public names, {met} of {every} demands met: "
          f"{100 * met // every if every else 0} %")
    return 0 if every and met == every else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
