#!/bin/sh
# SPDX-License-Identifier: MIT
# Runs the tests on kernels that have less, played by ZSYNC_DISABLE. Called by
# `make check-masks` and `make check-full`:
#	O=out tools/check-masks.sh pairs|full PROGRAM...
# What can be masked is what this kernel has and green_threads can do without,
# as uring-probe lists it. A line a run: the mask, and how many programs passed,
# were skipped as a whole and failed, how many tests were skipped in those that
# ran, and the seconds. All of them run; any failure makes the status 1. Logs
# stay in $O/masks.
#
# pairs: each two of these are there together, masked together, and each is
# there while the other is masked, in ten runs (see print_pairs) of the programs
# that use the engine; for CI.
#
# full: the same, each one masked singly, and all programs on kernels as they
# were at four releases and with everything masked: half an hour or so. Singly
# only the programs that use the engine run, since nothing else asks what the
# kernel has: the runtime's own tests run in the five whole runs.
set -u

: "${O:=out}"
kind=$1
shift

# uses_engine NAME: one of the programs for masks that come in large numbers.
# Those with the reap shim are stress, not another use.
uses_engine()
{
	case $1 in
	*_shim) return 1 ;;
	test_op | test_ring | test_uring | test_uring_faults) return 0 ;;
	test_cancel_io | test_close* | test_errors | test_timer) return 0 ;;
	test_dir | test_fifo | test_file* | test_path | test_space) return 0 ;;
	test_splice | test_terminal | test_vector | test_xattr | test_held) return 0 ;;
	test_connect_any | test_datagram | test_inet | test_net*) return 0 ;;
	test_resolve | test_unix* | test_watch | test_embed) return 0 ;;
	test_futex | test_process | test_signal | test_spawn*) return 0 ;;
	test_locked | test_fork) return 0 ;;
	esac
	return 1
}

# run LABEL MASK PROGRAM...
run()
{
	label=$1
	logs=$O/masks/$label
	start=$(date +%s)
	mkdir -p "$logs"
	echo "$2" >"$logs/mask"
	(export ZSYNC_DISABLE="$2" O="$logs" MODELS=auto
	 shift 2
	 tools/run-tests.sh "$@") >"$logs/output" 2>&1
	shift 2
	passed=0 skipped=0 failed=''
	for program; do
		log=$logs/test/log/auto/${program##*/}
		if [ "$(cat "$log.status" 2>/dev/null)" != 0 ]; then
			failed="$failed ${program##*/}"
		elif grep -aq '^[0-9]*%: Checks: ' "$log.log"; then
			passed=$((passed + 1))
		else
			skipped=$((skipped + 1))
		fi
	done
	# shellcheck disable=SC2086 # words, on purpose
	set -- $failed
	printf '  %-28s %3d passed, %2d skipped, %2d failed; %3d tests skipped; %3d s%s\n' \
		"$label" $passed $skipped $# \
		"$(cat "$logs"/test/log/auto/*.log | grep -ac '^SKIP')" \
		$(($(date +%s) - start)) "${failed:+:$failed}"
	[ $# = 0 ] && return
	status=1
	grep -aE ':[FE]:|not done after|ended with status' "$logs/output" |
		cut -c 1-300
}

# What may be masked, a name a line.
list_optional()
{
	"$O/tools/uring-probe" --json | sed -n \
		's/.*"name": "\([A-Z0-9_]*\)".*"required": false, "present": true.*/\1/p'
}

# A covering array of strength two, as Kleitman and Spencer have it: a run with
# nothing masked, which is `make check`, and ten in which each name is masked in
# another choice of six. Any two such choices share one and differ, so that
# every combination of two names comes up. There are 210 of them.
print_pairs()
{
	list_optional | awk '
	function ones(number, count)
	{
		for (count = 0; number > 0; number = int(number / 2))
			count += number % 2
		return count
	}
	BEGIN { choice = 0 }
	{
		do
			choice++
		while (ones(choice) != 6)
		if (choice >= 1024) {
			print "more than 210 names to mask" >"/dev/stderr"
			exit 1
		}
		rest = choice
		for (run = 0; run < 10; run++) {
			if (rest % 2)
				mask[run] = mask[run] "," $1
			rest = int(rest / 2)
		}
	}
	END {
		for (run = 0; run < 10; run++)
			print run + 1, substr(mask[run], 2)
	}'
}

run_pairs()
{
	print_pairs >"$O/masks/pairs" || status=1
	while read -r number mask; do
		run "pairs-$number" "$mask" "$@" </dev/null
	done <"$O/masks/pairs"
}

rm -rf "$O/masks"
mkdir -p "$O/masks"
if [ -z "$(list_optional)" ]; then
	echo "SKIP: no io_uring here, and nothing to mask"
	exit 0
fi

all="$*" engine=''
for program; do
	uses_engine "${program##*/}" && engine="$engine $program"
done
status=0
# shellcheck disable=SC2086 # lists of words, from here on
run_pairs $engine
[ "$kind" = full ] || exit $status
list_optional >"$O/masks/names"
while read -r name; do
	run "$name" "$name" $engine </dev/null
done <"$O/masks/names"
for release in 6.6 6.1 5.15 5.11; do
	run "linux-$release" "linux-$release" $all
done
run everything "$(list_optional | paste -sd, -)" $all
exit $status
