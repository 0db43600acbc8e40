/* SPDX-License-Identifier: Apache-2.0 */
#include "template/capture.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/progress.h"
#include "base/seal.h"
#include "start/disks.h"
#include "start/facts.h"
#include "start/memory_file.h"
#include "start/working_set.h"
#include "store/trust.h"
#include "vmm/lend.h"

void capture_done(struct capture *c)
{
	start_plan_done(&c->plan);
	free(c->memory_identity);
	if (c->snapshot_fd >= 0)
		close(c->snapshot_fd);
	staging_done(&c->staging);
}

void capture_step(struct capture *c, const char *name, int64_t began_ns, uint64_t bytes)
{
	struct mvm_build_result *r = c->result;
	if (r->n_snapshot_steps < MVM_SNAPSHOT_STEPS_MAX)
		r->snapshot_steps[r->n_snapshot_steps++] = (struct mvm_snapshot_step){
			.name = name,
			.ns = clock_now_ns() - began_ns,
			.bytes = bytes,
		};
}

int capture_finish_memory(struct capture *c, struct mvm_error *err)
{
	AUTO_DONE(progress_step) step = { 0 };
	struct mvm_build_result *result = c->result;
	int64_t began_ns = clock_now_ns();
	struct stat st;
	char size[24], disk[24];
	AUTO_CLOSE int fd = openat(c->snapshot_fd, "mem.bin", O_RDWR | O_CLOEXEC | O_NOFOLLOW);

	progress_begin(&step, c->progress, "writing memory out, zero pages as holes");
	if (fd < 0)
		return mvm_error_set(err, -errno, "cannot open mem.bin: %s", strerror(errno));
	int r = memory_file_punch(fd, &step, err);
	if (r < 0)
		return r;
	if (fsync(fd) < 0 || fstat(fd, &st) < 0)
		return mvm_error_set(err, -errno, "cannot write mem.bin: %s", strerror(errno));
	r = memory_file_identity(fd, &c->memory_identity);
	if (r < 0)
		return mvm_error_set(err, r, "mem.bin: %s", strerror(-r));
	result->snapshot_mem_bytes = (uint64_t)st.st_size;
	result->snapshot_disk_bytes = (uint64_t)st.st_blocks * 512;
	str_bytes(result->snapshot_mem_bytes, size, sizeof(size));
	str_bytes(result->snapshot_disk_bytes, disk, sizeof(disk));
	capture_step(c, "memory", began_ns, result->snapshot_disk_bytes);
	progress_end(&step, "%s of %s", disk, size);
	return 0;
}

static int describe(struct capture *c, struct mvm_snapshot_info *ret, struct mvm_error *err)
{
	AUTO_DONE(strv) compat = { 0 };
	struct stat st;
	for (size_t i = 0; i < c->plan.facts.n; i++)
		strv_add(&compat, c->plan.facts.v[i]);
	strv_addf(&compat, FACT_MEM_FILE "=%s", c->memory_identity);
	strv_addf(&compat, FACT_NONCE "=%s", c->nonce_sha256);

	if (fstatat(c->snapshot_fd, "vmstate.bin", &st, AT_SYMLINK_NOFOLLOW) < 0)
		return mvm_error_set(err, -errno, "vmstate.bin: %s", strerror(errno));
	static const char *const facts[] = { FACT_DATA_FILE, FACT_ROOT_FILE };
	for (size_t i = 0; i < OWN_DISKS; i++) {
		AUTO_FREE char *identity = NULL;
		if (!c->plan.disk_mib[i])
			continue;
		int r = disk_identity((enum own_disk)i, c->snapshot_fd, &identity, err);
		if (r < 0)
			return r;
		strv_addf(&compat, "%s=%s", facts[i], identity);
	}
	if (c->from)
		strv_add(&compat, FACT_OWN_IMAGE "=yes");
	char *boot_args = strdup(c->plan.cmdline);
	if (compat.failed || !boot_args) {
		free(boot_args);
		return mvm_error_oom(err);
	}
	*ret = (struct mvm_snapshot_info){
		.created_at = clock_wall_ns() / NS_PER_S,
		.vmstate_size_bytes = (uint64_t)st.st_size,
		.mem_size_bytes = c->result->snapshot_mem_bytes,
		.boot_args = boot_args,
		.vcpus = (uint8_t)c->plan.vcpus,
		.mem_mib = c->plan.mem_mib,
		.compat = { .v = compat.v, .n = compat.n },
	};
	compat = (struct strv){ 0 }; /* *ret owns the strings now */
	return 0;
}

int capture_checksums(int from_fd, bool with_snapshot, int staged_fd,
		      const struct revision *revision, struct progress_step *step,
		      struct mvm_error *err)
{
	AUTO_DONE(checksums) sums = { 0 };
	size_t n = 0;
	int r = store_checksums_read(from_fd, &sums, err);
	if (r < 0)
		return r;
	AUTO_FREE struct mvm_artifact *known = calloc(sums.n + 1, sizeof(*known));
	if (!known)
		return mvm_error_oom(err);
	for (size_t i = 0; i < sums.n; i++) {
		if (with_snapshot || !str_starts(sums.v[i].path, "snapshot/"))
			known[n++] = (struct mvm_artifact){ sums.v[i].path, sums.v[i].digest };
	}
	if (unlinkat(staged_fd, "checksums.json", 0) < 0 && errno != ENOENT)
		return mvm_error_set(err, -errno, "cannot replace checksums.json: %s",
				     strerror(errno));
	return store_checksums_write(staged_fd, revision->id, revision->hash, known, n, step, err);
}

/* Before the digests are computed, so that they are known to be those of the sealed files. */
static void seal_files(const struct capture *c)
{
	seal_file(c->snapshot_fd, "vmstate.bin"); /* unsealed it is hashed at each start */
	/* QEMU opens the memory for writing, so a sealed file must be lent to it */
	if (lend_is_possible())
		seal_file(c->snapshot_fd, "mem.bin");
}

int capture_write_metadata(struct capture *c, struct progress_step *step, struct mvm_error *err)
{
	struct mvm_template_revision rev = c->revision->rev; /* borrowed, except the snapshot */
	struct mvm_snapshot_info info = { 0 };

	int r = describe(c, &info, err);
	if (r < 0)
		return r;
	rev.has_snapshot = true;
	rev.snapshot = info;
	seal_files(c);
	r = store_revision_save(c->staging.fd, &rev, err);
	if (r == 0)
		r = capture_checksums(c->revision->dir_fd, false, c->staging.fd, c->revision, step,
				      err);
	if (r == 0)
		store_trust_stage(c->revision->dir_fd, c->staging.fd, "snapshot/");
	mvm_snapshot_info_done(&info);
	return r;
}

int capture_add_working_set(struct capture *c, pid_t vmm_pid, uint64_t *ret_bytes,
			    struct mvm_error *err)
{
	AUTO_DONE(working_set) set = { 0 };
	AUTO_CLOSE int mem_fd = openat(c->snapshot_fd, "mem.bin", O_RDONLY | O_CLOEXEC);
	if (mem_fd < 0)
		return mvm_error_set(err, -errno, "mem.bin: %s", strerror(errno));
	struct mvm_error why;
	int r = working_set_record(vmm_pid, mem_fd, &set, &why);
	if (r < 0) { /* without it restores are slower, but work */
		progress_note(c->progress, "no working set is recorded: %s", why.text);
		return 0;
	}
	r = working_set_save(c->snapshot_fd, &set, err);
	if (r == 0)
		r = capture_checksums(c->staging.fd, true, c->staging.fd, c->revision, NULL, err);
	if (r == 0)
		*ret_bytes = set.n_set * WORKING_SET_PAGE;
	return r;
}
