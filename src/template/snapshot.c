/* SPDX-License-Identifier: Apache-2.0 */
#include "template/snapshot.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/progress.h"
#include "codec/sha256.h"
#include "net/agent.h"
#include "net/wire.h"
#include "store/revision.h"
#include "template/data_disk.h"
#include "template/facts.h"
#include "template/memory_file.h"
#include "template/start.h"

#define CONTROL_DEADLINE_MS INT64_C(180000)

/* One capture, from the revision as it is to the one with a snapshot. */
struct capture {
	struct mvm *mvm;
	const struct mvm_progress *progress;
	const struct vmm_ops *ops;
	const struct vmm_probe *probe;
	struct revision *revision; /* as published */
	struct start_plan plan;	   /* of its cold boot */
	struct staging staging;	   /* the revision anew */
	int snapshot_fd;	   /* its folder "snapshot" */
	char nonce_sha256[DIGEST_HEX_SIZE];
};

static void capture_done(struct capture *c)
{
	start_plan_done(&c->plan);
	if (c->snapshot_fd >= 0)
		(void)close(c->snapshot_fd);
	staging_done(&c->staging);
}
DEFINE_AUTO_DONE(capture, capture_done)

/* The VM has done its work: gone before anybody looks at its files. */
static int end_instance(struct mvm_instance *i, struct mvm_error *err)
{
	AUTO_DONE(strbuf) args = { 0 };
	wire_put_u64(&args, FIELD_TIMEOUT_MS, 0);
	return control_call(&i->control, CALL_STOP, "ending the VM", &args,
			    clock_deadline_ns(CONTROL_DEADLINE_MS), NULL, err);
}

static int boot(struct capture *c, struct mvm_instance **ret, struct mvm_error *err)
{
	AUTO_DONE(progress_step) step = { 0 };
	const struct start_request request = {
		.revision = c->revision,
		.ops = c->ops,
		.probe = c->probe,
		.cold = true,
	};
	const struct start_options options = {
		.attached = true,
		.purpose = RECORD_FOR_CAPTURE,
		.capture_fd = c->snapshot_fd,
	};

	int r = start_decide(&request, &c->plan, err);
	if (r < 0)
		return r;
	progress_begin(&step, c->progress, "booting %s until it is healthy", c->revision->id);
	r = start_instance(c->mvm, &request, &c->plan, &options, ret, err);
	if (r < 0)
		return r;
	progress_end(&step, "%s", vmm_accel_name(c->probe->accel));
	return 0;
}

static int capture(struct capture *c, struct mvm_instance *vm, struct mvm_error *err)
{
	AUTO_DONE(progress_step) step = { 0 };
	AUTO_DONE(strbuf) reply = { 0 };
	struct wire_field nonce;
	struct mvm_digest digest;

	progress_begin(&step, c->progress, "capturing memory and device state");
	int r = control_call(&vm->control, CALL_CAPTURE, NULL, NULL,
			     clock_deadline_ns(CONTROL_DEADLINE_MS), &reply, err);
	if (r < 0)
		return r;
	if (wire_find(reply.data, reply.len, FIELD_NONCE, &nonce) <= 0)
		return mvm_error_set(err, -EPROTO, "the supervisor's answer has no nonce");
	sha256_buf(nonce.data, nonce.len, &digest);
	digest_hex(&digest, c->nonce_sha256);
	r = end_instance(vm, err);
	if (r < 0)
		return r;
	progress_end(&step, NULL);
	return 0;
}

static int finish_memory(struct capture *c, char **ret_identity, uint64_t *ret_size,
			 uint64_t *ret_disk, struct mvm_error *err)
{
	AUTO_DONE(progress_step) step = { 0 };
	struct stat st;
	char size[24], disk[24];
	AUTO_CLOSE int fd = openat(c->snapshot_fd, "mem.bin", O_RDWR | O_CLOEXEC | O_NOFOLLOW);

	progress_begin(&step, c->progress, "writing memory out, zero pages as holes");
	if (fd < 0)
		return mvm_error_set(err, -errno, "cannot open mem.bin: %s", strerror(errno));
	int r = memory_file_punch(fd, NULL, err);
	if (r < 0)
		return r;
	if (fchmod(fd, 0600) < 0 || fsync(fd) < 0 || fstat(fd, &st) < 0)
		return mvm_error_set(err, -errno, "cannot write mem.bin: %s", strerror(errno));
	r = memory_file_identity(fd, ret_identity);
	if (r < 0)
		return mvm_error_set(err, r, "mem.bin: %s", strerror(-r));
	*ret_size = (uint64_t)st.st_size;
	*ret_disk = (uint64_t)st.st_blocks * 512;
	str_bytes(*ret_size, size, sizeof(size));
	str_bytes(*ret_disk, disk, sizeof(disk));
	progress_end(&step, "%s of %s", disk, size);
	return 0;
}

static int describe(struct capture *c, const char *identity, uint64_t mem_size,
		    uint64_t vmstate_size, struct mvm_snapshot_info *ret, struct mvm_error *err)
{
	AUTO_DONE(strv) compat = { 0 };
	for (size_t i = 0; i < c->plan.facts.n; i++)
		strv_add(&compat, c->plan.facts.v[i]);
	strv_addf(&compat, FACT_MEM_FILE "=%s", identity);
	strv_addf(&compat, FACT_NONCE "=%s", c->nonce_sha256);

	if (c->revision->rev.data_disk_mib) {
		AUTO_FREE char *data = NULL;
		int r = data_disk_identity(c->snapshot_fd, &data, err);
		if (r < 0)
			return r;
		strv_addf(&compat, FACT_DATA_FILE "=%s", data);
	}
	char *boot_args = strdup(c->plan.cmdline);
	if (compat.failed || !boot_args) {
		free(boot_args);
		return mvm_error_oom(err);
	}
	*ret = (struct mvm_snapshot_info){
		.created_at = clock_wall_ns() / NS_PER_S,
		.vmstate_size_bytes = vmstate_size,
		.mem_size_bytes = mem_size,
		.boot_args = boot_args,
		.vcpus = (uint8_t)c->plan.vcpus,
		.mem_mib = c->plan.mem_mib,
		.compat = { .v = compat.v, .n = compat.n },
	};
	compat = (struct strv){ 0 }; /* the info's now */
	return 0;
}

/* revision.json and checksums.json of the revision with its snapshot, into staging. */
static int write_metadata(struct capture *c, const char *identity, uint64_t mem_size,
			  struct mvm_error *err)
{
	struct mvm_template_revision rev = c->revision->rev; /* borrowed but for the snapshot */
	struct mvm_snapshot_info info = { 0 };
	struct stat st;

	if (fstatat(c->snapshot_fd, "vmstate.bin", &st, AT_SYMLINK_NOFOLLOW) < 0)
		return mvm_error_set(err, -errno, "vmstate.bin: %s", strerror(errno));
	int r = describe(c, identity, mem_size, (uint64_t)st.st_size, &info, err);
	if (r < 0)
		return r;
	rev.has_snapshot = true;
	rev.snapshot = info;
	r = store_checksums_write(c->staging.fd, c->revision->id, c->revision->hash, NULL, 0, err);
	if (r == 0)
		r = store_revision_save(c->staging.fd, &rev, err);
	mvm_snapshot_info_done(&info);
	return r;
}

/* Restore a clone from staging; the supervisor checks that it knows the nonce. */
static int test_restore(struct capture *c, struct mvm_error *err)
{
	AUTO_DONE(progress_step) step = { 0 };
	AUTO_DONE(revision) staged = REVISION_NONE;
	AUTO_DONE(start_plan) plan = { 0 };
	AUTO(mvm_instance) vm = NULL;

	progress_begin(&step, c->progress, "testing: restoring a clone");
	int r = revision_read(c->staging.fd, c->revision->id, &staged, err);
	const struct start_request request = {
		.revision = &staged,
		.ops = c->ops,
		.probe = c->probe,
	};
	const struct start_options options = {
		.attached = true,
		.purpose = RECORD_FOR_CHECK,
		.capture_fd = -1,
	};
	if (r == 0)
		r = start_decide(&request, &plan, err);
	if (r == 0 && !plan.restore)
		r = mvm_error_set(err, -EPROTO, "a fresh snapshot cannot be used: %s",
				  plan.reason ? plan.reason : "no reason given");
	if (r == 0)
		r = start_instance(c->mvm, &request, &plan, &options, &vm, err);
	if (r == 0)
		r = end_instance(vm, err);
	if (r < 0)
		return mvm_error_context(err, r, "the snapshot does not work and was dropped");
	progress_end(&step, "it answers");
	return 0;
}

/*
 * The guest's memory is a file with holes that fill while it runs.  A VMM that finds no block for
 * one is killed by SIGBUS and cannot say why.
 */
static int explain_full_disk(const struct capture *c, int r, struct mvm_error *err)
{
	struct statvfs fs;
	char why[256];
	if (r != -EREMOTEIO || !err || fstatvfs(c->snapshot_fd, &fs) < 0 ||
	    fs.f_bavail >= ((uint64_t)c->plan.mem_mib << 20) / fs.f_frsize)
		return r;
	(void)snprintf(why, sizeof(why), "%.255s", err->text); /* as much as fits */
	return mvm_error_set(err, -ENOSPC,
			     "no space left for the guest's memory: it may take %u MiB, the data "
			     "folder's disk has %" PRIu64 " MiB (%s)",
			     c->plan.mem_mib, (uint64_t)fs.f_bavail * fs.f_frsize >> 20, why);
}

static int take_snapshot(struct capture *c, struct mvm_build_result *result, struct mvm_error *err)
{
	AUTO(mvm_instance) vm = NULL;
	AUTO_FREE char *identity = NULL;

	int r = store_stage_revision(c->mvm->store, c->revision->id, c->revision->hash, &c->staging,
				     err);
	if (r < 0)
		return r;
	c->snapshot_fd = dir_make_at(c->staging.fd, "snapshot");
	if (c->snapshot_fd < 0)
		return mvm_error_set(err, c->snapshot_fd, "cannot create the snapshot's folder: %s",
				     strerror(-c->snapshot_fd));
	r = boot(c, &vm, err);
	if (r == 0)
		r = capture(c, vm, err);
	if (r < 0)
		return explain_full_disk(c, r, err);
	r = finish_memory(c, &identity, &result->snapshot_mem_bytes, &result->snapshot_disk_bytes,
			  err);
	if (r == 0)
		r = write_metadata(c, identity, result->snapshot_mem_bytes, err);
	if (r == 0)
		r = test_restore(c, err);
	if (r < 0)
		return r;
	r = store_revision_publish(c->mvm->store, &c->staging, c->revision->id, c->revision->hash,
				   err);
	return r < 0 ? r : 0;
}

/* Is there a snapshot already that would be restored here? */
static bool is_usable(const struct revision *revision, const struct vmm_ops *ops,
		      const struct vmm_probe *probe)
{
	AUTO_DONE(start_plan) plan = { 0 };
	struct mvm_error ignored; /* a damaged one is replaced */
	const struct start_request request = {
		.revision = revision,
		.ops = ops,
		.probe = probe,
	};
	return start_decide(&request, &plan, &ignored) == 0 && plan.restore;
}

int snapshot_ensure(struct mvm *mvm, const char *id, const struct mvm_build_options *options,
		    const struct mvm_progress *progress, struct mvm_build_result *result,
		    struct mvm_error *err)
{
	/* before the revision, so that this is let go of after it: the staging's end removes the
	 * folder that was replaced, unless somebody has it open */
	AUTO_DONE(capture) c = { .staging = STAGING_NONE, .snapshot_fd = -1 };
	AUTO_DONE(revision) revision = REVISION_NONE;
	AUTO_DONE(vmm_probe) probe = { 0 };
	const struct vmm_ops *ops;
	AUTO_FREE char *ref = str_printf("%s@%s", id, result->revision);

	int r = ref ? revision_open(mvm, ref, &revision, err) : mvm_error_oom(err);
	if (r < 0)
		return r;
	result->has_snapshot = revision.rev.has_snapshot;
	result->snapshot_mem_bytes = revision.rev.snapshot.mem_size_bytes;
	if (!options->snapshot)
		return 0;
	r = context_backend(mvm, options->backend, &revision.rev, &ops, &probe, err);
	if (r < 0)
		return r;
	if (!ops->caps.snapshots)
		return mvm_error_set(err, -EOPNOTSUPP, "backend %s cannot make snapshots",
				     ops->name);
	if (!options->force && is_usable(&revision, ops, &probe))
		return 0;

	if (options->dry_run) {
		result->new_snapshot = true;
		return 0;
	}
	c.mvm = mvm;
	c.progress = progress;
	c.ops = ops;
	c.probe = &probe;
	c.revision = &revision;
	int64_t start_ns = clock_now_ns();
	r = take_snapshot(&c, result, err);
	if (r < 0)
		return mvm_error_context(err, r, "making the snapshot");
	result->has_snapshot = result->new_snapshot = true;
	result->snapshot_ns = clock_now_ns() - start_ns;
	return 0;
}
