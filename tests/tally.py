"""Counts what `cargo test` printed: one line `NAME PASSED FAILED SKIPPED` per test program with tests in it."""

import re
import sys

RUNNING = re.compile(r"^ +(?:Running (?:unittests )?(\S+) \(.*?/?([\w-]+)-[0-9a-f]+\)|Doc-tests (\S+))")
RESULT = re.compile(r"^test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored; \d+ measured; (\d+) filtered out")


def main():
    name = "?"
    with open(sys.argv[1], encoding="utf-8", errors="replace") as log:
        for line in log:
            if running := RUNNING.match(line):
                source, program, documented = running.groups()
                name = f"{documented}, examples in the documentation" if documented else f"{program}, {source}"
                name = name.replace(" ", "\u00a0")
            elif result := RESULT.match(line):
                passed, failed, ignored, filtered = map(int, result.groups())
                if passed + failed + ignored + filtered:
                    print(name, passed, failed, ignored + filtered)


main()
