"""What the tests that cut power and kill programs counted, in their own words: one line `NAME<tab>WHAT IT SAID` each, taken from what `cargo test
-- --show-output` printed. A test that said nothing is MISSING, and the exit code 1.

    python3 tests/counts.py target/test-logs/test.log [--skip qemu_ ...]

Tests whose names begin with what was skipped are left out.
"""

import re
import sys

# Name in the summary, the test, and what it says.
COUNTED = [
    (
        "cuts: credit and tokens",
        "no_unit_of_credit_is_lost_or_doubled_wherever_the_power_is_cut",
        r"\d+ writes, \d+ cuts",
    ),
    (
        "cuts: key change",
        "a_key_change_cut_anywhere_leaves_a_whole_key",
        r"\d+ cuts in .*",
    ),
    (
        "cuts: keys of the network",
        "a_key_transfer_cut_anywhere_leaves_the_old_keys_or_the_new_ones",
        r"\d+ cuts in .*",
    ),
    (
        "cuts: firmware update",
        "an_update_cut_anywhere_never_bricks_and_is_finished_afterwards",
        r"\d+ cuts in .*",
    ),
    (
        "cuts: two load profiles",
        "power_cut_at_every_write_while_both_are_due_loses_no_row_and_doubles_none",
        r"\d+ writes .* \d+ cuts",
    ),
    (
        "cuts: the whole story",
        "a_whole_life_cut_anywhere_loses_and_doubles_nothing_keeps_a_whole_key_and_starts",
        r"\d+ writes, \d+ cuts: .*",
    ),
    (
        "cuts: update over the wire",
        "power_cut_in_any_write_of_an_update_bricks_nothing_and_the_client_finishes_it",
        r"\d+ cuts in .*",
    ),
    (
        "kills: the image in QEMU",
        "qemu_meter_killed_200_times_neither_loses_nor_doubles_a_unit",
        r"\d+ kills: .*",
    ),
    (
        "kills: the gateway",
        "every_payment_ends_as_one_credit_or_a_visible_refusal_however_often_the_gateway_is_killed",
        r".*, seed \d+: \d+ kills, .*",
    ),
    (
        "cuts: the gateway's disk",
        "nothing_that_was_answered_for_is_lost_when_power_fails_and_the_disk_forgets_what_was_not_synced",
        r".*, seed \d+: \d+ kills, .*|.*: of \d+ writes not synced at a cut .*",
    ),
    (
        "random operations: every unit",
        "every_unit_is_accounted_for_after_each_of_millions_of_random_operations",
        r"\d+ random operations: .*",
    ),
    (
        "soak, a few meters",
        "a_substation_is_read_in_time_and_everything_reaches_the_other_end_once_however_long_the_wan_was_away",
        r"soak, seed .*|soak: (load|billing|registers|facts told) .*",
    ),
]

SECTION = re.compile(r"^---- (\S+) stdout ----$")


def sections(path):
    """What each test printed, by the last part of its name."""
    said, name = {}, None
    with open(path, encoding="utf-8", errors="replace") as log:
        for line in log:
            if begin := SECTION.match(line):
                name = begin.group(1).rsplit("::", 1)[-1]
                said[name] = []
            elif line.startswith(("successes:", "failures:", "test result:")):
                name = None
            elif name:
                said[name].append(line.strip())
    return said


def main():
    path, *skipped = sys.argv[1:]
    prefixes = tuple(word for word in skipped if word != "--skip")
    said, missing = sections(path), False
    for label, test, pattern in COUNTED:
        if prefixes and test.startswith(prefixes):
            continue
        found = [line for line in said.get(test, []) if re.fullmatch(pattern, line)]
        missing |= not found
        print(label, "; ".join(found) if found else f"MISSING: {test} said no count", sep="\t")
    sys.exit(missing)


main()
