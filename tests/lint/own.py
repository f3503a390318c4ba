#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""The rules of this tree that no other tool knows: arrows, doors, banned words, sizes, nesting.

Prints `file:line: rule: what is wrong` and exits 1 when there is any."""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
SOURCE_DIRS = ("daemon", "daemon/util", "protocol", "pool", "config")

# Who may include whom, by folder.
ARROWS = {
    "daemon/util": {"daemon/util"},
    "protocol": {"protocol", "daemon/util"},
    "config": {"config", "daemon/util"},
    "pool": {"pool", "protocol", "daemon/util"},
    "daemon": {"daemon", "pool", "protocol", "config", "daemon/util"},
}

# library: (its headers, its calls, the files that may use it)
DOORS = {
    "libev": (r"ev\.h", r"\bev_[a-z_]+\s*\(|\bev_(?:run|break|now)\b", r"daemon/util/loop\.[ch]"),
    "libpq": (r"libpq-fe\.h|libpq/.*|postgres_ext\.h", r"\bPQ[a-z][A-Za-z]+\s*\(",
              # The second: a client of the console, in a process of its own, where libpq's own defaults are wanted.
              r"pool/(backend_connect|cancel|server_cancel)\.c|daemon/top_query\.c"),
    "inih": (r"ini\.h", r"\bini_parse\w*\s*\(", r"config/ini_file\.c"),
    "libsystemd": (r"systemd/.*", r"\bsd_[a-z]+\w*\s*\(", r"daemon/systemd\.c"),
    "c-ares": (r"ares.*\.h", r"\bares_[a-z_]+\s*\(", r"pool/resolve\w*\.c"),
    "libidn": (r"stringprep\.h|idna\.h|pr29\.h|punycode\.h", r"\bstringprep\w*\s*\(", r"protocol/saslprep\.c"),
    "pam": (r"security/.*", r"\bpam_[a-z]+\w*\s*\(", r"daemon/auth_worker\w*\.c"),
    "ldap": (r"ldap.*\.h|lber.*\.h", r"\bldap_(?:init|set_|get_|sasl_|bind|simple_|search|unbind|start_|err|mem|msg|first|count|url_parse)\w*\s*\(",
             r"daemon/auth_worker\w*\.c"),
    "libmicrohttpd": (r"microhttpd\.h", r"\bMHD_[a-z]\w*\s*\(", r"daemon/metrics_http\w*\.c"),
    "jansson": (r"jansson\.h", r"\bjson_(?:object|array|dumps|pack)\w*\s*\(", r"daemon/(metrics|admin)\w*\.c"),
    "openssl": (r"openssl/.*", r"\b(?:SSL|EVP|BIO|X509|ERR|HMAC|RAND|PKCS5|SSL_CTX)_\w+\s*\(",
                r"protocol/(tls|scram|md5)\w*\.[ch]"),
    "uthash": (r"uthash\.h|utlist\.h|utarray\.h", None, r"daemon/util/hash\.h"),
}

BANNED_CALLS = {
    "strcpy": "copy with a length", "strcat": "use struct buf", "sprintf": "use snprintf or struct buf",
    "vsprintf": "use vsnprintf", "strncpy": "use memcpy with a checked length", "strtok": "use strcspn and strspn",
    "strtok_r": "use strcspn and strspn", "alloca": "the stack is not for peers to grow", "system": "never a shell",
    "popen": "never a shell", "sleep": "nothing blocks the loop", "usleep": "nothing blocks the loop",
    "nanosleep": "nothing blocks the loop", "gethostbyname": "use pool/resolve",
    "getaddrinfo": "it blocks; use pool/resolve, or say AI_NUMERICHOST in the same call",
    "rand": "use secret_random()", "srand": "use secret_random()",
    "random": "use secret_random()", "atoi": "use num.h", "atol": "use num.h", "atoll": "use num.h", "atof": "use num.h",
    "strtol": "use num.h", "strtoul": "use num.h", "strtoll": "use num.h", "strtoull": "use num.h", "gets": "never",
    "scanf": "use num.h", "sscanf": "use num.h", "sd_journal_send": "it can wait for journald",
}
LAYERS_THAT_NEVER_LOG = ("protocol", "config")

C_LINES_MAX = 800
NESTING_MAX = 3


class Source:
    """One C file: .lines as they are, .code the same with comments and literals blanked out."""

    def __init__(self, path):
        self.path = path
        self.name = str(path.relative_to(ROOT))
        self.folder = str(path.parent.relative_to(ROOT))
        self.text = path.read_text(encoding="utf-8")
        self.lines = self.text.splitlines()
        self.code = blank(self.text).splitlines()


def blank(text):
    """Comments and the insides of literals become spaces; line breaks stay."""
    token = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)

    def replace(found):
        word = found.group(0)
        if word[0] in "\"'":
            return word[0] + " " * (len(word) - 2) + word[0]
        return re.sub(r"[^\n]", " ", word)

    return token.sub(replace, text)


def check_includes(source):
    own = f'"{source.name[:-2]}.h"'
    internal = own.replace(".h", "_internal.h")
    first = None
    for n, line in enumerate(source.lines, 1):
        found = re.match(r'\s*#\s*include\s+(["<])([^">]+)[">]', line)
        if not found:
            continue
        ours, header = found.group(1) == '"', found.group(2)
        first = first or line
        if ours:
            if not (ROOT / header).exists():
                yield n, "include", f'"{header}" is not written from the root of the tree, or does not exist'
            folder = str(pathlib.PurePath(header).parent)
            if folder not in ARROWS.get(source.folder, {folder}):
                yield n, "arrow", f"{source.folder} may not include {folder}"
        for library, (headers, _, files) in DOORS.items():
            if re.fullmatch(headers, header) and not ours and not re.fullmatch(files, source.name):
                yield n, "door", f"<{header}> of {library} only in {files}"
    if source.name.endswith(".c") and (ROOT / own.strip('"')).exists() and first and own not in first and internal not in first:
        yield 1, "include", f"the first include is the file's own header, {own}"


def check_calls(source):
    for n, line in enumerate(source.code, 1):
        if re.match(r"\s*#\s*include", line):
            continue
        for library, (_, calls, files) in DOORS.items():
            if calls and not re.fullmatch(files, source.name) and (found := re.search(calls, line)):
                yield n, "door", f"{found.group(0).strip('( ')} of {library} only in {files}"
        for found in re.finditer(r"(?<![\w.>])(\w+)\s*\(", line):
            word = found.group(1)
            if word == "getaddrinfo" and "AI_NUMERICHOST" in "".join(source.code[max(0, n - 8):n]):
                continue
            if word in BANNED_CALLS:
                yield n, "banned", f"{word}: {BANNED_CALLS[word]}"
        if source.folder in LAYERS_THAT_NEVER_LOG and re.search(r"\blog_(write|error|warning|info|debug)\s*\(", line):
            yield n, "log", f"{source.folder}/ never logs: it returns a verdict with text"


def check_marks(source):
    for n, line in enumerate(source.lines, 1):
        if re.search(r"\b(TODO|FIXME|XXX)\b", line):
            yield n, "mark", "finish it, or say in words what is so"
        if re.search(r"NOLINT|cppcheck-suppress", line) and not re.search(r"(NOLINT\w*\([\w.,-]+\)|suppress \w+).{4}",
                                                                         line):
            yield n, "mark", "a suppression names its check and says why, on the same line"
        if line != line.rstrip() or "\t" in line:
            yield n, "blank", "trailing blanks or a tab"
    if not re.match(r"/\* SPDX-License-Identifier: ISC \*/", source.lines[0] if source.lines else ""):
        yield 1, "licence", "the first line is /* SPDX-License-Identifier: ISC */"


def check_size(source):
    if source.name.endswith(".c") and len(source.lines) > C_LINES_MAX:
        yield len(source.lines), "size", f"more than {C_LINES_MAX} lines: split it"


def check_guard(source):
    if source.name.endswith(".h"):
        tail = re.sub(r"\W", "_", source.path.name).upper()
        if not any(re.fullmatch(rf"#ifndef PGPOOLD_(\w+_)?{tail}", line) for line in source.lines):
            yield 1, "guard", f"the include guard is PGPOOLD_..._{tail}"


def check_nesting(source):
    """Braces that belong to if, else, for, while, do, switch or a macro that loops, inside one another. clang-tidy
    could count them, but it also counts what macros such as uthash's expand to."""
    code = re.sub(r"(?m)^\s*#.*(?:\\\n.*)*", lambda m: re.sub(r"[^\n]", " ", m.group(0)), "\n".join(source.code))
    stack = []
    line = 1
    for at, char in enumerate(code):
        if char == "\n":
            line += 1
        elif char == "{":
            before = code[max(0, at - 400):at].rstrip()
            # The brace after a parenthesis at depth 0 opens a function; deeper, a statement. ({ is an expression.
            control = bool(stack) and (before.endswith(")") or re.search(r"\b(else|do)$", before) is not None)
            stack.append(control)
            depth = sum(stack)
            if control and depth > NESTING_MAX:
                yield line, "nesting", f"{depth} levels, at most {NESTING_MAX}"
        elif char == "}" and stack:
            stack.pop()


CHECKS = (check_includes, check_calls, check_marks, check_size, check_guard, check_nesting)
# Tests and benches are programs of their own: other rules of form hold for them.
TEST_CHECKS = (check_marks,)


def texts():
    """Our scripts and makefiles."""
    found = [p for p in ROOT.rglob("*") if re.search(r"\.(py|sh)$|(^|/)(Makefile|run)$", str(p)) and p.is_file()]
    return sorted(p for p in found if p.relative_to(ROOT).parts[0] not in ("build", ".git"))


def main():
    problems = []
    for folders, checks in ((SOURCE_DIRS, CHECKS), (("tests/unit", "tests/fuzz", "tests/bench"), TEST_CHECKS)):
        for folder in folders:
            for path in sorted((ROOT / folder).glob("*.[ch]")):
                source = Source(path)
                for check in checks:
                    problems += [f"{source.name}:{n}: {rule}: {text}" for n, rule, text in check(source)]
    for path in texts():
        head = path.read_text(encoding="utf-8").splitlines()[:3]
        if not any("SPDX-License-Identifier: ISC" in line for line in head):
            problems.append(f"{path.relative_to(ROOT)}:1: licence: no line SPDX-License-Identifier: ISC")
    print("".join(f"{p}\n" for p in problems), end="")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
