# SPDX-License-Identifier: MIT
#
# zsync, green threads over io_uring
#
#   make               libzsync.a, libzsync.so, examples, tools, benchmarks
#   make peers         programs of other runtimes that are measured beside it,
#                      where these are installed
#   make run           a quick benchmark that says what it shows
#   make bench-counts  instructions and system calls against their bounds
#   make check         build and run the tests on each execution model; installs
#                      Check where it is missing. MODELS=auto: on one
#   make check-masks   engine tests, each pair of kernel features masked
#   make check-full    each one alone, older kernels, too: half an hour
#   make kmatrix       tests on other kernels, 5.10 to the newest, under qemu
#   make stress        random tests only, with more seeds: some 15 minutes
#   make lint          layers, style, clang-format, cppcheck, clang-tidy
#   make format        apply clang-format
#   make check-docs    part of it: compile and run the code in documents
#   make install       headers, libraries, zsync.pc, programs, pages, gdb script
#   make check-install install into a scratch folder and use it from there
#   make clean         remove what was built
#
#   V=1                show the commands            O=out      where to build
#   CC=clang           the compiler                 DEBUG=1    -O0 -g3
#   CXX=clang++        the same of C++, which one test needs; CC's by default
#   SAN=address,undefined or SAN=thread             WERROR=1   warnings are errors
#   STATIC=1           link programs statically       CC=musl-gcc    with musl
#   ARCH=aarch64 CROSS_COMPILE=aarch64-linux-gnu-   cross build; tests run in qemu
#   DESTDIR= PREFIX=/usr/local                      where to install
#
# Which objects there are is said by the Kbuild file of each folder; see there.

# As many jobs as there are CPUs to use, unless the command line says -j.
MAKEFLAGS += -rR --no-print-directory
ifeq ($(MAKELEVEL),0)
MAKEFLAGS += -j$(shell nproc 2>/dev/null || echo 1)
endif
.DELETE_ON_ERROR:
.SECONDARY:
.DEFAULT_GOAL := all

VERSION := 0.1.0
SOVERSION := 0
O := out
PREFIX ?= /usr/local
BINDIR ?= $(PREFIX)/bin
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
MANDIR ?= $(PREFIX)/share/man

# --- the machine -----------------------------------------------------------
HOST := $(shell uname -m)
ifdef CROSS_COMPILE
ARCH ?= $(firstword $(subst -, ,$(notdir $(CROSS_COMPILE))))
endif
ARCH ?= $(HOST)
CROSS_COMPILE ?= $(if $(filter-out $(HOST),$(ARCH)),$(ARCH)-linux-gnu-)
cross := $(filter-out $(HOST),$(ARCH))

port := $(addprefix arch/$(ARCH)/,switch.h switch.S syscall.h)
ifneq ($(words $(wildcard $(port))),3)
$(error zsync does not know the architecture '$(ARCH)', only: $(notdir \
	$(patsubst %/,%,$(wildcard arch/*/))). A port adds three files: \
	$(port))
endif

# $(call tool,VARIABLE,NAME): what the user set, else NAME.
tool = $(if $(filter default undefined,$(origin $(1))),$(2),$($(1)))
CC      := $(call tool,CC,$(if $(CROSS_COMPILE),$(CROSS_COMPILE)gcc,cc))
AR      := $(call tool,AR,$(CROSS_COMPILE)ar)
# CC's sister: g++-12 of gcc-12. The library needs none.
CXX     := $(call tool,CXX,$(subst clang,clang++,$(subst \
	gcc,g++,$(patsubst cc,c++,$(CC)))))
has_cxx := $(shell $(CXX) -x c++ -include new -fsyntax-only /dev/null \
	2>/dev/null && echo y)
LD      := $(call tool,LD,$(CROSS_COMPILE)ld)
NM      := $(call tool,NM,$(CROSS_COMPILE)nm)
OBJCOPY := $(call tool,OBJCOPY,$(CROSS_COMPILE)objcopy)
# What runs a program of another machine.
EMULATOR ?= $(if $(cross),$(firstword $(shell command -v qemu-$(ARCH) \
	qemu-$(ARCH)-static) qemu-$(ARCH)) -L /usr/$(patsubst %-,%,$(CROSS_COMPILE)))

# --- flags -----------------------------------------------------------------
optimise := $(if $(filter 1,$(DEBUG)),-O0 -g3,$(if $(SAN),-O1 -g,-O2 -g))
CFLAGS   ?= $(optimise)
WARNINGS := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes
accepted  = $(shell $(CC) -Werror $(1) -x c -c /dev/null -o /dev/null \
	2>/dev/null && echo "$(1)")
# Stack guards hold only if no frame jumps over them; indirect jumps land on pads.
hardening := $(foreach f,-fstack-clash-protection $(if \
	$(filter x86_64,$(ARCH)),-fcf-protection=branch) $(if \
	$(filter aarch64,$(ARCH)),-mbranch-protection=bti),$(call accepted,$(f)))
# Two counters side by side, written one by one, would be read as one word: each
# time a stall of some 12 cycles until the stores have left the store buffer.
tuning := $(call accepted,-fno-tree-slp-vectorize)
sanitize := $(if $(SAN),-fsanitize=$(SAN) -fno-omit-frame-pointer \
	$(if $(findstring undefined,$(SAN)),-fno-sanitize-recover=undefined))
static := $(if $(filter 1,$(STATIC)),-static)
ifneq ($(and $(static),$(SAN)),)
$(error Sanitizers cannot be linked statically: either STATIC=1 or SAN=$(SAN))
endif
both_flags := -D_GNU_SOURCE $(if $(filter 1,$(WERROR)),-Werror) \
	$(if $(filter 1,$(DEBUG)),-DZS_DEBUG) \
	-fvisibility=hidden -fPIC -pthread -ftls-model=initial-exec $(hardening) \
	$(tuning) -Iinclude -Isrc -Iarch/$(ARCH) $(sanitize) $(CFLAGS)
zs_cflags := -std=gnu11 $(WARNINGS) $(both_flags)
zs_cxxflags := -std=c++17 -Wall -Wextra -Wpedantic $(both_flags)

# --- quiet output ----------------------------------------------------------
Q     := $(if $(filter 1,$(V)),,@)
quiet  = $(if $(filter 1,$(V)),,@printf '  %-7s %s\n' $(1) $(2:$(O)/%=%);)

# --- gather what every Kbuild names ----------------------------------------
# objs/DIR, libs/DIR: the objects of obj-y and lib-y. progs/DIR: the programs of
# prog-y. dirs/DIR: the folders below. What needs C++ is in prog-$(has_cxx).
define read-kbuild
  obj-y :=
  lib-y :=
  prog-y :=
  prog- :=
  include $(1)/Kbuild
  kbuilds += $(1)/Kbuild
  objs/$(1) := $$(addprefix $(O)/$(1)/,$$(filter %.o,$$(obj-y)))
  libs/$(1) := $$(addprefix $(O)/$(1)/,$$(lib-y))
  prog-/$(1) := $$(prog-)
  dirs/$(1) := $$(addprefix $(1)/,$$(patsubst %/,%,$$(filter %/,$$(obj-y))))
  $$(foreach p,$$(prog-y),$$(eval $$(call read-program,$(1),$$(p))))
  $$(foreach d,$$(dirs/$(1)),$$(eval $$(call read-kbuild,$$(d))))
endef
# NAME is made of NAME-y, or else of the one object that is called like it.
# NAME-wraps: see test/Kbuild.
define read-program
  parts := $$(addprefix $(O)/$(1)/,$$(or $$($(2)-y),$$(subst -,_,$(2)).o))
  progs/$(1) += $(O)/$(1)/$(2)
  objs/$(1) += $$(parts)
  $(O)/$(1)/$(2): $$(parts) $$(libs/$(1))
  $(O)/$(1)/$(2): private wraps := $$($(2)-wraps)
endef
objs-in = $(objs/$(1)) $(libs/$(1)) $(foreach d,$(dirs/$(1)),$(call objs-in,$(d)))
progs-in = $(progs/$(1)) $(foreach d,$(dirs/$(1)),$(call progs-in,$(d)))

rooms := src arch test bench tools examples
$(foreach d,$(rooms),$(eval $(call read-kbuild,$(d))))
lib-objs := $(call objs-in,src) $(call objs-in,arch)
# Apart, so that who looks up no names is linked without getaddrinfo().
resolve-objs := $(call objs-in,src/resolve)
all-objs := $(sort $(foreach d,$(rooms),$(call objs-in,$(d))))
test-progs := $(call progs-in,test)
libs     := $(O)/libzsync.a $(O)/libzsync.so

# --- what to make ----------------------------------------------------------
all: $(libs) $(progs/examples) $(progs/tools) $(progs/bench)
tests: $(test-progs)

run: $(O)/bench/zsync-bench
	$(Q)$(EMULATOR) $< --quick

# Of each its own program, which zsync-bench runs if it is there.
peer-tbb := $(if $(wildcard /usr/include/tbb/task_group.h),peer-tbb)
peer-openmp := $(if $(filter peers,$(MAKECMDGOALS)),$(if $(call \
	accepted,-fopenmp),peer-openmp))
peer-go := $(if $(filter peers,$(MAKECMDGOALS)),$(if $(shell command -v go),peer-go))
peers: $(addprefix $(O)/bench/peers/,$(peer-tbb) $(peer-openmp) $(peer-go))
$(O)/bench/peers/peer-tbb: bench/peers/peer_tbb.cc
	$(call quiet,CXX,$@)mkdir -p $(@D); $(CXX) -O2 -std=c++17 -o $@ $< -ltbb
$(O)/bench/peers/peer-openmp: bench/peers/peer_openmp.c bench/forkjoin_work.h
	$(call quiet,CC,$@)mkdir -p $(@D); $(CC) -O2 -std=gnu11 -fopenmp -o $@ $<

$(O)/bench/peers/peer-go: bench/peers/peer_go.go
	$(call quiet,GO,$@)mkdir -p $(@D); GOFLAGS= GO111MODULE=off go build -o $@ $<

bench-counts: $(O)/bench/zsync-counts
	$(Q)$<

# All of it, unless TESTS picks some.
check: $(test-progs) $(libs) $(if $(SAN)$(TESTS)$(cross)$(static),,check-docs)
	$(Q)$(if $(SAN),,NM='$(NM)' CC='$(CC)' tools/check-symbols.sh $(libs))
	$(Q)$(if $(has_cxx),,echo 'SKIP: no compiler of C++ ($(CXX)): left out $(prog-/test)')
	$(Q)$(if $(SAN),,CC='$(CC)' O='$(O)' tools/check-resolver.sh)
	$(Q)O='$(O)' SAN='$(SAN)' EMULATOR='$(EMULATOR)' \
		tools/run-tests.sh $(test-progs)

check-masks check-full: $(test-progs) $(O)/tools/uring-probe
	$(Q)O='$(O)' SAN='$(SAN)' EMULATOR='$(EMULATOR)' tools/check-masks.sh \
		$(if $(filter %full,$@),full,pairs) $(test-progs)

# ZSYNC_TEST_SEED=N, in either, begins with that seed: it is how to replay one.
stress: $(filter %test_stress %test_stress_shim %test_crowd %test_crowd_shim \
	%test_cancel_instants %test_cancel_instants_shim,$(test-progs))
	$(Q)ZSYNC_TEST_SEEDS=10000 O='$(O)' SAN='$(SAN)' TEST_TIMEOUT=900 \
		EMULATOR='$(EMULATOR)' tools/run-tests.sh \
		$(filter %instants %instants_shim,$^)
	$(Q)ZSYNC_TEST_SEEDS=1000 ZSYNC_TEST_SECONDS=200 ZSYNC_TEST_TASKS=2000 \
		O='$(O)' SAN='$(SAN)' TEST_TIMEOUT=900 \
		EMULATOR='$(EMULATOR)' tools/run-tests.sh \
		$(filter-out %instants %instants_shim,$^)

# The pages beside the headers; the code in documents, as a program's that uses
# the archive.
check-docs: all
	$(Q)CC='$(CC)' tools/check-man.sh
	$(Q)CC='$(CC)' CFLAGS='$(static) $(sanitize)' O='$(O)' \
		EMULATOR='$(EMULATOR)' tools/check-docs.sh

# The tests on real kernels of both machines, each built for static programs.
# KMATRIX="x86_64/6.1 aarch64/newest:16k" picks rows, TESTS="file net" programs.
kmatrix-machines := x86_64 aarch64
kmatrix-progs = $(O)/tools/uring-probe $(filter $(if \
	$(TESTS),$(addprefix %/test_,$(TESTS)),%),$(test-progs))
kmatrix-cc = $(if $(filter $(HOST),$(1)),$(CC),$(1)-linux-gnu-gcc)
kmatrix: $(kmatrix-machines:%=kmatrix-%)
	$(Q)$(foreach m,$(kmatrix-machines),CC_$(m)='$(call kmatrix-cc,$(m))') \
		TESTS='$(TESTS)' tools/kmatrix.sh '$(O)/kmatrix'
$(kmatrix-machines:%=kmatrix-%): kmatrix-%:
	$(Q)+$(MAKE) O='$(O)/kmatrix/$*' ARCH=$* CC='$(call kmatrix-cc,$*)' STATIC=1 \
		$(kmatrix-progs:$(O)/%=$(O)/kmatrix/$*/%)

format:
	$(Q)clang-format -i $(shell find $(rooms) include -name '*.[ch]' -o -name '*.cc')

lint: $(O)/test/public_calls.h
	$(Q)O='$(O)' CC='$(CC)' CXX='$(CXX)' CFLAGS='$(zs_cflags)' tools/lint.sh

install: all
	$(Q)DESTDIR='$(DESTDIR)' PREFIX='$(PREFIX)' BINDIR='$(BINDIR)' \
		LIBDIR='$(LIBDIR)' INCLUDEDIR='$(INCLUDEDIR)' \
		MANDIR='$(MANDIR)' O='$(O)' \
		VERSION='$(VERSION)' SOVERSION='$(SOVERSION)' tools/install.sh

check-install: all
	$(Q)+CC='$(CC)' O='$(O)' tools/check-install.sh

help:
	@sed -n '3,/^$$/s/^# \{0,1\}//p' Makefile

clean:
	$(call quiet,CLEAN,$(O))rm -rf '$(O)'

.PHONY: all tests peers run bench-counts check check-masks check-full check-docs stress \
	kmatrix format lint install check-install help clean FORCE \
	$(kmatrix-machines:%=kmatrix-%)

# --- how to make it --------------------------------------------------------
# Rewritten only when the flags change, so that a change rebuilds everything.
flags := $(subst ','\'',$(CC) $(CXX) $(zs_cflags) $(static) $(LDFLAGS))
$(O)/.flags: FORCE
	$(Q)mkdir -p $(@D); echo '$(flags)' | cmp -s - $@ || echo '$(flags)' >$@

compile = mkdir -p $(@D); $(or $(1),$(CC) $(zs_cflags)) $(flags/$(firstword \
	$(subst /, ,$(@:$(O)/%=%)))) -MMD -MP -c -o $@ $<
$(O)/%.o: %.c $(O)/.flags
	$(call quiet,CC,$@)$(call compile)
$(O)/%.o: %.cc $(O)/.flags
	$(call quiet,CXX,$@)$(call compile,$(CXX) $(zs_cxxflags))
$(O)/%.o: %.S $(O)/.flags
	$(call quiet,AS,$@)$(call compile)
$(O)/%.o: FORCE
	@echo "$(dir $*)Kbuild names $(@F), but there is no $*.c, .cc or .S" >&2; exit 1

# What programs link: one relocatable object whose global names are all public.
relocatable = $(LD) -r -o $@ $(filter %.o,$^) && $(OBJCOPY) --localize-hidden $@
$(O)/zsync.o: $(filter-out $(resolve-objs),$(lib-objs)) $(kbuilds)
	$(call quiet,LD,$@)$(relocatable)
$(O)/zsync-resolve.o: $(resolve-objs) $(kbuilds)
	$(call quiet,LD,$@)$(relocatable)
$(O)/libzsync.a: $(O)/zsync.o $(O)/zsync-resolve.o
	$(call quiet,AR,$@)rm -f $@; $(AR) rcs $@ $^
$(O)/libzsync.so: $(lib-objs) $(kbuilds) src/zsync.map
	$(call quiet,LD,$@)$(CC) $(zs_cflags) -shared -o $@ $(lib-objs) \
		-Wl,-soname,$(@F).$(SOVERSION),--version-script,src/zsync.map \
		-Wl,-z,relro,-z,now $(LDFLAGS) && ln -sf $(@F) $@.$(SOVERSION)
# CALL(type, name) for each public function that returns a number.
$(O)/test/public_calls.h: $(wildcard include/*.h include/zsync/*.h)
	$(call quiet,GEN,$@)mkdir -p $(@D); CC='$(CC)' tools/public-calls.sh >$@
# What tests, tools and benchmarks link: the same with its insides in reach.
$(O)/internal.a: $(lib-objs) $(kbuilds)
	$(call quiet,AR,$@)rm -f $@; $(AR) rcs $@ $(lib-objs)

# Where functions of libc are wrapped, all but libc is made one object first.
linked = $(filter %.o,$^) $(filter %.a,$^)
link = $(if $(wraps),$(LD) -r $(wraps:%=--wrap=%) -o $@.whole.o $(linked) && )$(CC) \
	$(zs_cflags) $(static) -o $@ $(if $(wraps),$@.whole.o,$(linked)) $(1) $(LDFLAGS)
$(progs/examples): $(O)/libzsync.a
	$(call quiet,LD,$@)$(call link)
$(progs/tools) $(progs/bench): $(O)/internal.a
	$(call quiet,LD,$@)$(call link,-lm)
$(test-progs): $(O)/internal.a
	$(call quiet,LD,$@)$(call link,@$(O)/check.libs)

# The tests need Check: how to compile and link it is found out once.
flags/test = @$(O)/check.cflags -I$(O)/test
$(call objs-in,test): | $(O)/check.cflags
$(O)/check.cflags: tools/install-check.sh $(O)/.flags
	$(Q)CC='$(CC) $(static)' CROSS_COMPILE='$(if $(cross),$(CROSS_COMPILE))' \
		ARCH='$(ARCH)' tools/install-check.sh $(O)/check

-include $(all-objs:.o=.d)
