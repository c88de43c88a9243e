# SPDX-License-Identifier: MIT
"""Small wrong changes of C++ source text, and ways to put many of them into one translation unit.

The text is not parsed. clang-format has laid it out: a binary operator has a space on either side,
the bracket of a template list has none. Where that is not enough the compiler refuses the change,
and it does not count.
"""
import bisect
import hashlib
import re
from dataclasses import dataclass


@dataclass
class Change:
    header: str
    start: int
    end: int
    kind: str
    after: str
    id: str = ""
    line: int = 0
    shown: str = ""


def masked(text):
    """The text with comments, strings and preprocessor lines blanked, letter for letter."""
    def blank(match):
        inside = match.group()
        keep = '"' if inside[0] == '"' else " "
        return keep + re.sub(r"[^\n]", " ", inside[1:-1]) + (keep if len(inside) > 1 else "")
    pattern = r'//[^\n]*|"(?:\\.|[^"\\\n])*"|(?<![0-9a-fA-F])\'(?:\\.|[^\'\\\n])+\'|^[ ]*#(?:\\\n|[^\n])*'
    return re.sub(pattern, blank, text, flags=re.M)


COMPARISONS = {"<": ["<=", ">="], "<=": ["<", ">"], ">": [">=", "<="], ">=": [">", "<"],
               "==": ["!="], "!=": ["=="]}
OPERATORS = {"+": "-", "-": "+", "*": "/", "/": "*", "%": "*", "+=": "-=", "-=": "+=", "*=": "/=",
             "/=": "*=", "&&": "||", "||": "&&", "<<": ">>", ">>": "<<"}
NOT_STATEMENTS = re.compile(r"(using|static_assert|typedef|template|return|throw|case|default|break|"
                            r"continue|friend|public|private|goto|constexpr|namespace|struct|class)\b")
SAME_AS_EMPTY = re.compile(r"return (true|false|0|nullptr|\{\}|[A-Z]\w*(<[\w, ]+>)?\(\))")
NO_CALLS = ("constexpr", "static_assert", "decltype", "sizeof", "noexcept")
DECLARATION = re.compile(r"[\w:][\w:<>,&*\s\[\]]*[\s&*>]\s*\[?[\w, ]+\]?(\[\w*\])?\s*([=({].*)?$", re.S)


class Source:
    """A header, its brackets, and the statements and expressions around a position."""

    def __init__(self, header, text):
        self.header, self.text, self.mask = header, text, masked(text)
        self.opener, self.closer = {}, {}  # position -> bracket around it; opening -> closing
        self.around = [-1] * (len(text) + 1)
        stack = []
        for at, letter in enumerate(self.mask):
            if letter in ")]}" and stack:
                self.closer[stack[-1]] = at
                self.opener[at] = stack.pop()
            self.around[at] = stack[-1] if stack else -1
            if letter in "([{":
                stack.append(at)

    def word_before(self, at):
        match = re.search(r"(\w+|\S)\s*$", self.mask[max(0, at - 200):at])
        return match.group(1) if match else ""

    def is_block(self, brace):
        """Whether a brace opens the body of a function, a branch or a lambda, and no list."""
        before = self.word_before(brace)
        return before in (")", "]", "else", "do", "try", "const", "noexcept", "override", "mutable",
                          ";", "{", "}") and not self.is_type(brace)

    def is_type(self, brace):
        start = max(self.mask.rfind(end, 0, brace) for end in ";{}")
        head = re.sub(r"template <[^;{}]*?>\s*\n", "", self.mask[start + 1:brace])
        return re.match(r"\s*(inline )?(namespace|struct|class|enum|union)\b", head) is not None

    def is_lambda(self, brace):
        before = self.mask[:brace].rstrip()
        if before.endswith("mutable"):
            before = before[:-7].rstrip()
        if before.endswith(")"):
            before = before[:self.opener[len(before) - 1]].rstrip()
        return before.endswith("]")

    def statement(self, at):
        """The statement around a position, directly in a block: first letter and semicolon."""
        block = self.around[at]
        start = at
        while start > block + 1:
            letter = self.mask[start - 1]
            if letter == ";" or letter == "}" and self.ends_statement(self.opener.get(start - 1, 0)):
                break
            start = self.opener.get(start - 1, start - 1) if letter in ")]}" else start - 1
        end = at
        while end < len(self.mask) and self.mask[end] not in ";}":
            end = self.closer.get(end, end) + 1 if self.mask[end] in "([{" else end + 1
        while True:  # without what stands before a statement
            head = re.match(r"\s*((if( constexpr)?|for|while|switch) (?=\()|else\b|do\b|case [\w:]+:|default:)",
                            self.mask[start:end])
            if not head:
                break
            start += head.end()
            if self.mask[start] == "(":
                start = self.closer[start] + 1
        start += len(self.mask[start:end]) - len(self.mask[start:end].lstrip())
        return (start, end) if start <= at and self.mask[end:end + 1] == ";" else None

    def ends_statement(self, brace):
        return self.mask[brace] == "{" and (self.is_block(brace) or self.is_type(brace)) and not self.is_lambda(brace)

    def pieces(self, opener, separator):
        """What stands between the separators inside a bracket."""
        ends, at = [opener], opener + 1
        while at < self.closer[opener]:
            if self.mask[at] == separator:
                ends.append(at)
            at = self.closer.get(at, at) + 1 if self.mask[at] in "([{" else at + 1
        ends.append(self.closer[opener])
        return [(a + 1, b) for a, b in zip(ends, ends[1:])]

    def region(self, change):
        """The expression or statement that can be had in two versions: first, last, kind."""
        at = change.start
        while True:
            opener = self.around[at]
            if opener < 0:
                return None
            letter, before = self.mask[opener], self.word_before(opener)
            if letter == "(" and before in ("if", "while", "switch", "for"):
                parts = self.pieces(opener, ";")
                index = next(i for i, (a, b) in enumerate(parts) if a <= at <= b)
                if before == "for" and len(parts) != 3 or before != "for" and len(parts) > 1:
                    return None
                if before == "for" and index == 0:
                    equals = self.mask.find(" = ", *parts[0])
                    return (equals + 3, parts[0][1], "expression") if 0 < equals < at else None
                return parts[index] + ("void" if index == 2 else "expression",)
            called = self.mask[self.closer.get(opener, 0) + 1:][:1] == "("  # (std::min)(a, b)
            if letter == "(" and not called and before not in NO_CALLS:
                part = next((a, b) for a, b in self.pieces(opener, ",") if a <= at <= b)
                if "{" not in self.mask[part[0]:part[1]] and self.in_function(opener):
                    return part + ("expression",)
            if letter == "{" and self.is_block(opener):
                return self.region_of_statement(at)
            at = opener

    def in_function(self, at):
        while at >= 0:
            if self.mask[at] == "{" and self.is_block(at):
                return True
            at = self.around[at]
        return False

    def region_of_statement(self, at):
        found = self.statement(at)
        if not found:
            return None
        start, end = found
        code = self.mask[start:end]
        if code.startswith("return "):
            return (start + 7, end, "expression")
        equals = re.search(r" =\s", code)
        if equals and DECLARATION.match(code[:equals.start() + 1].rstrip()) and " " in code[:equals.start()]:
            first = start + equals.end()
            return (first, end, "expression") if "constexpr" not in code[:equals.start()] and first <= at else None
        if NOT_STATEMENTS.match(code) or re.match(r"[\w:<>,&* ]+[ &*>]\w+[({\[]", code):
            return None
        return (start, end + 1, "statement")


def numbers(text):
    if re.fullmatch(r"\d+", text):
        return str(int(text) + 1)
    return repr(float(text) * 2 or 1.0)


def token_changes(source):
    mask = source.mask
    heads = [m.span() for m in re.finditer(r"\btemplate <|\bstatic_assert\(|\busing \w+ =|\bfriend\b", mask)]
    skipped = [(a, mask.find("\n\n" if mask[a] == "\n" else (";" if mask[a] in "suf" else ">\n"), b)) for a, b in heads]
    found = []
    for m in re.finditer(r"(?<=[\s])(<=|>=|==|!=|<<|>>|&&|\|\||[-+*/]=|[-+*/%<>])(?=\s)", mask):
        for after in COMPARISONS.get(m.group(), [OPERATORS.get(m.group())]):
            found.append((m.start(), m.end(), "comparison" if m.group() in COMPARISONS else "operator", after))
    found = [f for f in found if '"' not in (mask[f[0] - 2], mask[f[1] + 1])]
    for m in re.finditer(r"(?<![\w.'])(\d+(?:\.\d+)?)(?![\w.'])", mask):
        found.append((m.start(), m.end(), "constant", numbers(m.group())))
    for m in re.finditer(r"\b(true|false)\b", mask):
        found.append((m.start(), m.end(), "constant", "false" if m.group() == "true" else "true"))
    for m in re.finditer(r"(?<=[\s(])[!-](?=[\w(])", mask):
        if m.group() == "!" or not re.search(r"[\w)\]]\s*$", mask[:m.start()]) or mask[:m.start()].endswith("return "):
            found.append((m.start(), m.end(), "negation", ""))
    for m in re.finditer(r"\(std::(min|max)\)", mask):
        found.append((m.start(1), m.end(1), "operator", "max" if m.group(1) == "min" else "min"))
    return [f for f in found if not any(a <= f[0] < b for a, b in skipped)]


def statement_changes(source):
    mask, found = source.mask, []
    for m in re.finditer(r"\b(if|while) \(", mask):
        inside = (m.end(), source.closer[m.end() - 1])
        if ";" not in mask[slice(*inside)]:
            found.append(inside + ("condition", "!(" + source.text[slice(*inside)] + ")"))
    for at in (m.start() for m in re.finditer(";", mask)):
        block = source.around[at]
        if block < 0 or mask[block] != "{" or not source.in_function(block) or source.is_type(block):
            continue
        statement = source.statement(at)
        if not statement:
            continue
        start, end = statement
        code = mask[start:end]
        if SAME_AS_EMPTY.fullmatch(code):
            continue
        if code.startswith("return "):
            text = source.text[start + 7:end]
            after = f"!({text})" if returns_bool(source, block, code) else "{}"
            found.append((start, end, "return", "return " + after))
        elif not NOT_STATEMENTS.match(code) and is_action(code):
            found.append((start, end, "statement", ""))
    return found


def is_action(code):
    """Whether a statement does something, and declares nothing."""
    head = re.split(r"[({=]", code, maxsplit=1)[0].rstrip(" +-*/|&")
    declares = re.search(r"[\w>&*] [&*]?\w+(\[\w*\])?$|[\w>] ?[&*] ?\w+$", head)
    return code.startswith(("++", "--")) or (re.search(r"[(=]", code) is not None and not declares)


def returns_bool(source, block, code):
    while block >= 0 and source.is_block(block):
        if source.is_lambda(block):
            return re.search(r" (==|!=|<|>|<=|>=|&&|\|\|) |^return !", code) is not None
        outer = source.around[block]
        if outer < 0 or not source.is_block(outer):
            break
        block = outer
    head = source.mask[max(source.mask.rfind(end, 0, block) for end in ";{}") + 1:block]
    return re.search(r"\bbool \w+\(|\bbool operator", head) is not None


def changes_of(source):
    """All changes of a header. Their ids depend on the changed line, not on its number."""
    starts = [0] + [m.end() for m in re.finditer("\n", source.text)]
    seen, changes = {}, []
    for start, end, kind, after in sorted(set(token_changes(source) + statement_changes(source))):
        row = bisect.bisect_right(starts, start)
        line = source.text[starts[row - 1]:].split("\n", 1)[0]
        column = start - starts[row - 1] - (len(line) - len(line.lstrip()))
        key = "|".join([source.header, kind, line.strip(), str(column), after])
        seen[key] = seen.get(key, 0) + 1
        name = hashlib.sha1(f"{key}|{seen[key]}".encode()).hexdigest()[:8]
        before = " ".join(source.text[start:end].split())
        shown = f"{line.strip()}   [{kind}: {before} -> {' '.join(after.split()) or 'nothing'}]"
        changes.append(Change(source.header, start, end, kind, after, name, row, shown))
    return changes


def changed(source, change):
    return source.text[:change.start] + change.after + source.text[change.end:]


def with_switches(source, numbered):
    """The header with all changes in it, change k in force when mutation::is(k).

    Returns the text and the changes that cannot be had that way.
    """
    regions, alone = {}, []
    for k, change in numbered.items():
        region = source.region(change)
        if change.kind in ("statement", "return"):
            region = (change.start, change.end + 1, "statement")
        if region and region[0] <= change.start and change.end <= region[1]:
            regions.setdefault(region, []).append(k)
        else:
            alone.append(k)

    def render(low, high, skip=None):
        out, at = [], low
        inside = [r for r in regions if r != skip and low <= r[0] and r[1] <= high]
        for region in sorted(inside, key=lambda r: (r[0], -r[1])):
            if region[0] < at:
                continue
            out += [source.text[at:region[0]], versions(region)]
            at = region[1]
        return "".join(out) + source.text[at:high]

    def versions(region):
        low, high, kind = region
        text = ""
        for k in regions[region]:
            change = numbered[k]
            other = source.text[low:change.start] + change.after + source.text[change.end:high]
            mark, end = f"\n/*<{k}*/", f"/*{k}>*/\n"
            if kind == "statement":
                text += f"{mark}if (::mutation::is({k})) {{ {other} }}{end}else "
            else:
                cast = "(void)" if kind == "void" else ""
                text += f"{mark}::mutation::is({k}) ? {cast}({other}){end}: "
        inner = render(low, high, region)
        names = ",".join(map(str, regions[region]))
        text, last = f"/*[{names}*/" + text, f"/*{names}]*/"
        if kind == "statement":
            return "{" + text + "{ " + inner + " } }" + last
        return "(" + text + ("(void)" if kind == "void" else "") + "(" + inner + "))" + last

    return render(0, len(source.text)), alone


def blamed(text, numbers):
    """The changes on some lines of a header with switches; else those of the regions there."""
    for begin, end in ((r"/\*<([\d,]+)\*/", r"/\*\1>\*/"), (r"/\*\[([\d,]+)\*/", r"/\*\1\]\*/")):
        found = set()
        for m in re.finditer(begin + ".*?" + end, text, re.S):
            first = text.count("\n", 0, m.start()) + 1
            if any(first <= line <= first + m.group().count("\n") for line in numbers):
                found |= set(map(int, m.group(1).split(",")))
        if found:
            return found
    return set()
