# SPDX-License-Identifier: MIT
"""zsync's tasks in gdb (10 or later), in a live process and in a core file.

    (gdb) source zsync-gdb.py
    (gdb) zsync tasks
    (gdb) zsync bt 7

It reads the library's own structures, by the names in its debug information,
and calls nothing in the process. What it knows beside these names is below: how
the switch lays out a parked task's registers, and where a slab's objects are.
"""

import os
import re
import struct

import gdb
from gdb.unwinder import Unwinder, register_unwinder


class Layout:
    """Where the switch leaves the registers of a context that does not run:
    struct zs_switch_frame and ZS_FRAME_SPAN of arch/*/switch.h."""

    def __init__(self, sp, pc, span, offsets):
        self.sp = sp
        self.pc = pc
        self.span = span
        self.offsets = offsets


LAYOUTS = {
    "i386:x86-64": Layout(
        "rsp", "rip", 192,
        {"r12": 8, "r13": 16, "r14": 24, "r15": 32, "rbx": 40, "rbp": 48,
         "rip": 56}),
    "aarch64": Layout(
        "sp", "pc", 112,
        {**{"x%d" % (19 + i): 8 * i for i in range(11)}, "pc": 88}),
}

# OBJECT_ALIGNMENT of src/mem/slab.c: the objects follow a chunk's header there.
FIRST_OBJECT = 64
# ZS_OP_DONE of src/engine/op.h.
OP_DONE = 2
AT_FDCWD = -100


# --- the process ---

def has_code_of_zsync():
    try:
        gdb.execute("info address zs_run", to_string=True)
    except gdb.error:
        return False
    return True


def linked(item):
    while int(item) != 0:
        yield item
        item = item["next"]


def runtimes():
    """All of them; the list is a static variable of src/sched/dump.c. There are
    two lists where a program and a library of its bring a zsync each."""
    # Of the process as it was when the last command ran.
    symbols.clear()
    if gdb.selected_thread() is None:
        raise gdb.GdbError("There is no process: run or attach to one, or give"
                           " gdb the program and its core file.")
    lists = [symbol for symbol in gdb.lookup_static_symbols("runtimes")
             if symbol.symtab.filename.endswith("sched/dump.c")]
    if not lists:
        raise gdb.GdbError(
            "There is no debug information of zsync: build it with -g, do not"
            " strip it, and if it is shared let the program load it first."
            if has_code_of_zsync() else
            "There is no zsync in this program, nor in the libraries that it"
            " has loaded by now.")
    found = False
    for symbol in lists:
        for runtime in linked(symbol.value()):
            found = True
            yield runtime.dereference()
    if not found:
        raise gdb.GdbError("There is no runtime: none has been made yet, or"
                           " all have been destroyed.")


def workers(runtime):
    return [runtime["workers"][i] for i in range(int(runtime["num_workers"]))]


def objects(slab):
    """(address, bytes) of all that have ever been handed out, in use or not.
    Read by the chunk, since there may be a million."""
    size = int(slab["object_size"])
    for chunk in linked(slab["chunks"]):
        first, number = int(chunk) + FIRST_OBJECT, int(chunk["carved"])
        memory = gdb.selected_inferior().read_memory(first, number * size)
        memory = memory.tobytes()
        for at in range(0, number * size, size):
            yield first + at, memory[at:at + size]


def values_of(enum):
    fields = gdb.lookup_type(enum).fields()
    return {field.name: field.enumval for field in fields}


def offset_of(kind, name):
    return next(field.bitpos // 8 for field in kind.fields()
                if field.name == name)


symbols = {}


def symbol_at(address):
    """The name of the function at @address, which may be a static one."""
    address = int(address)
    if address not in symbols:
        text = gdb.execute("info symbol %#x" % address, to_string=True)
        found = " in section " in text
        symbols[address] = text.split()[0] if found else "%#x" % address
    return symbols[address]


# --- tasks ---

def describe_op(task):
    op = task["waits_on"].cast(gdb.lookup_type("struct zs_op").pointer())
    types = gdb.lookup_global_symbol("zs_op_types")
    if types is None:
        return "operation %d" % int(op["code"])
    kind = types.value()[int(op["code"])]
    text = kind["name"].string()
    if kind["names_fd"] and op["fd"] != AT_FDCWD:
        text += " fd %d" % int(op["fd"])
    return text + (", done" if int(op["state"]) == OP_DONE else "")


def describe_sleep(task):
    """By the length of the sleep: in a core file there is no "now"."""
    block = gdb.block_for_pc(int(task["wait"]["describe"]))
    sleeper = gdb.lookup_type("struct sleeper", block).pointer()
    deadline_ns = int(task["waits_on"].cast(sleeper)["timer"]["deadline_ns"])
    if deadline_ns == 2**63 - 1:
        return "a cancel"
    return "a timer of " + duration(deadline_ns - int(task["parked_ns"]))


def describe_closing(task):
    scope = task["waits_on"].cast(task["nursery"].type)
    # The signed balance is in the upper 24 bits: see struct zs_scope.
    balance = int(scope["state"]) >> 40
    if balance >= 1 << 23:
        balance -= 1 << 24
    count = balance + int(scope["local"])
    return "the end of %d task%s" % (count, "" if count == 1 else "s")


# By the name of the wait type's own function; of others, that name has to do.
DESCRIBERS = {
    "describe_op": describe_op,
    "describe_sleep": describe_sleep,
    "describe_closing": describe_closing,
}


def duration(ns):
    for unit, size in (("s", 10**9), ("ms", 10**6), ("us", 10**3)):
        if abs(ns) >= size:
            return "%.1f %s" % (ns / size, unit)
    return "%d ns" % ns


def size_text(size):
    return "%.1f KiB" % (size / 1024) if size >= 1024 else "%d B" % size


class Task:
    def __init__(self, value, state):
        self.value = value
        self.id = int(value["id"])
        self.is_started = state == "ZS_TASK_STARTED"
        self.is_unstarted = state == "ZS_TASK_UNSTARTED"
        self.worker = value["worker"] if self.is_started else None
        # One that has been set up but not yet assigned was caught in between.
        if self.is_started and int(self.worker) == 0:
            self.is_started = False
        self.is_running = self.is_started and self.worker["current"] == value

    def name(self):
        return self.value["name"].string(errors="replace")

    def function(self):
        name = symbol_at(self.value["fn"])
        if name != "run_first_task":
            return name
        # zs_run() wraps what it is given.
        block = gdb.block_for_pc(int(self.value["fn"]))
        first = gdb.lookup_type("struct first_task", block).pointer()
        return symbol_at(self.value["arg"].cast(first)["fn"])

    def stack(self):
        stack = self.value["stack"]
        return stack if self.is_started and int(stack) != 0 else None

    def thread(self):
        """gdb's thread that runs it. A debugger outside of the process's
        namespace sees other numbers; then the stack pointer tells."""
        for thread in gdb.selected_inferior().threads():
            if thread.ptid[1] == int(self.worker["thread_id"]):
                return thread
        stack = self.stack()
        for thread in gdb.selected_inferior().threads():
            if int(stack["base"]) <= sp_of(thread) < int(stack["top"]):
                return thread
        return None

    def sp(self):
        """None where it is not known."""
        if not self.is_running:
            return int(self.value["sp"])
        thread = self.thread()
        return sp_of(thread) if thread else None

    def depth(self):
        """Bytes of its stack in use; None on a signal handler's stack, say."""
        stack, sp = self.stack(), self.sp()
        if sp is None or not int(stack["base"]) <= sp <= int(stack["top"]):
            return None
        return int(stack["top"]) - sp

    def is_stack_missing(self):
        """Of one that is parked: no context resumes at 0."""
        resume = int(self.value["sp"]) + layout().offsets[layout().pc]
        try:
            return not any(gdb.selected_inferior().read_memory(
                resume, 8).tobytes())
        except gdb.MemoryError:
            return True

    def describe_wait(self):
        function = symbol_at(self.value["wait"]["describe"])
        kind = re.sub("^describe_", "", function)
        if self.is_stack_missing():
            return kind + " (its stack is missing)"
        try:
            text = DESCRIBERS[function](self.value)
        except (KeyError, gdb.error):
            text = "%s at %#x" % (kind, int(self.value["waits_on"]))
        if int(self.value["wait"]["cancel"]) == 0:
            text += ", uncancellable"
        return text

    def describe(self):
        if not self.is_started:
            return "not started" if self.is_unstarted else "ended"
        if self.is_running:
            text = "running"
        elif int(self.value["wait"]) == 0:
            text = "ready"
        else:
            text = "waits for " + self.describe_wait()
        if int(self.value["scope"]["reason"]) != 0:
            text += ", cancelled"
        return text

    def opener(self):
        nursery = self.value["nursery"]
        opener = nursery["opener"] if int(nursery) != 0 else nursery
        return str(int(opener["id"])) if int(opener) != 0 else "-"


def tasks(runtime, wanted=None):
    """By id, those that are alive; or the one whose id is @wanted."""
    names = {value: name
             for name, value in values_of("enum zs_task_state").items()}
    pointer = runtime["workers"]["current"].type.unqualified()
    state_at = offset_of(pointer.target(), "state")
    id_at = offset_of(pointer.target(), "id")
    slabs = [worker["tasks"] for worker in workers(runtime)]
    found = []
    for slab in slabs + [runtime["foreign_tasks"]]:
        for address, memory in objects(slab):
            state = names.get(memory[state_at])
            number, = struct.unpack_from("<Q", memory, id_at)
            if state == "ZS_TASK_FREE" or wanted not in (None, number):
                continue
            value = gdb.Value(address).cast(pointer)
            found.append(Task(value, state))
    return sorted(found, key=lambda task: task.id)


# --- backtraces ---

class Selection:
    """What the user has selected, to be restored: `with Selection():`."""

    def __enter__(self):
        self.thread = gdb.selected_thread()
        self.level = 0
        frame = gdb.selected_frame()
        while frame.newer() is not None:
            frame = frame.newer()
            self.level += 1

    def __exit__(self, *unused):
        self.thread.switch()
        gdb.invalidate_cached_frames()
        frame = gdb.newest_frame()
        for _ in range(self.level):
            frame = frame.older() or frame
        frame.select()


def sp_of(thread):
    with Selection():
        thread.switch()
        return int(gdb.newest_frame().read_register(layout().sp))


def layout():
    name = gdb.newest_frame().architecture().name()
    if name not in LAYOUTS:
        raise gdb.GdbError("zsync's switch is not known for %s." % name)
    return LAYOUTS[name]


class FrameId:
    def __init__(self, sp, pc):
        self.sp = sp
        self.pc = pc


class ParkedTask(Unwinder):
    """While enabled, the selected thread's newest frame seems to have been
    called by a parked task. Nothing is written, neither memory nor registers,
    so this serves a core file as well as a process."""

    def __init__(self):
        super().__init__("zsync parked task")
        self.enabled = False

    def prepare(self, task):
        """Reads the switch frame. Frames in here are the thread's own."""
        self.layout = layout()
        newest = gdb.newest_frame()
        self.thread_sp = int(newest.read_register(self.layout.sp))
        self.thread_pc = int(newest.read_register(self.layout.pc))
        # Any type of a register's size; by name, each language has its own.
        word = task.value["sp"].type
        address = int(task.value["sp"])
        self.id = FrameId(gdb.Value(address).cast(word),
                          gdb.Value(self.thread_pc).cast(word))
        self.registers = {}
        for name, offset in self.layout.offsets.items():
            at = gdb.Value(address + offset).cast(word.pointer())
            self.registers[name] = at.dereference()
            self.registers[name].fetch_lazy()
        self.registers[self.layout.sp] = gdb.Value(
            address + self.layout.span).cast(word)

    def __call__(self, pending):
        # Inline functions' frames have the registers of the one they are in.
        if int(pending.read_register(self.layout.sp)) != self.thread_sp or \
           int(pending.read_register(self.layout.pc)) != self.thread_pc:
            return None
        info = pending.create_unwind_info(self.id)
        for name, value in self.registers.items():
            info.add_saved_register(name, value)
        return info

    def __enter__(self):
        self.enabled = True
        gdb.invalidate_cached_frames()

    def __exit__(self, *unused):
        self.enabled = False
        gdb.invalidate_cached_frames()


parked_task = ParkedTask()
register_unwinder(None, parked_task, replace=True)


def print_frames(arguments, skip):
    """`bt` without its first @skip frames, and the others counted from 0."""
    words = ["%d" % (int(word) + skip) if word.isdigit() else word
             for word in arguments]
    text = gdb.execute(
        # A thread that is in main() ends no task's backtrace.
        "with backtrace past-main on -- with backtrace past-entry on -- bt "
        + " ".join(words), to_string=True)
    number = 0
    for line in text.splitlines():
        match = re.match(r"#(\d+)( +.*)", line)
        if match:
            number = int(match.group(1))
            line = "#%-3d%s" % (number - skip, match.group(2).lstrip())
        if number >= skip:
            gdb.write(line + "\n")


def print_parked(task, arguments):
    if task.is_stack_missing():
        raise gdb.GdbError(
            "The stack of task %d is not in this core file. gdb's own gcore"
            " may leave stacks out, as they have guard pages: make core files"
            " by `zsync gcore`, or let the kernel make them." % task.id)
    parked_task.prepare(task)
    with parked_task:
        skip = 1
        frame = gdb.newest_frame()
        while frame.type() == gdb.INLINE_FRAME:
            frame = frame.older()
            skip += 1
        print_frames(arguments, skip)


def print_backtrace(task, arguments):
    gdb.write("task %d%s, %s, %s\n" % (
        task.id, ' "%s"' % task.name() if task.name() else "",
        task.function(), task.describe()))
    if not task.is_started:
        return
    with Selection():
        if not task.is_running:
            print_parked(task, arguments)
            return
        thread = task.thread()
        if thread is None:
            raise gdb.GdbError("Which thread runs it, cannot be found out.")
        thread.switch()
        print_frames(arguments, 0)


# --- core files ---

def load_segments(core):
    """(address, size, offset in the file) of each. ELF64, little-endian: what
    there is a layout for."""
    core.seek(0)
    header = core.read(64)
    offset, = struct.unpack_from("<Q", header, 32)
    size, number = struct.unpack_from("<HH", header, 54)
    core.seek(offset)
    table = core.read(size * number)
    for i in range(number):
        kind, _, at, address, _, length = struct.unpack_from(
            "<IIQQQQ", table, i * size)
        if kind == 1:
            yield address, length, at


def used_stacks():
    """(first address, end) of what the tasks' frames are in."""
    for runtime in runtimes():
        for task in tasks(runtime):
            stack = task.stack()
            if stack is None:
                continue
            depth = task.depth()
            top = int(stack["top"])
            yield int(stack["base"]) if depth is None else top - depth, top


def fill_in_stacks(path):
    """Where gdb (13, for one) meets a guard page it ends the segment, but it
    has left room in the file for the rest."""
    inferior = gdb.selected_inferior()
    with open(path, "r+b") as core:
        segments = list(load_segments(core))
        for start, end in used_stacks():
            for address, length, offset in segments:
                if address <= start and end <= address + length:
                    core.seek(offset + start - address)
                    core.write(inferior.read_memory(start, end - start))


# --- commands ---

def print_table(rows):
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths))
        gdb.write(line.rstrip() + "\n")


def print_heading(runtime):
    number = int(runtime["num_workers"])
    gdb.write("runtime at %#x, %d worker%s\n" % (
        int(runtime.address), number, "" if number == 1 else "s"))


class Command(gdb.Command):
    """zsync's tasks: see the list of subcommands."""

    def __init__(self, name, prefix=False):
        super().__init__(name, gdb.COMMAND_STACK, gdb.COMPLETE_NONE, prefix)

    def invoke(self, arguments, from_tty):
        gdb.execute("help zsync")


class TasksCommand(Command):
    """List the tasks of all runtimes.

A task whose nursery nobody opened was spawned into the runtime. DEPTH is what
it uses of its stack, without what a call of the running one is about to add."""

    def invoke(self, arguments, from_tty):
        for runtime in runtimes():
            print_heading(runtime)
            print_table([("ID", "NAME", "FUNCTION", "WORKER", "OPENER",
                          "STACK BASE", "DEPTH", "STATE")] +
                        [self.row(task) for task in tasks(runtime)])

    @staticmethod
    def row(task):
        stack = task.stack()
        depth = task.depth() if stack is not None else None
        return (str(task.id), task.name() or "-", task.function(),
                str(int(task.worker["index"])) if task.is_started else "-",
                task.opener(),
                "%#x" % int(stack["base"]) if stack is not None else "-",
                size_text(depth) if depth is not None else "-",
                task.describe())


class BacktraceCommand(Command):
    """Print the backtrace of a task: zsync bt ID|all [ARGUMENTS OF bt]

Of one that runs it is that of its thread."""

    def invoke(self, arguments, from_tty):
        words = gdb.string_to_argv(arguments)
        if not words or not (words[0].isdigit() or words[0] == "all"):
            raise gdb.GdbError("Which task? zsync bt ID|all [ARGUMENTS OF bt]")
        # Ids are unique within a runtime only.
        wanted = None if words[0] == "all" else int(words[0])
        found = [task for runtime in runtimes()
                 for task in tasks(runtime, wanted)]
        if not found:
            raise gdb.GdbError("There is no task %s: see zsync tasks."
                               % words[0])
        for task in found:
            print_backtrace(task, words[1:])
            if task is not found[-1]:
                gdb.write("\n")


class WorkersCommand(Command):
    """List the workers of all runtimes.

ALIVE counts the tasks that started there, OPS what they have in the kernel."""

    def invoke(self, arguments, from_tty):
        for runtime in runtimes():
            print_heading(runtime)
            print_table([("WORKER", "THREAD", "STATE", "READY", "NOT STARTED",
                          "ALIVE", "OPS", "TIMERS")] +
                        [self.row(worker) for worker in workers(runtime)])

    @staticmethod
    def row(worker):
        counters, ops = worker["counters"], worker["engine"]["counters"]
        if int(worker["thread_id"]) == 0:
            state = "not started"
        elif int(worker["current"]) != 0:
            state = "runs task %d" % int(worker["current"]["id"])
        else:
            state = "sleeps" if worker["is_asleep"] else "in its loop"
        unstarted = worker["unstarted"]
        wheel = worker["wheel"]
        return tuple(str(cell) for cell in (
            int(worker["index"]), "LWP %d" % int(worker["thread_id"]), state,
            sum(1 for first in (worker["round"], worker["ready"]["first"])
                for _ in linked(first)),
            max(int(unstarted["bottom"]) - int(unstarted["top"]), 0),
            int(counters["started"]) - int(counters["ended"]),
            int(ops["submitted"]) - int(ops["completed"]),
            int(wheel["num_started"]) - int(wheel["num_fired"])
            - int(wheel["num_cancelled"])))


class GcoreCommand(Command):
    """Make a core file of the process, its tasks' stacks included:
zsync gcore [FILE]

gdb's own generate-core-file may leave these out, for their guard pages."""

    def invoke(self, arguments, from_tty):
        words = gdb.string_to_argv(arguments)
        path = words[0] if words else "core.%d" % gdb.selected_inferior().pid
        gdb.execute("generate-core-file " + path)
        fill_in_stacks(os.path.expanduser(path))


Command("zsync", prefix=True)
TasksCommand("zsync tasks")
BacktraceCommand("zsync bt")
WorkersCommand("zsync workers")
GcoreCommand("zsync gcore")
