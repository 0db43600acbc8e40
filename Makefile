# SPDX-License-Identifier: Apache-2.0
# A thin front: Meson and Ninja do the work, scripts/ the rest.

BUILD ?= build
MESON_FLAGS ?=
PREFIX ?= /usr/local

.PHONY: all deps check check-fast check-long fuzz demo bench install lint dist deb clean help
.DEFAULT_GOAL := all

all: $(BUILD)/build.ninja ## build mvm in build/ (the program is build/mvm), no tests
	@ninja -C $(BUILD) product

$(BUILD)/build.ninja:
	@command -v meson >/dev/null || { echo "meson is missing: run 'make deps'" >&2; exit 1; }
	meson setup --prefix $(PREFIX) $(MESON_FLAGS) $(BUILD)

deps: ## install the Debian packages that the build needs
	@scripts/install-deps build

check: ## install what the tests need, run them, end with "N passed, N failed, N skipped"
	@BUILD=$(BUILD) scripts/check

check-fast: ## the unit tests alone: under a minute once built, and no guest
	@BUILD=$(BUILD) scripts/check fast

check-long: ## the tests that take too long for every change; MINUTES=1 of fuzzing for each target
	@BUILD=$(BUILD) MINUTES=$(or $(MINUTES),1) scripts/check long

fuzz: ## look for inputs that crash the parsers: MINUTES=1 for each target, TARGETS="wire qmp"
	@scripts/install-deps build test fuzz
	@BUILD=$(BUILD) scripts/fuzz -s $$(($(or $(MINUTES),1) * 60)) $(TARGETS)

demo: ## the main job on a real guest, step by step
	@scripts/install-deps build demo
	@$(MAKE) --no-print-directory all
	@BUILD=$(BUILD) scripts/demo

bench: all ## measure starts beside QEMU and libvirt, streams, images, long lists; N=100 samples
	@scripts/install-deps demo bench
	@BUILD=$(BUILD) scripts/bench $(if $(N),-n $(N))

install: $(BUILD)/build.ninja ## install to PREFIX (/usr/local); DESTDIR is put before it
	@meson configure --prefix $(PREFIX) $(BUILD)
	@ninja -C $(BUILD) product
	@meson install -C $(BUILD) --no-rebuild

lint: ## clang, clang-tidy, cppcheck, shellcheck, clang-format
	@scripts/install-deps build test lint
	@scripts/lint

dist: $(BUILD)/build.ninja ## a tarball of what is committed, built and tested once
	@BUILD=$(BUILD) scripts/dist

deb: ## Debian packages in build/deb: mvm, mvmd, libmvm1, libmvm-dev, checked by lintian
	@scripts/install-deps build deb
	@BUILD=$(BUILD) scripts/deb

clean: ## remove the build folders
	rm -rf $(BUILD) $(BUILD)-*

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 14
