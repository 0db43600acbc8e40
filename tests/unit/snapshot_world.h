/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SNAPSHOT_WORLD_H
#define TESTS_SNAPSHOT_WORLD_H

/* A revision with a snapshot in a scratch folder, and the start that `run` would choose for it. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "scratch.h"
#include "start/facts.h"
#include "start/memory_file.h"
#include "start/start.h"
#include "store/revision.h"

#define NONCE_HEX "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define MEM_SIZE  (64u << 10)

/* A revision with a snapshot that was made here, by a backend that need not be installed. */
struct world {
	int dir_fd; /* the revision's folder */
	int snapshot_fd;
	const struct vmm_ops *ops;
	struct vmm_probe probe;
	struct revision revision;
};

static inline void world_done(struct world *w)
{
	close(w->snapshot_fd);
	vmm_probe_done(&w->probe);
	revision_done(&w->revision);
}
DEFINE_AUTO_DONE(world, world_done)

static inline void fail_with(int r, const struct mvm_error *err)
{
	if (r < 0)
		fail_msg("%s: %s", strerror(-r), err->text);
}

/* Write a file.  size 0: the text's size. */
static inline void put_file(int dir_fd, const char *name, const char *text, off_t size)
{
	unlinkat(dir_fd, name, 0);
	AUTO_CLOSE int fd = openat(dir_fd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	assert_int_equal(file_write_all(fd, text, strlen(text)), 0);
	assert_true(size == 0 || ftruncate(fd, size) == 0);
}

/* Plan a start as `run` does. */
static inline int decide(struct world *w, unsigned vcpus, uint32_t mem_mib, struct start_plan *ret,
			 struct mvm_error *err)
{
	const struct mvm_start_options options = { .vcpus = vcpus, .mem_mib = mem_mib };
	const struct start_request request = {
		.revision = &w->revision,
		.ops = w->ops,
		.probe = &w->probe,
		.options = &options,
	};
	return start_decide(&request, ret, err);
}

/* Make the compat that snapshot.c would write for a snapshot made now. */
static inline void describe(struct world *w, struct mvm_strings *ret)
{
	AUTO_DONE(start_plan) plan = { 0 };
	AUTO_DONE(strv) pairs = { 0 };
	AUTO_FREE char *identity = NULL;
	struct mvm_error err = { 0 };
	AUTO_CLOSE int mem_fd = openat(w->snapshot_fd, "mem.bin", O_RDONLY | O_CLOEXEC);

	fail_with(decide(w, 0, 0, &plan, &err), &err);
	for (size_t i = 0; i < plan.facts.n; i++)
		strv_add(&pairs, plan.facts.v[i]);
	assert_int_equal(memory_file_identity(mem_fd, &identity), 0);
	strv_addf(&pairs, FACT_MEM_FILE "=%s", identity);
	strv_add(&pairs, FACT_NONCE "=" NONCE_HEX);
	AUTO_CLOSE int data_fd = openat(w->snapshot_fd, "data.ext4", O_RDONLY | O_CLOEXEC);
	free(TAKE_PTR(identity));
	assert_int_equal(memory_file_identity(data_fd, &identity), 0);
	strv_addf(&pairs, FACT_DATA_FILE "=%s", identity);
	AUTO_CLOSE int root_fd = openat(w->snapshot_fd, "root.ext4", O_RDONLY | O_CLOEXEC);
	free(TAKE_PTR(identity));
	assert_int_equal(memory_file_identity(root_fd, &identity), 0);
	strv_addf(&pairs, FACT_ROOT_FILE "=%s", identity);
	free(w->revision.rev.snapshot.boot_args);
	w->revision.rev.snapshot.boot_args = strdup(plan.cmdline);
	*ret = (struct mvm_strings){ .v = pairs.v, .n = pairs.n };
	pairs = (struct strv){ 0 };
}

/* Make the files, and the entries of revision.json and checksums.json about them. */
static inline void fill_folder(struct world *w)
{
	static const char *const files[] = { "vmlinux", "rootfs.ext4", "initrd", "data.ext4",
					     "fc-base.json" };
	struct mvm_template_revision rev = {
		.schema_version = MVM_SCHEMA_VERSION,
		.revision_hash = (char[]){ "00112233445566778899aabbccddeeff" },
		.flake_ref = (char[]){ "dir:/" },
		.flake_lock_hash = (char[]){ "lock" },
		.artifact_paths = { .vmlinux = (char[]){ "vmlinux" },
				    .rootfs = (char[]){ "rootfs.ext4" },
				    .fc_base_config = (char[]){ "fc-base.json" },
				    .initrd = (char[]){ "initrd" } },
		.profile = (char[]){ "minimal" },
		.role = (char[]){ "worker" },
		.vcpus = 1,
		.mem_mib = 128,
		.data_disk_mib = 1,
		.root_disk_mib = 1,
		.has_snapshot = true,
		.snapshot = { .created_at = 1,
			      .vmstate_size_bytes = strlen("device state"),
			      .mem_size_bytes = MEM_SIZE,
			      .boot_args = (char[]){ "" },
			      .vcpus = 1,
			      .mem_mib = 128 },
	};
	struct mvm_error err = { 0 };

	for (size_t i = 0; i < MVM_ARRAY_SIZE(files); i++)
		put_file(w->dir_fd, files[i], files[i], 0);
	tree_remove_at(w->dir_fd, "snapshot");
	w->snapshot_fd = dir_make_at(w->dir_fd, "snapshot");
	assert_true(w->snapshot_fd >= 0);
	put_file(w->snapshot_fd, "vmstate.bin", "device state", 0);
	put_file(w->snapshot_fd, "mem.bin", "memory", MEM_SIZE);
	put_file(w->snapshot_fd, "data.ext4", "frozen disk", 1 << 20);
	put_file(w->snapshot_fd, "root.ext4", "frozen root", 1 << 20);
	unlinkat(w->dir_fd, "checksums.json", 0);
	unlinkat(w->dir_fd, "revision.json", 0);
	fail_with(store_revision_save(w->dir_fd, &rev, &err), &err);
	fail_with(store_checksums_write(w->dir_fd, "web", rev.revision_hash, NULL, 0, NULL, &err),
		  &err);
}

static inline void make_world(void **state, const struct vmm_ops *ops, enum vmm_accel accel,
			      struct world *w)
{
	struct mvm_error err = { 0 };
	*w = (struct world){
		.dir_fd = scratch_fd(state),
		.ops = ops,
		.probe = { .usable = true,
			   .binary = strdup("/usr/bin/vmm"),
			   .binary_digest = strdup(NONCE_HEX),
			   .version = strdup("1.0 (Debian 1)"),
			   .state_format = strdup("3"),
			   .accel = accel,
			   .tsc_khz = 2000000 },
		.revision = REVISION_NONE,
	};
	fill_folder(w);
	fail_with(revision_read(w->dir_fd, "web", &w->revision, &err), &err);
	describe(w, &w->revision.rev.snapshot.compat);
}

static inline void assert_restores(struct world *w)
{
	AUTO_DONE(start_plan) plan = { 0 };
	struct mvm_error err = { 0 };
	fail_with(decide(w, 0, 0, &plan, &err), &err);
	if (!plan.restore)
		fail_msg("not restored: %s", plan.reason);
	assert_null(plan.reason);
}

#endif
