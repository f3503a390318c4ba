# SPDX-License-Identifier: ISC
# pgpoold: plain GNU make and pkg-config, nothing to configure. `make help` lists the targets.
#
# Every kind of build is a flavour with a folder of its own, build/<flavour>/: release (the default; its program is
# build/pgpoold), asan, coverage, valgrind, fuzz, gcc-werror, clang-werror. Targets that need another flavour than the
# current one call this file again. Settings of one machine may go into local.mk (not tracked).

-include local.mk

FLAVOUR ?= release
PREFIX ?= /usr/local
DESTDIR ?=
BINDIR ?= $(PREFIX)/bin
MANDIR ?= $(PREFIX)/share/man
DOCDIR ?= $(PREFIX)/share/doc/pgpoold
UNITDIR ?= $(PREFIX)/lib/systemd/system
# Where the units look for the configuration.
CONFDIR ?= /etc/pgpoold
SYSUSERSDIR ?= $(PREFIX)/lib/sysusers.d
TMPFILESDIR ?= $(PREFIX)/lib/tmpfiles.d
COMPLETIONDIR ?= $(PREFIX)/share/bash-completion/completions
LOGROTATEDIR ?= /etc/logrotate.d

WITH_SYSTEMD ?= 1

ifeq ($(origin CC),default)
CC := gcc
endif
CLANG ?= clang
PKG_CONFIG ?= pkg-config
# Logins by PAM and LDAP: where their libraries are there.
WITH_PAM ?= $(shell $(PKG_CONFIG) --exists pam 2>/dev/null && echo 1 || echo 0)
WITH_LDAP ?= $(shell $(PKG_CONFIG) --exists ldap 2>/dev/null && echo 1 || echo 0)
WITH_PAM := $(WITH_PAM)
WITH_LDAP := $(WITH_LDAP)
PYTHON ?= /usr/bin/python3
CLANG_FORMAT ?= clang-format
JOBS ?= $(shell nproc 2>/dev/null || echo 1)
# Seconds per fuzz target, and which one (all of them when empty).
TIME ?= 60
SOAK ?= 1
SEED ?= 1
FUZZ ?=
# Arguments for pytest: make check-integration PYTEST='-k listen -x'
PYTEST ?=

V ?= 0
ifeq ($(V),1)
Q :=
say = @:
else
Q := @
say = @printf '  %-7s %s\n'
MAKEFLAGS += --no-print-directory
endif

# ---------------------------------------------------------------------------------------------------- sources

DIRS := daemon daemon/util protocol pool config
SRCS := $(sort $(wildcard $(DIRS:%=%/*.c)))
LIB_SRCS := $(filter-out daemon/main.c,$(SRCS))
# The status page, as it lies in daemon/web/.
WEB_ASM := daemon/web/files.S
WEB_FILES := $(sort $(wildcard daemon/web/status.*))
UNIT_SRCS := $(sort $(wildcard tests/unit/test_*.c))
UNIT_HELPERS := $(sort $(filter-out $(UNIT_SRCS),$(wildcard tests/unit/*.c)))
FUZZ_SRCS := $(sort $(wildcard tests/fuzz/fuzz_*.c))
C_FILES := $(sort $(wildcard $(DIRS:%=%/*.[ch]) tests/unit/*.[ch] tests/fuzz/*.[ch] tests/bench/*.[ch] \
                             packaging/man/*.c))
VERSION := $(shell sed -n 's/^\#define PGPOOLD_VERSION "\(.*\)".*/\1/p' daemon/*.h 2>/dev/null | head -n 1)
ifeq ($(VERSION),)
VERSION := 0
endif

# ---------------------------------------------------------------------------------------------------- flags

PKGS := libpq inih openssl libcares libidn libxxhash libmicrohttpd
ifeq ($(WITH_SYSTEMD),1)
PKGS += libsystemd
endif
ifeq ($(WITH_PAM),1)
PKGS += pam
endif
ifeq ($(WITH_LDAP),1)
PKGS += ldap
endif
ifneq ($(wildcard daemon/metrics_http.c),)
PKGS += libmicrohttpd
endif
# Packages without a .pc file: a header to look for, and what to link.
PLAIN_HEADERS := ev.h uthash.h
PLAIN_LIBS := -lev -lpthread
# Headers alone are wanted from this one.
HEADER_PKGS := libxxhash

PKG_CFLAGS := $(shell $(PKG_CONFIG) --cflags $(PKGS) 2>/dev/null)
PKG_LIBS := $(shell $(PKG_CONFIG) --libs $(filter-out $(HEADER_PKGS),$(PKGS)) 2>/dev/null)
CMOCKA_LIBS := -lcmocka

WARNINGS := -Wall -Wextra -Wconversion -Wno-sign-conversion -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
            -Wpointer-arith -Wwrite-strings -Wundef -Wvla -Wformat-security -Wimplicit-fallthrough
ifeq ($(DEVELOPER),1)
WARNINGS += -Werror
endif

HARDEN_CFLAGS := -fstack-protector-strong -fstack-clash-protection -D_FORTIFY_SOURCE=2
HARDEN_LDFLAGS := -Wl,-z,relro,-z,now,-z,noexecstack
SAN_FLAGS := -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer

CFLAGS ?= $(FLAVOUR_CFLAGS)
ifeq ($(FLAVOUR),asan)
FLAVOUR_CFLAGS := -O1 -g $(SAN_FLAGS)
FLAVOUR_LDFLAGS := $(SAN_FLAGS)
else ifeq ($(FLAVOUR),fuzz)
CC := $(CLANG)
FLAVOUR_CFLAGS := -O1 -g $(SAN_FLAGS) -fsanitize=fuzzer-no-link -DFUZZING=1
FLAVOUR_LDFLAGS := $(SAN_FLAGS)
else ifeq ($(FLAVOUR),afl)
CC := afl-clang-fast
export AFL_QUIET := 1
FLAVOUR_CFLAGS := -O1 -g $(SAN_FLAGS) -DFUZZING=1
FLAVOUR_LDFLAGS := $(SAN_FLAGS)
else ifeq ($(FLAVOUR),coverage)
FLAVOUR_CFLAGS := -O0 -g --coverage
FLAVOUR_LDFLAGS := --coverage
else ifeq ($(FLAVOUR),valgrind)
FLAVOUR_CFLAGS := -O1 -g -fno-omit-frame-pointer
else
FLAVOUR_CFLAGS := -O3 -g $(HARDEN_CFLAGS)
FLAVOUR_LDFLAGS := $(HARDEN_LDFLAGS)
ifeq ($(FLAVOUR)-$(notdir $(CC)),release-gcc)
# LTO: 6 % fewer instructions a transaction, -O3: 8 %; the daemon is what is installed, so it may take the longer to link.
# Profile-guided optimisation was tried and changed nothing (2,492 instead of 2,503 instructions).
FLAVOUR_CFLAGS += -flto=auto
FLAVOUR_LDFLAGS += -O3 -flto=auto
endif
endif

ALL_CPPFLAGS := -D_GNU_SOURCE -I. -DWITH_SYSTEMD=$(WITH_SYSTEMD) -DWITH_PAM=$(WITH_PAM) -DWITH_LDAP=$(WITH_LDAP) \
                $(PKG_CFLAGS) $(CPPFLAGS)
ALL_CFLAGS := -std=gnu17 $(WARNINGS) -fPIE $(CFLAGS)
ALL_LDFLAGS := -pie $(FLAVOUR_LDFLAGS) -Wl,--as-needed $(LDFLAGS)
ALL_LIBS := $(PKG_LIBS) $(PLAIN_LIBS) $(LIBS)

# ---------------------------------------------------------------------------------------------------- products

B := build/$(FLAVOUR)
ifeq ($(FLAVOUR),release)
PROGRAM := build/pgpoold
else
PROGRAM := $(B)/pgpoold
endif
LIB := $(B)/libpgpoold.a
UNIT_PROGS := $(UNIT_SRCS:tests/unit/%.c=$(B)/tests/unit/%)
FUZZ_PROGS := $(FUZZ_SRCS:tests/fuzz/%.c=$(B)/tests/fuzz/%)
DOC_PROG := $(B)/packaging/man/print_options
OBJS := $(patsubst %.c,$(B)/%.o,$(SRCS) $(UNIT_SRCS) $(UNIT_HELPERS) $(FUZZ_SRCS) packaging/man/print_options.c)
MAN_PAGES := $(patsubst packaging/man/%.scd,build/man/%,$(wildcard packaging/man/*.[1-8].scd))

.DELETE_ON_ERROR:
.SECONDARY:
.PHONY: all objects unit-programs fuzz-programs FORCE

all: $(PROGRAM) ## the daemon, optimised and hardened: build/pgpoold (the default)

objects: $(patsubst %.c,$(B)/%.o,$(SRCS))
unit-programs: $(UNIT_PROGS)
fuzz-programs: $(FUZZ_PROGS)

# Changes whenever the compiler, a flag or the list of sources does, so that everything is built anew then.
$(B)/flags: FORCE
	@mkdir -p $(@D)
	@echo '$(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) $(ALL_LDFLAGS) $(ALL_LIBS) $(LIB_SRCS)' | cmp -s - $@ || \
	 echo '$(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) $(ALL_LDFLAGS) $(ALL_LIBS) $(LIB_SRCS)' > $@

# Says at once and in one list what the machine lacks, instead of a compiler error for each header.
build/have-$(subst $(eval) ,-,$(strip $(PKGS))):
	@PKG_CONFIG='$(PKG_CONFIG)' CC='$(CC)' packaging/check-build-deps.sh $(PKGS) -- $(PLAIN_HEADERS)
	@mkdir -p $(@D) && touch $@

$(B)/%.o: %.c $(B)/flags | build/have-$(subst $(eval) ,-,$(strip $(PKGS)))
	$(say) CC $<
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

$(B)/%.o: %.S $(WEB_FILES) $(B)/flags
	$(say) AS $<
	@mkdir -p $(@D)
	$(Q)$(CC) -c -o $@ $<

$(LIB): $(LIB_SRCS:%.c=$(B)/%.o) $(WEB_ASM:%.S=$(B)/%.o) $(B)/flags
	$(say) AR $@
	$(Q)rm -f $@ && ar rcs $@ $(filter %.o,$^)

$(PROGRAM): $(B)/daemon/main.o $(LIB)
	$(say) LINK $@
	$(Q)$(CC) $(CFLAGS) $(ALL_LDFLAGS) -o $@ $^ $(ALL_LIBS)

$(UNIT_PROGS): $(B)/tests/unit/%: $(B)/tests/unit/%.o $(UNIT_HELPERS:%.c=$(B)/%.o) $(LIB)
	$(say) LINK $@
	$(Q)$(CC) $(CFLAGS) $(ALL_LDFLAGS) -o $@ $^ $(CMOCKA_LIBS) $(ALL_LIBS)

$(FUZZ_PROGS): $(B)/tests/fuzz/%: $(B)/tests/fuzz/%.o $(LIB)
	$(say) LINK $@
	$(Q)$(CC) $(CFLAGS) -fsanitize=fuzzer $(ALL_LDFLAGS) -o $@ $^ $(ALL_LIBS)

$(DOC_PROG): $(DOC_PROG).o $(LIB)
	$(say) LINK $@
	$(Q)$(CC) $(CFLAGS) $(ALL_LDFLAGS) -o $@ $^ $(ALL_LIBS)

-include $(OBJS:.o=.d)

# ---------------------------------------------------------------------------------------------------- tests

.PHONY: check check-unit check-integration asan valgrind fuzz afl fuzz-short soak load bench bench-quick coverage
SUB = $(MAKE) -j$(JOBS)
RUN = $(PYTHON) tests/run.py
TEST_DEPS = packaging/deps.sh build test || { echo '0 passed, 1 failed'; exit 1; }

# A build that fails is one failed check; what could be built is tested all the same.
check: ## everything: unit tests, fuzz targets (short) and integration tests, on the ASan+UBSan build
	@$(TEST_DEPS)
	@failed=0; \
	 $(SUB) -k FLAVOUR=asan all unit-programs || failed=$$((failed + 1)); \
	 $(SUB) -k FLAVOUR=fuzz fuzz-programs || failed=$$((failed + 1)); \
	 $(RUN) --builds-failed $$failed --jobs $(JOBS) --pytest '$(PYTEST)' unit fuzz integration

check-unit: ## the unit tests alone
	@$(TEST_DEPS)
	@failed=0; $(SUB) -k FLAVOUR=asan unit-programs || failed=1; $(RUN) --builds-failed $$failed unit

check-integration: ## the integration tests alone; PYTEST='-k words' chooses some
	@$(TEST_DEPS)
	@failed=0; $(SUB) FLAVOUR=asan all || failed=1; \
	 $(RUN) --builds-failed $$failed --jobs $(JOBS) --pytest '$(PYTEST)' integration

asan: ## the daemon and the unit tests with ASan and UBSan, in build/asan/
	@packaging/deps.sh build test
	@$(SUB) FLAVOUR=asan all unit-programs

valgrind: ## the unit tests under valgrind
	@packaging/deps.sh build test
	@$(SUB) FLAVOUR=valgrind all unit-programs
	@$(RUN) --flavour valgrind --wrapper 'valgrind -q --error-exitcode=9 --leak-check=full' unit

fuzz: ## every fuzz target for TIME seconds (60), or one: FUZZ=fuzz_frame TIME=600
	@packaging/deps.sh build test
	@$(SUB) FLAVOUR=fuzz fuzz-programs
	@$(RUN) --fuzz-seconds $(TIME) --fuzz-target '$(FUZZ)' fuzz

afl: ## the same with AFL++: every target for TIME seconds, or one: FUZZ=fuzz_frame TIME=600
	@packaging/deps.sh build test afl
	@$(SUB) FLAVOUR=afl fuzz-programs
	@tests/fuzz/afl.sh '$(TIME)' '$(FUZZ)'

fuzz-short: ## the corpus of every fuzz target, and a few seconds of new inputs each
	@packaging/deps.sh build test
	@$(SUB) FLAVOUR=fuzz fuzz-programs
	@$(RUN) --fuzz-target '$(FUZZ)' fuzz

bench: ## the benchmarks, with other poolers beside ours
	@packaging/deps.sh build bench
	@$(SUB) all
	@tests/bench/run.sh

bench-quick: ## the benchmarks, short
	@packaging/deps.sh build bench
	@$(SUB) all
	@tests/bench/run.sh --quick

load: ## 10,000 clients over 50 connections for LOAD_MINUTES (10), 50,000 idle ones, 5,000 logins at once: figures
	@packaging/deps.sh build bench
	@$(SUB) all
	@$(PYTHON) -B tests/bench/load.py

soak: ## the random tests of isolation and of LISTEN/NOTIFY at length; SOAK=10 times as long as SOAK=1, SEED=any
	@$(TEST_DEPS)
	@$(SUB) FLAVOUR=asan all
	@HOSTILE_SESSIONS=$$(($(SOAK) * 2000)) HOSTILE_SEED=$(SEED) CROWD_STEPS=$$(($(SOAK) * 200)) CROWD_SEED=$(SEED) NOTIFY_STEPS=$$(($(SOAK) * 20000)) NOTIFY_SEED=$(SEED) \
	 $(RUN) --builds-failed 0 --jobs 2 \
	  --pytest '-k "test_a_crowd_does_not_mix or test_random_clients_see or malicious"' integration

options-proof: ## does the test of each option fail when the option does nothing? (minutes)
	@$(TEST_DEPS)
	@$(PYTHON) tests/options_proof.py

coverage: ## line coverage of unit and integration tests, per file
	@packaging/deps.sh build test
	@$(SUB) CC=gcc FLAVOUR=coverage all unit-programs
	@$(PYTHON) tests/coverage.py --jobs $(JOBS) --pytest '$(PYTEST)'

# ---------------------------------------------------------------------------------------------------- care

.PHONY: format format-check lint docs demo deps tags clean help dist distcheck deb deb-check rpm-check

format: ## lays out the C sources with clang-format
	@packaging/deps.sh lint
	@$(CLANG_FORMAT) -i $(C_FILES)

format-check: ## fails when `make format` would change something
	@packaging/deps.sh lint
	@bad=0; for f in $(C_FILES); do \
		$(CLANG_FORMAT) $$f | cmp -s - $$f || { echo "$$f: run \`make format\`"; bad=1; }; \
	 done; exit $$bad

lint: ## clang-tidy, cppcheck, codespell, shellcheck, arrows, doors, banned words, sizes, docs; LINTS='own tidy'
	@packaging/deps.sh build test lint
	@$(SUB) build/release/packaging/man/print_options
	@$(PYTHON) tests/lint/run.py --jobs $(JOBS) --flags '-std=gnu17 $(ALL_CPPFLAGS) $(WARNINGS)' $(LINTS)

docs: ## writes pgpoold.ini.example and the options in pgpoold.ini(5) anew from the table of options
	@packaging/man/update.sh

deps: ## installs what is missing to build, test and lint (Debian; root or sudo)
	@packaging/deps.sh build test lint bench

demo: ## a private PostgreSQL and pgpoold before it, with load and LISTEN/NOTIFY; cleans up behind itself
	@packaging/deps.sh build demo
	@$(SUB) all
	@packaging/demo.sh build/pgpoold

tags: ## ctags of all C sources
	@ctags -f tags $(C_FILES)

clean: ## removes build/
	$(Q)rm -rf build tags

help: ## this list
	@awk -F ' *## ' '/^[a-z-]+:.* ## / { sub(/:.*/, "", $$1); printf "  make %-19s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo '  V=1 shows the commands, DEVELOPER=1 adds -Werror, CC=clang works; WITH_SYSTEMD=0 leaves libsystemd out'
	@echo '  WITH_PAM=0 WITH_LDAP=0 leave those out; PREFIX (/usr/local) and DESTDIR are for install.'

# ---------------------------------------------------------------------------------------------------- shipping

.PHONY: install install-config install-check uninstall man
man: $(MAN_PAGES)

build/man/%: packaging/man/%.scd
	@mkdir -p $(@D)
	$(say) SCDOC $@
	$(Q)scdoc < $< > $@

SYSTEMD_UNITS = $(wildcard packaging/systemd/*.service packaging/systemd/*.socket)
SYSTEMD_EXAMPLES = $(wildcard packaging/systemd/examples/*.conf)
SYSTEMD_SYSUSERS = $(wildcard packaging/systemd/*sysusers*.conf)
SYSTEMD_TMPFILES = $(wildcard packaging/systemd/*tmpfiles*.conf)

install: $(PROGRAM) $(MAN_PAGES) ## installs below PREFIX (/usr/local); DESTDIR goes before it
	install -D -m 0755 $(PROGRAM) $(DESTDIR)$(BINDIR)/pgpoold
	for f in $(MAN_PAGES) $(wildcard packaging/man/*.[1-8]); do \
		install -D -m 0644 $$f $(DESTDIR)$(MANDIR)/man$${f##*.}/$${f##*/} || exit 1; \
	done
	for f in $(wildcard pgpoold.ini.example README.md NEWS.md SECURITY.md); do \
		install -D -m 0644 $$f $(DESTDIR)$(DOCDIR)/$$f || exit 1; \
	done
	install -D -m 0644 tests/bench/PERFORMANCE.md $(DESTDIR)$(DOCDIR)/PERFORMANCE.md
	for f in $(SYSTEMD_UNITS); do \
		sed 's|@BINDIR@|$(BINDIR)|g; s|@CONFDIR@|$(CONFDIR)|g' $$f | install -D -m 0644 /dev/stdin $(DESTDIR)$(UNITDIR)/$${f##*/} || exit 1; \
	done
	for f in $(SYSTEMD_SYSUSERS); do install -D -m 0644 $$f $(DESTDIR)$(SYSUSERSDIR)/pgpoold.conf || exit 1; done
	for f in $(SYSTEMD_TMPFILES); do install -D -m 0644 $$f $(DESTDIR)$(TMPFILESDIR)/pgpoold.conf || exit 1; done
	for f in grafana/pgpoold.json prometheus/pgpoold.rules.yml; do \
		install -D -m 0644 packaging/$$f $(DESTDIR)$(DOCDIR)/$$f || exit 1; \
	done
	for f in $(SYSTEMD_EXAMPLES); do \
		sed 's|@BINDIR@|$(BINDIR)|g; s|@CONFDIR@|$(CONFDIR)|g' $$f | \
			install -D -m 0644 /dev/stdin $(DESTDIR)$(DOCDIR)/systemd/$${f##*/} || exit 1; \
	done
	install -D -m 0644 packaging/completions/pgpoold $(DESTDIR)$(COMPLETIONDIR)/pgpoold

# Not undone by uninstall: it is the operator's from then on.
install-config: ## a first configuration in CONFDIR (/etc/pgpoold), and the file for logrotate; never overwrites
	for f in pgpoold.ini userlist.txt; do \
		test -e $(DESTDIR)$(CONFDIR)/$$f || \
		sed 's|/etc/pgpoold|$(CONFDIR)|g' packaging/etc/$$f | install -D -m 0640 /dev/stdin $(DESTDIR)$(CONFDIR)/$$f || exit 1; \
	done
	test -e $(DESTDIR)$(LOGROTATEDIR)/pgpoold || install -D -m 0644 packaging/etc/logrotate $(DESTDIR)$(LOGROTATEDIR)/pgpoold

uninstall: ## removes what install put there
	rm -f $(DESTDIR)$(BINDIR)/pgpoold
	rm -f $(foreach f,$(MAN_PAGES) $(wildcard packaging/man/*.[1-8]),$(DESTDIR)$(MANDIR)/man$(lastword $(subst ., ,$f))/$(notdir $f))
	rm -f $(foreach f,$(notdir $(SYSTEMD_UNITS)),$(DESTDIR)$(UNITDIR)/$f)
	rm -f $(DESTDIR)$(COMPLETIONDIR)/pgpoold
	rm -f $(DESTDIR)$(SYSUSERSDIR)/pgpoold.conf $(DESTDIR)$(TMPFILESDIR)/pgpoold.conf
	rm -rf $(DESTDIR)$(DOCDIR)

# Quick, with a program that was built already: make FLAVOUR=gcc-werror DEVELOPER=1 install-check
install-check: $(PROGRAM) $(MAN_PAGES) ## installs into a folder of its own, looks at it, uninstalls: only the configuration may be left
	rm -rf build/install-check
	$(MAKE) -s install install-config DESTDIR=$(CURDIR)/build/install-check >/dev/null
	packaging/check-hardening.sh build/install-check$(BINDIR)/pgpoold
	build/install-check$(BINDIR)/pgpoold --version
	grep -q '^ExecStart=$(BINDIR)/pgpoold $(CONFDIR)/pgpoold.ini$$' build/install-check$(UNITDIR)/pgpoold.service
	for f in $(MANDIR)/man1/pgpoold.1 $(MANDIR)/man5/pgpoold.ini.5 $(MANDIR)/man7/pgpoold-guide.7 $(UNITDIR)/pgpoold.socket $(UNITDIR)/pgpoold@.service \
		$(SYSUSERSDIR)/pgpoold.conf $(TMPFILESDIR)/pgpoold.conf $(COMPLETIONDIR)/pgpoold $(DOCDIR)/pgpoold.ini.example \
		$(LOGROTATEDIR)/pgpoold; do test -s build/install-check$$f || { echo "$$f is missing"; exit 1; }; done
	for f in pgpoold.ini userlist.txt; do \
		test "$$(stat -c %a build/install-check$(CONFDIR)/$$f)" = 640 || { echo "$$f can be read by all"; exit 1; }; \
	done
	echo '; mine' > build/install-check$(CONFDIR)/pgpoold.ini
	$(MAKE) -s install-config DESTDIR=$(CURDIR)/build/install-check >/dev/null
	test "$$(cat build/install-check$(CONFDIR)/pgpoold.ini)" = '; mine'
	$(MAKE) -s uninstall DESTDIR=$(CURDIR)/build/install-check >/dev/null
	test "$$(cd build/install-check && find . ! -type d | sort)" = \
		"$$(printf '.%s\n' $(CONFDIR)/pgpoold.ini $(CONFDIR)/userlist.txt $(LOGROTATEDIR)/pgpoold | sort)"

DIST := pgpoold-$(VERSION)
# What is committed; without git (we are the unpacked tarball) what is there.
EXPORT = $(if $(wildcard .git),git archive --format=tar --prefix=$(DIST)/ HEAD, \
           tar --exclude=./build --exclude=./local.mk --transform='s|^\.|$(DIST)|' -cf - .)

dist: ## build/pgpoold-VERSION.tar.gz of the last commit
	@mkdir -p build
	$(EXPORT) | gzip -n9 > build/$(DIST).tar.gz

distcheck: dist ## unpacks the tarball, builds it, runs its unit tests, installs and uninstalls it: nothing may be left
	rm -rf build/distcheck && mkdir -p build/distcheck
	tar -C build/distcheck -xzf build/$(DIST).tar.gz
	$(SUB) -C build/distcheck/$(DIST) all man
	$(SUB) -C build/distcheck/$(DIST) check-unit
	$(SUB) -C build/distcheck/$(DIST) install DESTDIR=$(CURDIR)/build/distcheck/root
	build/distcheck/root$(BINDIR)/pgpoold --version
	$(SUB) -C build/distcheck/$(DIST) uninstall DESTDIR=$(CURDIR)/build/distcheck/root
	test -z "$$(find build/distcheck/root ! -type d)"

deb: ## the Debian packages pgpoold and pgpoold-dbgsym of the last commit, in build/deb/; lintian must be content
	@packaging/deps.sh build package
	rm -rf build/deb && mkdir -p build/deb
	$(EXPORT) | tar -C build/deb -x
	cp -r build/deb/$(DIST)/packaging/debian build/deb/$(DIST)/debian
	test "$$(cd build/deb/$(DIST) && dpkg-parsechangelog -S Version)" = $(VERSION)
	cd build/deb/$(DIST) && DEB_BUILD_OPTIONS="parallel=$(JOBS) nocheck" DEB_BUILD_PROFILES=nocheck \
		dpkg-buildpackage -us -uc -b
	packaging/check-hardening.sh build/deb/$(DIST)/debian/pgpoold/usr/bin/pgpoold
	lintian --allow-root --fail-on error,warning build/deb/*.changes

rpm-check: dist ## the RPM spec: rpmlint, and a package built of it here (its dependencies are not looked for)
	@packaging/deps.sh build package
	packaging/rpm/check.sh build/$(DIST).tar.gz

deb-check: ## installs, upgrades and purges the Debian package in a Debian of its own, under its own systemd (root)
	@packaging/deps.sh build package
	packaging/deb-check.sh
