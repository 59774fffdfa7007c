#!/bin/sh
# SPDX-License-Identifier: MIT
# Runs the test programs, two at a time, each with its output kept whole, and
# ends with a table and with what Check says of each. Called by `make check`:
#	O=out SAN= EMULATOR= tools/run-tests.sh PROGRAM...
# All of them run; any failure makes the status 1. A program that runs tasks is
# run once for each execution model in MODELS; one that does not, or that plays
# tricks on the ring (the shim), once. TESTS="chan wheel" picks some, TEST_JOBS
# and TEST_TIMEOUT (seconds, for one program) have defaults below.
set -u

: "${O:=out}" "${SAN:=}" "${EMULATOR:=}" "${TEST_JOBS:=2}"
: "${MODELS:=auto thread_pool blocking}"
logs=$O/test/log

# run_one MODEL/PROGRAM: leaves its output in a log and its status in
# MODEL/NAME.status, then prints, in one piece, all but the summary.
run_one()
{
	model=${1%%/*}
	name=$(basename "$1")
	log=$logs/$model/$name
	title=$name
	if [ "$model" != auto ]; then
		export ZSYNC_EXECUTION_MODEL="$model"
		title="$name ($model)"
	fi
	# shellcheck disable=SC2086 # words, on purpose
	timeout -k 5 "$TEST_TIMEOUT" $LAUNCHER $EMULATOR "${1#*/}" >"$log.log" 2>&1
	status=$?
	echo $status >"$log.status"
	text=$(printf '  %-7s %s' TEST "$title"; echo
	       grep -avE "$summary" "$log.log"
	       case $status in
	       0 | 1) ;;
	       124 | 137) echo "$title: not done after $TEST_TIMEOUT s" ;;
	       *) echo "$title: ended with status $status" ;;
	       esac)
	printf '%s\n' "$text"
}

summary='^Running suite\(s\):|^[0-9]+%: Checks: '
if [ "${1:-}" = --one ]; then
	run_one "$2"
	exit
fi

# Check forks for each test and kills it after 4 s: too short for slow builds.
slow=1
[ -z "$SAN$EMULATOR" ] || slow=5
# And where others keep the machine busy: as many times as its CPUs are wanted.
busy=$(awk -v cpus="$(nproc)" '{ print int(1 + $1 / cpus) }' /proc/loadavg \
	2>/dev/null)
[ "${busy:-1}" -le "$slow" ] || slow=$busy
[ "$slow" -le 10 ] || slow=10
export CK_TIMEOUT_MULTIPLIER="${CK_TIMEOUT_MULTIPLIER:-$slow}"
export TEST_TIMEOUT="${TEST_TIMEOUT:-$((60 * slow))}" LAUNCHER='' O EMULATOR

# ThreadSanitizer wants its addresses free, which much randomness may prevent.
if [ "$SAN" = thread ] && setarch -R true 2>/dev/null; then
	LAUNCHER="setarch -R"
fi
# qemu lets a seq_cst load pass an earlier seq_cst store (7.2: both threads of
# the store-buffering test read 0), which is not what arm64 does. On one CPU no
# thread can see that.
if [ -n "$EMULATOR" ] && cpu=$(taskset -cp $$ 2>/dev/null); then
	cpu=${cpu##*: }
	LAUNCHER="taskset -c ${cpu%%[-,]*}"
fi
export UBSAN_OPTIONS="${UBSAN_OPTIONS:-print_stacktrace=1}"

if [ -n "${TESTS:-}" ]; then
	picked=
	for program; do
		for test in $TESTS; do
			[ "${program##*/test_}" != "${test#test_}" ] ||
				picked="$picked $program"
		done
	done
	# shellcheck disable=SC2086 # words, on purpose
	set -- $picked
fi
if [ $# = 0 ]; then
	echo "There are no tests to run." >&2
	exit 1
fi

# models_of PROGRAM: which to run it on.
models_of()
{
	case $1 in
	*_shim) echo auto ;;
	*)
		if grep -q zs_runtime_create "$1"; then
			echo "$MODELS"
		else
			echo auto
		fi
		;;
	esac
}

# count MODEL/NAME: "passed skipped failed". A test that skips passes, for Check.
count()
{
	awk -v status="$(cat "$logs/$1.status")" '
		/^[0-9]+%: Checks: / {
			gsub(",", "")
			checks = $3; failed = $5 + $7
		}
		/^SKIP/ { skipped++ }
		END {
			passed = checks - failed - skipped
			if (passed < 0) passed = 0
			if (status != 0 && failed == 0) failed = 1
			print passed, skipped + 0, failed + 0
		}' "$logs/$1.log"
}

# The table: for each program, passed/skipped/failed on each model.
show_table()
{
	printf '%-24s' 'passed/skipped/failed'
	# shellcheck disable=SC2086 # words, on purpose
	printf '%16s' $MODELS
	echo
	for program; do
		name=${program##*/}
		printf '%-24s' "${name#test_}"
		for model in $MODELS; do
			cell=-
			[ ! -f "$logs/$model/$name.status" ] ||
				cell=$(count "$model/$name" | tr ' ' /)
			printf '%16s' "$cell"
		done
		echo
	done
}

rm -rf "$logs"
for model in auto $MODELS; do
	mkdir -p "$logs/$model"
done
runs=$(for program; do
	for model in $(models_of "$program"); do
		echo "$model/$program"
	done
done)
printf '%s\n' "$runs" | xargs -n 1 -P "$TEST_JOBS" "$0" --one

show_table "$@"
failed=
for run in $runs; do
	log=$logs/${run%%/*}/$(basename "$run")
	grep -aE "$summary" "$log.log" || echo "${run##*/}: skipped as a whole"
	[ "$(cat "$log.status")" = 0 ] || failed="$failed ${log#"$logs"/}"
done
[ -z "$failed" ] && exit
echo "Failed:$failed" >&2
exit 1
