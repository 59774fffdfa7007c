#!/bin/bash
# SPDX-License-Identifier: MIT
# Runs the tests on real kernels, each booted under qemu with nothing but them:
# the initramfs has a small init, the test programs and uring-probe, all linked
# statically, and BusyBox, which some of them start programs of. Called by `make
# kmatrix`, which builds them:
#	CC_x86_64= CC_aarch64= tools/kmatrix.sh FOLDER
# FOLDER has one folder a machine, x86_64 and aarch64, each with what make
# leaves there, and gets the consoles of the guests, in log/.
#
#   KMATRIX="..."  the rows, each MACHINE/SERIES[:VARIANT]; a VARIANT is 16k,
#                  pages of that size, or disabled, kernel.io_uring_disabled=2
#   TESTS="..."    some tests, as for `make check`; default all
#   KMATRIX_LIMIT  seconds for one boot with its tests, 3600
# And what kmatrix-kernel.sh takes.
#
# Prints a row a kernel: what auto takes there, and how many tests passed, were
# skipped and failed; below it the reasons. What cannot be had is "missing",
# which is no failure.
set -u -o pipefail

folder=$1
: "${KMATRIX:=x86_64/5.10 aarch64/5.10 x86_64/6.1 aarch64/6.1 x86_64/6.12 \
	aarch64/6.12 x86_64/6.18 aarch64/6.18 x86_64/newest aarch64/newest \
	aarch64/newest:16k x86_64/6.12:disabled}"
: "${TESTS:=}" "${KMATRIX_LIMIT:=3600}"
# Emulation makes system calls up to 25 times dearer. Seconds for one program,
# and until a guest is up: one that is not by then never will be.
program_limit=600 multiplier=20 up_limit=180

work=$(mktemp -d)
guest=
trap '[ -z "$guest" ] || kill "$guest"; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
logs=$folder/log
mkdir -p "$logs"
mark=kmatrix-$$-$RANDOM

die()
{
	printf '%s\n' "$@" >&2
	exit 1
}

for tool in cpio flock qemu-system-x86_64 qemu-system-aarch64; do
	command -v $tool >/dev/null || die "There is no $tool here. On Debian:" \
		"    apt-get install cpio qemu-system-x86 qemu-system-arm"
done

# --- what a guest is given ---

# picked MACHINE: the programs of its tests.
picked()
{
	local program name test
	for program in "$folder/$1"/test/test_* "$folder/$1"/test/model/test_*; do
		name=${program##*/}
		[ -x "$program" ] && [[ $name != *.* ]] || continue
		for test in ${TESTS:-"$name"}; do
			[ "${name#test_}" != "${test#test_}" ] || echo "$program"
		done
	done
}

# add_programs MACHINE FOLDER: the shell and a few more.
add_programs()
{
	local found name
	found=$(tools/kmatrix-kernel.sh "$1" busybox 2>"$work/why") || {
		echo "         no BusyBox for $1: $(cat "$work/why")"
		return
	}
	mkdir -p "$2/bin"
	cp "$(sed -n 2p <<<"$found")" "$2/bin/busybox"
	chmod 755 "$2/bin/busybox"
	for name in sh cat echo env false grep head id kill ls printf ps pwd \
		sed sleep test tr true wc; do
		ln -s busybox "$2/bin/$name"
	done
}

# pack MACHINE: all of its initramfs but for the configuration, which is put
# behind it. Not compressed: it would be for the emulated CPU to unpack.
pack()
{
	local root=$work/$1 cc=CC_$1 strip program
	[ ! -e "$root.cpio" ] || return 0
	mkdir -p "$root"/{t,dev,etc,proc,sys,tmp,run,work}
	echo "127.0.0.1 localhost" >"$root/etc/hosts"
	${!cc} -std=gnu11 -D_GNU_SOURCE -O1 -static -s -o "$root/init" \
		tools/kmatrix_init.c || die "No init can be built for $1."
	strip=$(${!cc} -print-prog-name=strip)
	add_programs "$1" "$root"
	picked "$1" >"$root.tests"
	[ -s "$root.tests" ] || die "There are no tests to run."
	for program in "$folder/$1/tools/uring-probe" $(cat "$root.tests"); do
		"$strip" -g -o "$root/t/${program##*/}" "$program" ||
			die "$program cannot be stripped."
	done
	(cd "$root" && find . -print0 |
		cpio --quiet -0 -o -H newc -R 0:0) >"$root.cpio"
	rm -rf "$root"
}

# configure MACHINE VARIANT: writes the whole initramfs.
configure()
{
	{
		echo "mark $mark"
		echo "limit $program_limit"
		echo "env CK_TIMEOUT_MULTIPLIER=$multiplier"
		echo "env EMULATOR=qemu-system-$1"
		[ "$2" != disabled ] ||
			echo "sysctl kernel.io_uring_disabled=2"
		echo "test uring-probe"
		sed 's|.*/|test |' "$work/$1.tests"
	} >"$work/kmatrix.conf"
	(cd "$work" && cat "$1.cpio" && echo kmatrix.conf |
		cpio --quiet -o -H newc -R 0:0) >"$work/initramfs"
}

# --- a guest ---

# boot MACHINE IMAGE LOG. Two CPUs: with four, on two, the emulator now and then
# ran into code that the kernel was changing.
boot()
{
	local machine=$1 console=ttyS0 memory
	memory=$((2048 + 3 * $(wc -c <"$work/initramfs") / 1048576))
	set -- -kernel "$2" -initrd "$work/initramfs" -smp 2 -m $memory \
		-accel tcg,thread=multi -no-user-config -nodefaults -no-reboot \
		-display none -monitor none -serial "file:$3"
	case $machine in
	x86_64) set -- "$@" -machine q35,vmport=off -cpu max ;;
	aarch64)
		console=ttyAMA0
		set -- "$@" -machine virt -cpu max,pauth-impdef=on
		;;
	esac
	timeout -k 5 "$KMATRIX_LIMIT" "qemu-system-$machine" "$@" \
		-append "console=$console quiet panic=-1 random.trust_cpu=on" \
		</dev/null 2>"$work/qemu" &
	guest=$!
}

# Until it ends by itself, or is not up in time.
await_guest()
{
	local log=$1 second
	for ((second = 0; second < up_limit; second++)); do
		grep -aqs "^@$mark UP" "$log" && break
		kill -0 "$guest" 2>/dev/null || break
		sleep 1
	done
	grep -aqs "^@$mark UP" "$log" || kill "$guest" 2>/dev/null
	wait "$guest"
	guest=
}

is_done()
{
	grep -aqs "^@$mark DONE" "$1"
}

# A kernel that dies by itself is the emulator's doing: it is tried again, which
# is said, but what a test does to its guest is not excused.
run_guest()
{
	local log=$3 try
	for try in 1 2 3; do
		rm -f "$log"
		boot "$1" "$2" "$log"
		await_guest "$log"
		is_done "$log" && return
		if grep -aqs "^@$mark UP" "$log" &&
		   ! grep -aqE 'Kernel panic|Oops|general protection' "$log"; then
			return
		fi
		cp "$log" "$log.died$try" 2>/dev/null
		echo "         the guest died by itself: $log.died$try"
	done
}

# --- what became of it ---

# Reads a console: a line "COUNT passed skipped failed" and then, with blanks
# before them, what was skipped and what failed, with its output.
summarise='
function finish(status, milliseconds,   i, bad) {
	bad = status != 0
	for (i = 1; i <= lines; i++)
		if (match(line[i], /Checks: [0-9]+, Failures: [0-9]+, Errors/)) {
			split(line[i], word, /[ ,]+/)
			passed += word[3] - word[5] - word[7]
			failed += word[5] + word[7]
			if (bad && word[5] + word[7])
				bad = 2
		}
	for (i = 1; i <= lines; i++)
		if (line[i] ~ /SKIP/) {
			skipped++
			passed -= line[i] !~ /as a whole/
			sub(/^.*SKIP(PED)?:? */, "", line[i])
			sub("^" name ":? *", "", line[i])
			skips = skips "         skip " name ": " line[i] "\n"
		} else if (bad)
			output = output "         | " line[i] "\n"
	if (!bad)
		return
	failed += bad == 1
	failures = failures "         FAIL " name ": " status " after " \
		int(milliseconds / 1000) " s\n" output
	output = ""
}
{ sub(/\r$/, "") }
index($0, "@" mark " BEGIN ") == 1 { name = $3; lines = 0; next }
index($0, "@" mark " END ") == 1 {
	if (name != "uring-probe")
		finish($4, $5)
	name = ""
	next
}
index($0, "@" mark " NOTE ") == 1 {
	sub(/^[^ ]* NOTE /, "")
	notes = notes "         note: " $0 "\n"
	next
}
name != "" && $0 != "" && lines < 400 { line[++lines] = $0 }
END {
	if (name != "") {
		failed++
		failures = failures "         FAIL " name ": the guest ended\n"
		for (i = lines > 40 ? lines - 40 : 1; i <= lines; i++)
			failures = failures "         | " line[i] "\n"
	}
	printf "COUNT %d %d %d\n%s%s%s", passed, skipped, failed, notes, \
		skips, failures
}'

# report ROW PACKAGE LOG SECONDS
report()
{
	local passed skipped failed model word
	awk -v mark="$mark" "$summarise" "$3" >"$work/summary"
	read -r word passed skipped failed <"$work/summary"
	model=$(tr -d '\r' <"$3" | sed -n 's/^auto takes *//p' | head -n 1)
	row "$1" "${model%%:*}" "$passed" "$skipped" "$failed" "$4 s"
	printf '         %s\n' "$2, $(tr -d '\r' <"$3" |
		sed -n "s/^@$mark UP //p")"
	printf '         auto: %s\n' "${model:-it says nothing of it}"
	sed 1d "$work/summary"
	is_done "$3" || {
		echo "         FAIL the guest did not come to its end: $3"
		failed=$((failed + 1))
		sed 's/^/         | /' "$work/qemu"
	}
	[ "$failed" = 0 ] || has_failed=1
}

row()
{
	printf '%-22s %-14s %7s %7s %7s %7s\n' "$@" | tee -a "$work/table"
}

run_row()
{
	local machine=${1%%/*} series=${1#*/} variant= found start=$SECONDS log
	case $series in
	*:*) variant=${series#*:} series=${series%%:*} ;;
	esac
	found=$(tools/kmatrix-kernel.sh "$machine" "$series" \
		$([ "$variant" != 16k ] || echo 16k) 2>"$work/why") || {
		row "$1" missing - - - -
		echo "         $(cat "$work/why")"
		return
	}
	pack "$machine"
	configure "$machine" "$variant"
	log=$logs/$(tr /: -- <<<"$1").log
	run_guest "$machine" "$(sed -n 2p <<<"$found")" "$log"
	report "$1" "$(sed -n 1p <<<"$found")" "$log" $((SECONDS - start))
}

has_failed=0
row kernel "auto takes" passed skipped failed time
for name in $KMATRIX; do
	run_row "$name"
done
echo
cat "$work/table"
[ $has_failed = 0 ]
