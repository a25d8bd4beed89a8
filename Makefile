# Build, test and measure.
#
#   make                          build/release/{liblitefs.so,litefs}
#   make demo                     a primary and a replica at work on real data, in seconds once it is built
#   make test                     everything: lint, unit tests, probes, end-to-end tests
#   make unit T='Ltx*.*'          the unit tests, or some of them
#   make unit SAN=address,undefined    the same under sanitizers (or SAN=thread)
#   make lint                     layers, symbols, style, headers that stand alone, formatting
#   make sweep                    every file call of an app goes wrong, in every way
#   make test-clients             every program of docs/CLIENTS.md; installs packages
#   make test-big                 databases beyond 1 GiB, in both modes, pages of 4 and of 64 KiB
#   make test-readers             ten minutes of hundreds of readers, old and new, on a replica that is killed
#   make test-archive             every transaction of a thousand, restored and compared; a database of 1 GiB
#   make soak                     ten minutes of kills, a million transactions
#   make chaos                    ten minutes of kills, partitions, jumps of clocks and changes of roles; histories checked
#   make bench | bench-quick      plain SQLite and litefs side by side: docs/BENCHMARKS.md
#   make bench-scale              cost of a transaction against sizes and numbers
#   make bench-seed               a new replica of 1 GiB, beside cp and fsync
#   make bench-latency            from a commit on a primary to its being seen on a replica
#   make bench-sync               commits that wait for 0, 1 and 2 replicas
#   make bench-archive            delay, cost and restores of an archive, of a day of 1 GiB too: docs/ARCHIVE.md
#   make fuzz | tidy | format | deps | clean
#   make install PREFIX=/usr/local DESTDIR=
#
# One Makefile sees the whole dependency graph; nothing recurses.  Each variant has a tree of its
# own, build/<mode>[-<sanitizers>]/, so switching rebuilds nothing.

.DELETE_ON_ERROR:
.SECONDARY:
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules
.PHONY: all test unit system test-clients test-big test-readers test-archive soak chaos sweep lint bench bench-quick bench-latency bench-sync bench-archive bench-seed bench-scale fuzz fuzz-run tidy thread-safety format install deps demo clean help FORCE
all:

# ---- Variant ------------------------------------------------------------------------------------
ifeq ($(origin CXX),default)
CXX := g++
endif
ifeq ($(origin CC),default)
CC := cc
endif
MODE    ?= release
SAN     ?=
V       ?= 0
PREFIX  ?= /usr/local
comma   := ,
VARIANT := $(MODE)$(addprefix -,$(subst $(comma),-,$(SAN)))
B       := build/$(VARIANT)
Q       := $(if $(filter 0,$(V)),@)
say      = $(if $(filter 0,$(V)),@printf '%-5s %s\n' '$1' '$@')

# ---- Flags --------------------------------------------------------------------------------------
# -g1: functions and lines, for backtraces; all of -g is a quarter of the time of the build.
OPT_release := $(if $(SAN),-O1,-O2) -g1
OPT_debug   := -Og -g
WARN        := -Wall -Wextra -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual -Wvla -Werror
BASE        := -std=c++20 -I. -pthread $(WARN) $(OPT_$(MODE))
HOST        := $(BASE) -DSPDLOG_SHARED_LIB -DSPDLOG_COMPILED_LIB -DSPDLOG_FMT_EXTERNAL \
               $(if $(SAN),-fsanitize=$(SAN) -fno-sanitize-recover=all -fno-omit-frame-pointer)
ABSL        := absl_status absl_statusor absl_strings absl_flat_hash_map absl_flat_hash_set
LDLIBS       = -lcpp-httplib -lzmq -lcurl -lsqlite3 -lxxhash -llz4 -lyaml-cpp -lspdlog -lfmt -lpugixml -lcrypto \
               $(shell pkg-config --libs $(ABSL))

# The shim runs inside other people's processes: it exports only its hooks, needs only libc, and
# never allocates.  $(CC) links it, so that a use of the C++ runtime is an undefined symbol at link
# time and not a dependency at run time.  It keeps its unwind tables: pthread_cancel unwinds the
# host's frames through ours.
SHIM        := $(BASE) -fPIC -fno-exceptions -fno-rtti -fvisibility=hidden -fno-threadsafe-statics \
               -ftls-model=initial-exec -fasynchronous-unwind-tables -foptimize-sibling-calls -U_FORTIFY_SOURCE \
               $(if $(filter debug,$(MODE)),-fsanitize=undefined -fsanitize-undefined-trap-on-error)
SHIM_LINK    = -shared -pthread -Wl,-z,defs -Wl,-z,now -Wl,--version-script=$(B)/shim/exports.map

# ---- Sources ------------------------------------------------------------------------------------
dirs       := common ipc ltx preload daemon $(patsubst %/,%,$(wildcard daemon/*/))
srcs       := $(foreach d,$(dirs),$(wildcard $d/*.cc))
hdrs       := $(foreach d,$(dirs),$(wildcard $d/*.h))
# A header with a source is included there first (tests/check_style.sh): that one stands alone.
lone_hdrs  := $(foreach h,$(hdrs),$(if $(wildcard $(h:.h=.cc)),,$h))
shim_srcs  := $(wildcard preload/*.cc) common/msgpack.cc ipc/codec.cc ipc/client.cc
# Not in the library that tests link: the program's main() and the exported hooks.
lib_srcs   := $(filter-out daemon/main.cc preload/hooks.cc preload/load.cc,$(srcs))
test_srcs  := $(wildcard tests/*/*_test.cc tests/support/*.cc)

lib_objs   := $(lib_srcs:%.cc=$(B)/%.o)
shim_objs  := $(shim_srcs:%.cc=$(B)/shim/%.o)
suites     := $(sort $(foreach t,$(wildcard tests/*/*_test.cc),$(word 2,$(subst /, ,$t))))
test_bins  := $(suites:%=$(B)/tests/%_test)
fuzz_bins  := $(patsubst tests/%.cc,$(B)/%,$(wildcard tests/fuzz/*_fuzz.cc))
bench_bins := $(patsubst %.cc,$(B)/%,$(wildcard bench/*_bench.cc))

lib        := $(B)/liblitefs-host.a
shim       := $(B)/liblitefs.so
program    := $(B)/litefs
all: $(shim) $(program)

# ---- Compile ------------------------------------------------------------------------------------
# $(B)/flags is rewritten only when the flags change; every object depends on it.
flags := $(CXX) $(HOST) $(CXXFLAGS) | $(SHIM)
$(B)/flags: FORCE
	@mkdir -p $(@D); echo '$(flags)' | cmp -s - $@ || echo '$(flags)' > $@

$(B)/%.o: %.cc $(B)/flags
	@mkdir -p $(@D)
	$(call say,CXX)
	$(Q)$(CXX) $(HOST) $(CXXFLAGS) $(if $(PCH),-include $(B)/$(PCH)) -MMD -MP -c -o $@ $<

# The command line runs once; optimizing CLI11's templates would be a fifth of the build.
$(B)/daemon/cli/%.o: private CXXFLAGS += -O0

# To optimize the tests takes as long as to compile them, and saves none of their time.
$(B)/tests/%.o: private CXXFLAGS += -O0

# As Debian builds the library: the header's classes depend on it.
$(B)/daemon/http/%.o $(B)/tests/daemon/http_server_test.o: \
  private CXXFLAGS += -DCPPHTTPLIB_OPENSSL_SUPPORT -DCPPHTTPLIB_ZLIB_SUPPORT -DCPPHTTPLIB_BROTLI_SUPPORT

# The libraries' headers are read once for each set of flags: half of a source's time.
$(B)/%.h.gch: %.h $(B)/flags
	@mkdir -p $(@D)
	$(call say,PCH)
	$(Q)$(CXX) $(HOST) $(CXXFLAGS) -MMD -MP -x c++-header -o $@ $<
$(B)/tests/%.gch: private CXXFLAGS += -O0

define precompiled # precompiled HEADER,OBJECTS
$2: PCH := $1
$2: | $(B)/$1.gch
endef
unoptimized := $(filter daemon/cli/%,$(lib_srcs)) $(test_srcs)
$(eval $(call precompiled,common/precompiled.h,$(filter-out $(B)/daemon/cli/%,$(lib_objs))))
$(eval $(call precompiled,tests/support/precompiled.h,$(unoptimized:%.cc=$(B)/%.o)))

$(B)/shim/%.o: %.cc $(B)/flags
	@mkdir -p $(@D)
	$(call say,SHIM)
	$(Q)$(CXX) $(SHIM) -MMD -MP -c -o $@ $<

# ---- Link ---------------------------------------------------------------------------------------
$(lib): $(lib_objs)
	$(call say,AR)
	$(Q)rm -f $@ && $(AR) rcs $@ $^

$(program): $(B)/daemon/main.o $(if $(findstring thread,$(SAN)),$(B)/tests/support/tsan_suppressions.o) $(lib)
	$(call say,LINK)
	$(Q)$(CXX) $(HOST) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(B)/shim/exports.map: preload/hooks.def Makefile
	@mkdir -p $(@D)
	$(Q){ echo '{ global:'; sed -n 's/^HOOK([^,]*, *\([a-z_0-9]*\),.*/  \1;/p' $<; \
	  echo 'local: *; };'; } > $@

$(shim): $(shim_objs) $(B)/shim/exports.map
	$(call say,LINK)
	$(Q)$(CC) $(SHIM_LINK) -o $@ $(shim_objs)

define suite_rule
$(B)/tests/$1_test: $(patsubst %.cc,$(B)/%.o,$(wildcard tests/$1/*_test.cc tests/support/*.cc)) $(lib)
endef
$(foreach s,$(suites),$(eval $(call suite_rule,$s)))
$(test_bins):
	$(call say,LINK)
	$(Q)$(CXX) $(HOST) $(LDFLAGS) -o $@ $^ -lgmock -lgtest_main -lgtest $(LDLIBS)

# The fake daemon of the shim's end-to-end tests.
recorder   := $(B)/tests/recorder
$(recorder): $(B)/tests/preload/recorder.o $(lib)
	$(call say,LINK)
	$(Q)$(CXX) $(HOST) $(LDFLAGS) -o $@ $^ $(LDLIBS)

# What the fault sweeps look at databases with.
fault_check := $(B)/tests/fault_check
$(fault_check): $(B)/tests/fault/check.o $(lib)
	$(call say,LINK)
	$(Q)$(CXX) $(HOST) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(bench_bins): $(B)/bench/%: $(B)/bench/%.o $(lib)
	$(call say,LINK)
	$(Q)$(CXX) $(HOST) $(LDFLAGS) -o $@ $^ -lbenchmark_main -lbenchmark $(LDLIBS)

$(fuzz_bins): $(B)/fuzz/%: tests/fuzz/%.cc $(lib_srcs) $(hdrs)
	@mkdir -p $(@D)
	$(call say,FUZZ)
	$(Q)tests/fuzz/build.sh '$@' '$<'

-include local.mk

# ---- Check --------------------------------------------------------------------------------------
T ?= *
unit: all $(test_bins)
	@for t in $(test_bins); do $$t --gtest_brief=1 --gtest_filter='$(T)' || exit 1; done

lint: $(shim) $(lone_hdrs:%=$(B)/%.ok)
	@for check in tests/check_*.sh; do $$check $(shim) || exit 1; done

$(B)/%.h.ok: %.h $(B)/flags
	@mkdir -p $(@D)
	$(Q)$(CXX) $(HOST) -MMD -MP -MT $@ -MF $@.d -fsyntax-only -x c++ -include $< /dev/null && touch $@

system: all $(fault_check)
	@tests/system/run.sh $(B)

sweep: all $(fault_check)
	tests/system/fault_app_test.py $(B) 0
	tests/system/fault_daemon_test.py $(B) 0

# Every program of docs/CLIENTS.md.  Installs packages.
test-clients: all
	tests/system/clients/install-all $(B)
	tests/system/clients_test.py $(B) all
	tests/system/foreign_abi_test.py $(B)
	tests/system/clients/django_suite.py $(B)

# Readers of a replica, the system's SQLite and a current one at once (built from npm's better-sqlite3).
READERS_SECONDS ?= 600
test-readers: all
	tests/system/build_current_sqlite $(B)
	tests/system/readers_test.py $(B) $(READERS_SECONDS) 480
	tests/system/history_test.py $(B) 200

test-big: all
	tests/system/big_test.py $(B) all

SOAK_SECONDS      ?= 600
SOAK_TRANSACTIONS ?= 1000000
ARCHIVE_TRANSACTIONS ?= 1000
test-archive: all
	tests/system/archive_test.py $(B) $(ARCHIVE_TRANSACTIONS)
	tests/system/archive_s3_test.py $(B) 100
	tests/system/sftp_test.py $(B) 100
	tests/system/archive_big.py $(B) 1024

# CHAOS='--seed 7 --nodes 5' repeats or chooses.
CHAOS_SECONDS ?= 600
chaos: all
	tests/system/chaos_checker_test.py
	tests/system/chaos_test.py $(B) --kept
	tests/system/chaos_test.py $(B) --seed any --seconds $(CHAOS_SECONDS) $(CHAOS)

soak: all
	tests/system/many_test.py $(B) 1000
	tests/system/kill_test.py $(B) $(SOAK_SECONDS)
	tests/system/million_test.py $(B) $(SOAK_TRANSACTIONS)

test: deps
	@tests/run_all.sh

demo: deps
	@$(MAKE) --no-print-directory -j$(shell nproc) all
	@tests/system/demo.sh $(B)

deps:
	@.ci/install-deps

# docs/BENCHMARKS.md says how to read them.
workload := $(B)/bench/workload
$(workload): bench/workload.cc $(B)/flags
	@mkdir -p $(@D)
	$(call say,LINK)
	$(Q)$(CXX) $(HOST) -o $@ $< -lsqlite3

bench: all $(bench_bins) $(workload)
	bench/run.py $(B) --parts --json $(B)/bench.json
# From commit on a primary to visible on a replica.
bench-latency: all
	bench/latency.py $(B)
bench-sync: all
	bench/sync.py $(B)

bench-seed: all
	bench/seed.py $(B)

bench-scale: all
	bench/scale.py $(B) --json $(B)/bench-scale.json --svg $(B)/bench-scale.svg

bench-archive: all
	bench/archive.py $(B) --json $(B)/bench-archive.json
	rm -rf $(B)/archive-day
	bench/archive_day.py $(B) make $(B)/archive-day
	bench/archive_day.py $(B) measure $(B)/archive-day --json $(B)/bench-archive-day.json

bench-quick: all $(workload)
	bench/run.py $(B) --quick --json $(B)/bench-quick.json
fuzz: $(fuzz_bins)
FUZZ_SECONDS ?= 600
fuzz-run: fuzz
	tests/fuzz/run.sh $(B) $(FUZZ_SECONDS)
tidy:
	printf '%s\n' $(srcs) | xargs -P "$$(nproc)" -n 4 sh -c 'clang-tidy --quiet "$$@" -- $(HOST)' sh
thread-safety:
	@printf '%s\n' $(srcs) | xargs -P "$$(nproc)" -n 4 clang++ $(HOST) -fsyntax-only -Wthread-safety -Wno-unknown-warning-option
format:
	clang-format -i $(srcs) $(hdrs) $(test_srcs) $(wildcard tests/*/*.h tests/fuzz/*.cc tests/fault/*.cc tests/preload/probes/*.cc tests/preload/*.cc bench/*.cc)

install: all
	install -D -m 755 -t $(DESTDIR)$(PREFIX)/bin $(program)
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/lib $(shim)
help:
	@sed -n '3,/^$$/s/^# \?//p' Makefile
clean:
	rm -rf build

-include $(shell find $(B) -name '*.d' 2>/dev/null)
