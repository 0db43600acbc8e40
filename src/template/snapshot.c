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
#include "net/agent.h"
#include "net/wire.h"
#include "template/capture.h"
#include "template/holder.h"
#include "template/image_secrets.h"
#include "template/spec_rules.h"

#define CONTROL_DEADLINE_MS INT64_C(180000)
#define CAPTURES_MAX	    3u /* attempts, if the VMM cannot load what it captured */

/* Stop the VM, which has done its work.  It must be gone before its files are read. */
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
	const struct mvm_start_options cold = { .attached = true, .kind = MVM_START_COLD };
	const struct start_request request = {
		.revision = c->revision,
		.ops = c->ops,
		.probe = c->probe,
		.options = &cold,
		.purpose = RECORD_FOR_CAPTURE,
		.capture_fd = c->snapshot_fd,
	};

	int r = revision_trust(c->mvm, c->revision, false, c->progress, err);
	if (r == 0)
		r = start_decide(&request, &c->plan, err);
	if (r < 0)
		return r;
	bool at_boot = c->revision->rev.run.snapshot_point == MVM_POINT_BOOT;
	progress_begin(&step, c->progress, "booting %s until %s", c->revision->id,
		       at_boot ? "its workload can start" : "it is healthy");
	r = start_instance(c->mvm, &request, &c->plan, c->progress, ret, err);
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
	struct stat st = { 0 };
	uint64_t prepare_ns = 0;
	int64_t began_ns = clock_now_ns();
	char size[24];

	progress_begin(&step, c->progress, "preparing the guest and capturing it");
	int r = control_call(&vm->control, CALL_CAPTURE, NULL, NULL,
			     clock_deadline_ns(CONTROL_DEADLINE_MS), &reply, err);
	if (r < 0)
		return r;
	if (wire_find(reply.data, reply.len, FIELD_NONCE, &nonce) <= 0 ||
	    !wire_find_u64(reply.data, reply.len, FIELD_TIME_NS, INT64_MAX, &prepare_ns))
		return mvm_error_set(err, -EPROTO, "the supervisor's answer has no nonce");
	sha256_buf(nonce.data, nonce.len, &digest);
	digest_hex(&digest, c->nonce_sha256);
	capture_step(c, "prepare", clock_now_ns() - (int64_t)prepare_ns, 0);
	r = end_instance(vm, err);
	if (r < 0)
		return r;
	/* only for the report; capture_write_metadata() misses the file if it is not there */
	fstatat(c->snapshot_fd, "vmstate.bin", &st, AT_SYMLINK_NOFOLLOW);
	str_bytes((uint64_t)st.st_size, size, sizeof(size));
	capture_step(c, "state", began_ns + (int64_t)prepare_ns, (uint64_t)st.st_size);
	progress_end(&step, "prepared in %" PRIu64 " ms, device state %s", prepare_ns / NS_PER_MS,
		     size);
	return 0;
}

/* Restore a clone of the staged revision.  The supervisor checks that it knows the nonce. */
static int restore_clone(struct capture *c, struct mvm_instance **ret, struct mvm_error *err)
{
	AUTO_DONE(revision) staged = REVISION_NONE;
	AUTO_DONE(start_plan) plan = { 0 };
	int r = revision_read(c->staging.fd, c->revision->id, &staged, err);
	const struct start_request request = {
		.revision = &staged,
		.ops = c->ops,
		.probe = c->probe,
		.options = &start_for_ourselves,
		.purpose = RECORD_FOR_CHECK,
	};
	if (r == 0)
		r = start_decide(&request, &plan, err);
	if (r == 0 && !plan.restore)
		r = mvm_error_set(err, -EPROTO, "a fresh snapshot cannot be used: %s",
				  plan.reason ? plan.reason : "no reason given");
	return r < 0 ? r : start_instance(c->mvm, &request, &plan, c->progress, ret, err);
}

static int record_working_set(struct capture *c, const struct mvm_instance *vm, uint64_t *ret_bytes,
			      struct mvm_error *err)
{
	AUTO_DONE(record) rec = { 0 };
	int instances_fd = store_dir_get(c->mvm->store, STORE_INSTANCES, err);
	int r = instances_fd < 0 ? instances_fd
				 : instance_load(instances_fd, vm->name, &rec, NULL, err);
	return r < 0 ? r : capture_add_working_set(c, (pid_t)rec.vmm_pid, ret_bytes, err);
}

static int test_restore(struct capture *c, struct mvm_error *err)
{
	AUTO_DONE(progress_step) step = { 0 };
	AUTO(mvm_instance) vm = NULL;
	int64_t began_ns = clock_now_ns();
	uint64_t bytes = 0;
	char size[24];

	progress_begin(&step, c->progress, "testing: restoring a clone");
	int r = restore_clone(c, &vm, err);
	c->not_loaded = r == -EREMOTEIO; /* the VMM refused it, or died of it */
	if (r == 0)
		r = record_working_set(c, vm, &bytes, err);
	if (r == 0)
		r = end_instance(vm, err);
	if (r == -ECANCELED)
		return r;
	if (r < 0)
		return mvm_error_context(err, r, "the snapshot does not work and was dropped");
	capture_step(c, "test", began_ns, bytes);
	str_bytes(bytes, size, sizeof(size));
	progress_end(&step, "it answers, and needed %s of its memory for that", size);
	return 0;
}

/*
 * The guest's memory is a file with holes that fill while the guest runs.  If the disk has no block
 * for a hole, SIGBUS kills the VMM, which cannot say why.
 */
static int explain_full_disk(const struct capture *c, int r, struct mvm_error *err)
{
	struct statvfs fs;
	char why[256];
	const char *reason = strrchr(err ? err->text : "", '\n'); /* below the guest's last words */
	if (r != -EREMOTEIO || !err || fstatvfs(c->snapshot_fd, &fs) < 0 ||
	    fs.f_bavail >= ((uint64_t)c->plan.mem_mib << 20) / fs.f_frsize)
		return r;
	snprintf(why, sizeof(why), "%.255s", reason ? reason + 1 : err->text);
	return mvm_error_set(err, -ENOSPC,
			     "no space left for the guest's memory: it may take %u MiB, the data "
			     "folder's disk has %" PRIu64 " MiB (%s)",
			     c->plan.mem_mib, (uint64_t)fs.f_bavail * fs.f_frsize >> 20, why);
}

static int publish(struct capture *c, struct mvm_error *err)
{
	int64_t began_ns = clock_now_ns();
	/* an instance may have been suspended while the VM booted */
	int r = holder_publish(c->mvm, &c->staging, c->revision->id, c->revision->hash, err);
	if (r < 0)
		return r;
	capture_step(c, "publish", began_ns, 0);
	return 0;
}

static int digest_files(struct capture *c, struct mvm_error *err)
{
	AUTO_DONE(progress_step) step = { 0 };
	int64_t began_ns = clock_now_ns();
	progress_begin(&step, c->progress, "computing digests");
	int r = capture_write_metadata(c, &step, err);
	if (r < 0)
		return r;
	capture_step(c, "digests", began_ns, 0);
	progress_end(&step, NULL);
	return 0;
}

static int boot_and_capture(struct capture *c, struct mvm_error *err)
{
	AUTO(mvm_instance) vm = NULL;
	int64_t began_ns = clock_now_ns();
	int r = boot(c, &vm, err);
	if (r == 0) {
		capture_step(c, "boot", began_ns, 0);
		r = capture(c, vm, err);
	}
	return r < 0 ? explain_full_disk(c, r, err) : 0;
}

static int take_running(struct capture *c, struct mvm_error *err)
{
	AUTO_DONE(progress_step) step = { 0 };
	const struct mvm_start_options cold = { .attached = true, .kind = MVM_START_COLD };
	const struct start_request request = {
		.revision = c->revision, .ops = c->ops, .probe = c->probe, .options = &cold
	};
	int64_t began_ns = clock_now_ns();
	progress_begin(&step, c->progress, "taking the memory of the VM");
	int r = start_decide(&request, &c->plan, err);
	if (r == 0)
		r = capture_from_running(c, c->from, err);
	if (r < 0)
		return r;
	capture_step(c, "state", began_ns, 0);
	progress_end(&step, NULL);
	return 0;
}

static int take_snapshot(struct capture *c, struct mvm_error *err)
{
	int r = store_stage_revision(c->mvm->store, c->revision->id, c->revision->hash, &c->staging,
				     err);
	if (r < 0)
		return r;
	c->snapshot_fd = dir_make_at(c->staging.fd, "snapshot");
	if (c->snapshot_fd < 0)
		return mvm_error_set(err, c->snapshot_fd, "cannot create the snapshot's folder: %s",
				     strerror(-c->snapshot_fd));
	r = c->from ? take_running(c, err) : boot_and_capture(c, err);
	if (r < 0)
		return r;
	r = progress_check(c->progress, err);
	if (r == 0)
		r = capture_finish_memory(c, err);
	if (r == 0)
		r = digest_files(c, err);
	if (r == 0)
		r = test_restore(c, err);
	return r < 0 ? r : publish(c, err);
}

static void note_servers(const struct revision *r, const struct mvm_progress *progress)
{
	AUTO_CLOSE int fd = openat(r->dir_fd, r->rev.artifact_paths.rootfs,
				   O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd >= 0)
		image_servers_note(fd, r->id, &r->rev.run, progress);
}

int snapshot_make(struct mvm *mvm, struct revision *revision, const struct vmm_ops *ops,
		  const struct vmm_probe *probe, const struct capture_source *from,
		  const struct mvm_progress *progress, struct mvm_build_result *result,
		  struct mvm_error *err)
{
	int64_t began_ns = clock_now_ns();
	struct mvm_error local;

	if (!err)
		err = &local;
	if (!ops->caps.snapshots)
		return mvm_error_set(err, -EOPNOTSUPP, "backend %s cannot make snapshots",
				     ops->name);
	int r = need_agent(&revision->rev.run, err);
	if (r == 0 && revision->rev.has_snapshot)
		r = holder_check(mvm, revision->id, revision->hash, err);
	if (r < 0)
		return r;
	note_servers(revision, progress);
	bool again = true, hung = false;
	for (unsigned i = 1; again; i++) {
		AUTO_DONE(capture) c = CAPTURE_NONE;
		c.mvm = mvm;
		c.progress = progress;
		c.ops = ops;
		c.probe = probe;
		c.revision = revision;
		c.result = result;
		c.from = from;
		result->n_snapshot_steps = 0;
		r = take_snapshot(&c, err);
		bool hangs = r < 0 && str_eq(err->reason, "guest-silent");
		again = r < 0 && !from && i < CAPTURES_MAX && (c.not_loaded || (hangs && !hung));
		hung |= hangs;
		if (again && hangs)
			progress_note(progress, "the guest hung while it booted; booting it once "
						"more");
		else if (again)
			progress_note(progress, "%s; capturing again: attempt %u of %u", err->text,
				      i + 1, CAPTURES_MAX);
		else /* before the staging ends: it removes the folder that was replaced */
			revision_done(revision);
	}
	if (r < 0)
		return store_mend(mvm->store, mvm_error_context(err, r, "making the snapshot"),
				  err);
	result->has_snapshot = result->new_snapshot = true;
	result->snapshot_ns = clock_now_ns() - began_ns;
	return 0;
}

/* Does the revision have a snapshot that this host can restore?  A damaged snapshot is replaced. */
static bool is_usable(const struct revision *revision, const struct vmm_ops *ops,
		      const struct vmm_probe *probe)
{
	AUTO_DONE(start_plan) plan = { 0 };
	const struct start_request request = {
		.revision = revision,
		.ops = ops,
		.probe = probe,
		.options = &start_for_ourselves,
	};
	return start_decide(&request, &plan, NULL) == 0 && plan.restore;
}

int snapshot_ensure(struct mvm *mvm, const char *id, const struct mvm_build_options *options,
		    const struct mvm_progress *progress, struct mvm_build_result *result,
		    struct mvm_error *err)
{
	AUTO_DONE(revision) revision = REVISION_NONE;
	AUTO_DONE(vmm_probe) probe = { 0 };
	const struct vmm_ops *ops;
	AUTO_FREE char *ref = str_printf("%s@%s", id, result->revision);

	if (!ref)
		return mvm_error_oom(err);
	int r = options->dry_run ? revision_look(mvm, id, result->revision, &revision, err)
				 : revision_open(mvm, ref, &revision, err);
	if (r < 0)
		return r;
	result->has_snapshot = revision.rev.has_snapshot;
	result->snapshot_mem_bytes = revision.rev.snapshot.mem_size_bytes;
	if (!options->snapshot)
		return 0;
	r = context_backend(mvm, options->backend, &revision.rev, progress, &ops, &probe, err);
	if (r < 0)
		return r;
	if (!options->force && is_usable(&revision, ops, &probe))
		return 0;
	if (!options->dry_run)
		return snapshot_make(mvm, &revision, ops, &probe, NULL, progress, result, err);
	result->new_snapshot = true;
	return 0;
}
