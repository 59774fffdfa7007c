#!/bin/sh
# SPDX-License-Identifier: MIT
# Who may include whom. Includes name the room ("engine/op.h"), so the direction
# shows. Called by `make lint`. The rooms below each room, itself included, are
# in the one list below; the public headers are open to all.
set -eu

grep -rnE '^[[:space:]]*#[[:space:]]*include' src arch include/zsync.h \
     include/zsync --include='*.[chS]' | awk '
BEGIN {
	below["base"]   = "base"
	below["mem"]    = "base mem"
	below["engine"] = "base mem engine"
	below["sched"]  = "base mem engine sched"
	below["sync"]   = "base mem sched sync"
	below["io"]     = "base mem engine sched io"
	below["resolve"] = "base"
	below["arch"]   = "base"
	below["public"] = ""
}
function room_of(path,   part) {
	split(path, part, "/")
	return part[1] == "src" ? part[2] : part[1] == "arch" ? "arch" : "public"
}
function complain(why) {
	print where ": " why
	bad = 1
}
{
	split($0, field, ":")
	file = field[1]
	where = file ":" field[2]
	room = room_of(file)
	if (!match($0, /["<][^">]*[">]/)) {
		complain("an include whose name cannot be read")
		next
	}
	quoted = substr($0, RSTART, 1) == "\""
	name = substr($0, RSTART + 1, RLENGTH - 2)
	target = name
	sub("/.*", "", target)
	if (!(room in below))
		complain("src/" room " is in no layer: tools/check-layers.sh")
	else if (target == "zsync" || name == "zsync.h")
		next
	else if (room == "public" && (quoted || target in below))
		complain("a public header includes the internal " name)
	else if (!quoted && !(target in below))
		next
	else if (name == "switch.h") {
		if (room != "arch" && file != "src/sched/task.c")
			complain("only src/sched/task.c includes switch.h")
	} else if (name == "syscall.h") {
		if (file != "src/engine/bare.h")
			complain("only src/engine/bare.h includes syscall.h")
	} else if (name == "stack_probe.h") {
		if (file != "src/mem/guard.c")
			complain("only src/mem/guard.c includes stack_probe.h")
	} else if (!index(name, "/"))
		complain("\"" name "\" does not name its room")
	else if (!index(" " below[room] " ", " " target " "))
		complain(room " may not include " name)
}
END { exit bad }' >&2
